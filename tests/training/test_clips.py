"""Clips: reading, sampling, preparing, and what is wrong with them in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from training.runs import write_clip
from video.clips import panning
from video.clips import write as write_video
from vinr_engine.errors import DataError
from vinr_engine.evaluation.resize import resize
from vinr_engine.training.batches import Batches, open_source
from vinr_engine.training.clips import ClipSource, find_clips, read_crop
from vinr_engine.training.config import Data, Stage
from vinr_engine.training.prepare import prepare


@pytest.fixture
def root(tmp_path):
    write_clip(tmp_path / "clips" / "b", name="{:05d}.png", frames=12, seed=1)
    write_clip(tmp_path / "clips" / "a", name="{}.png", frames=11)
    return tmp_path / "clips"


def test_names_are_ordered_by_number(root):
    a, b = find_clips(root)
    assert [path.name for path in a.frames] == [f"{k}.png" for k in range(11)]
    assert [path.name for path in b.frames] == [f"{k:05d}.png" for k in range(12)]
    assert a.size == (40, 32)


def test_lists(root, tmp_path):
    names = tmp_path / "train.txt"
    names.write_text("# held out: a\nb\n\n")
    assert [clip.name for clip in find_clips(root, names)] == ["b"]
    for text, wanted in (("", "no clips"), ("c\n", "no such clip"), ("../clips/a/..\n", "leaves the folder"),
                         ("../../etc\n", "leaves the folder")):  # fmt: skip
        names.write_text(text)
        with pytest.raises(DataError, match=wanted):
            find_clips(root, names)


def test_a_sample_is_nine_frames_shrunk(root):
    """Found by trying every clip, start, place and turn: the inputs and targets are that one's."""
    source = ClipSource(Data(root=root))
    times = torch.tensor([0.0, 0.375, 1.0])
    sample = source.sample(np.random.default_rng(5), times, 4, 2.5, 1.5)
    side = 15
    assert [list(sample[k].shape) for k in ("frames", "target")] == [[2, 3, 4, 4], [3, 3, 10, 10]]
    found = 0
    for clip in source.clips:
        for start in range(len(clip.frames) - 8):
            whole = [read_crop(clip.frames[start + k], clip.size, 0, 0, 40)[:, :32] for k in (0, 3, 8)]
            for top, left in np.ndindex(32 - side + 1, 40 - side + 1):
                crops = torch.stack([image[:, top : top + side, left : left + side] for image in whole])
                for turn in range(8):
                    turned = (crops.flip(-1) if turn >= 4 else crops).rot90(turn % 4, (-2, -1))
                    if torch.allclose(resize(turned, 1 / 1.5), sample["target"], atol=1e-5):
                        found += 1
                        low = resize(turned[[0, 2]], 1 / 3.75)
                        torch.testing.assert_close(sample["frames"], low, rtol=0, atol=1e-5)
    assert found == 1


def test_batches_follow_from_seed_and_number(root):
    stage = Stage(steps=1, batch=4, data=Data(root=root), input_crop=4, scale=(2, 3), target_shrink=1, targets=3)
    batches = Batches(stage, open_source(stage.data), seed=1)
    again = Batches(stage, open_source(stage.data), seed=1)
    first = batches[7]
    batches[0]
    assert all(torch.equal(first[key], again[7][key]) for key in first)
    assert first["times"].shape == (3, 4)
    sizes = {batches[k]["target"].shape[-1] for k in range(12)}
    assert len(sizes) > 1
    assert sizes <= set(range(8, 13))
    other = Batches(stage, open_source(stage.data), seed=2)
    assert not torch.equal(other[7]["frames"], first["frames"])
    halves = [Batches(stage, open_source(stage.data), 1, rank, 2)[7] for rank in (0, 1)]
    assert torch.equal(torch.cat([half["frames"] for half in halves]), first["frames"])
    assert torch.equal(torch.cat([half["times"] for half in halves], 1), first["times"])


def damage_short(clip):
    for number in range(8, 11):
        (clip / f"{number}.png").unlink()


def damage_missing(clip):
    (clip / "4.png").unlink()


def damage_double(clip):
    (clip / "04.png").write_bytes((clip / "4.png").read_bytes())


def damage_size(clip):
    Image.new("RGB", (20, 20)).save(clip / "10.png")


def damage_end(clip):
    (clip / "0.png").write_bytes(b"nothing")


@pytest.mark.parametrize(
    ("damage", "text"),
    [(damage_short, "needs at least 9 numbered frames, has 8"), (damage_missing, "frame 4 is missing"),
     (damage_double, "two frames have number 4"), (damage_size, "several sizes: 20x20 and 40x32"),
     (damage_end, "cannot read frame")],
)  # fmt: skip
def test_damaged_clips_are_refused_at_the_start(root, damage, text):
    damage(root / "a")
    with pytest.raises(DataError, match=text):
        find_clips(root)


@pytest.mark.parametrize("what", ["cut", "size"])
def test_a_frame_that_cannot_be_used_is_named(root, what):
    for number in range(1, 10):
        path = root / "a" / f"{number}.png"
        if what == "cut":
            path.write_bytes(path.read_bytes()[:900])
        else:
            Image.new("RGB", (39, 32)).save(path)
    source = ClipSource(Data(root=root))
    source.chances = np.array([1.0, 0.0])
    with pytest.raises(DataError, match=r"a/\d+\.png"):
        source.sample(np.random.default_rng(0), torch.tensor([0.5]), 4, 2, 1)


def test_a_clip_smaller_than_the_crop(root):
    with pytest.raises(DataError, match="40x32, smaller than a crop of 64"):
        ClipSource(Data(root=root)).sample(np.random.default_rng(0), torch.tensor([0.0]), 8, 4, 2)


def test_no_clips(tmp_path):
    with pytest.raises(DataError, match="no clips"):
        find_clips(tmp_path)


def test_prepare(tmp_path, capsys):
    videos, out = tmp_path / "videos", tmp_path / "clips"
    videos.mkdir()
    pictures = panning(11, 32, 24)
    write_video(videos / "one.mp4", pictures)
    write_video(videos / "two.mkv", pictures[:9])
    (videos / "broken.mp4").write_bytes(b"not a video")
    (videos / "notes.txt").write_text("left alone")
    done = prepare(videos, out, jobs=2)
    assert sorted(done.made) == ["one", "two"]
    assert [name for name, _ in done.failed] == ["broken"]
    assert sorted(p.name for p in out.iterdir()) == ["one", "two"]
    clips = find_clips(out)
    assert [(clip.name, len(clip.frames), clip.size) for clip in clips] == [("one", 11, (32, 24)), ("two", 9, (32, 24))]
    stamp = (out / "one").stat().st_mtime_ns
    (videos / "broken.mp4").unlink()
    assert sorted(prepare(videos, out).skipped) == ["one", "two"]
    assert (out / "one").stat().st_mtime_ns == stamp
    for folder, wanted in ((tmp_path / "none", "no such folder"), (out, "no videos")):
        with pytest.raises(DataError, match=wanted):
            prepare(folder, tmp_path / "more")
