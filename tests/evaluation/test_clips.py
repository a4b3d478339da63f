"""Where clips lie in each layout, and what is wrong with broken ones."""

import shutil

import pytest
from PIL import Image

from evaluation.frames import folder
from video.clips import write
from vinr_engine.errors import SourceError, UsageError
from vinr_engine.evaluation import clips
from vinr_engine.evaluation.windows import count, windows


def names(found):
    return [clip.name for clip in found]


@pytest.mark.parametrize(
    ("layout", "inside", "listed"),
    [("gopro", "test/{}/sharp", ["GOPR0384_11_00", "GOPR0410_11_00"]), ("gopro", "test/{}", ["GOPR0384_11_00"]),
     ("adobe240", "test/{}", ["720p_240fps_1", "720p_240fps_2"]), ("adobe240", "{}", ["IMG_0175"]),
     ("vid4", "GT/{}", ["calendar", "city", "foliage", "walk"]), ("vid4", "{}/original", ["calendar", "walk"]),
     ("auto", "{}", ["one", "two", "two10"])],
)  # fmt: skip
@pytest.mark.parametrize("pattern", ["{}.png", "{:06d}.png"])
def test_layouts(tmp_path, layout, inside, listed, pattern):
    for n, name in enumerate(reversed(listed)):
        _, pictures = folder(tmp_path / inside.format(name), 12, 16, 12, n, pattern)
        if layout == "gopro" and "sharp" in inside:  # not the ground truth
            folder((tmp_path / inside.format(name)).with_name("blur"), 3, 8, 8)
    (tmp_path / ".hidden").mkdir()
    found = clips.find([str(tmp_path)], layout)
    assert names(found) == listed
    for clip in found:
        assert [int(path.stem) for path in clip.source] == list(range(12))
        clips.check(clip, 12)


def test_lists_choose_and_order_clips(tmp_path):
    for name in ("a", "b", "c"):
        folder(tmp_path / "data" / name, 3)
    listed = tmp_path / "test.txt"
    listed.write_text("c\n\na\nc\n")
    assert names(clips.find([str(tmp_path / "data")], "adobe240", str(listed))) == ["c", "a"]
    for text, message in (("d\n", "holds no clip d"), ("\n", "names no clips"), ("../a\n", "not paths")):
        listed.write_text(text)
        with pytest.raises(SourceError, match=message):
            clips.find([str(tmp_path / "data")], "adobe240", str(listed))


def test_videos_folders_patterns_and_stills(tmp_path):
    video = write(tmp_path / "film.mp4", list(folder(tmp_path / "frames")[1]))
    found = clips.find([str(video), str(tmp_path / "frames"), str(tmp_path / "frames" / "%04d.png")])
    assert names(found) == ["film", "frames", "%04d.png"]
    for clip in found:
        clips.check(clip, 5)
        with pytest.raises(SourceError, match="too short: 5 frames, and a window needs 6"):
            clips.check(clip, 6)
    stills = clips.find([str(video), str(tmp_path / "frames"), str(tmp_path / "frames" / "0002.png")], still=True)
    assert names(stills) == ["film", "0000", "0001", "4:0002", "0003", "0004", "7:0002"]
    with stills[0].open() as source:
        first, second, _ = (picture for picture, _ in zip(source.pictures(), range(3), strict=False))
    assert second.time - first.time == 1
    assert (first.rgb == second.rgb).all()


def broken(path, how):
    if how == "missing":
        (path / "0002.png").unlink()
        return "a frame is missing between"
    if how == "twice":
        shutil.copy(path / "0002.png", path / "002.png")
        return "the same frame twice"
    if how == "size":
        Image.new("RGB", (50, 40)).save(path / "0003.png")
        return "0003.png is 50x40, the frames before it are 48x40"
    (path / "0003.png").write_bytes(b"no image")
    return "unreadable image .*0003.png"


@pytest.mark.parametrize("how", ["missing", "twice", "size", "unreadable"])
def test_broken_clips(tmp_path, how):
    path, _ = folder(tmp_path / "clip")
    message = broken(path, how)
    (clip,) = clips.find([str(path)])
    with pytest.raises(SourceError, match=message):
        clips.check(clip, 3)


def test_names_that_are_no_numbers_are_taken_as_they_are(tmp_path):
    path, _ = folder(tmp_path / "clip", 3)
    for old, new in (("0000", "a7"), ("0001", "b3"), ("0002", "c9")):
        (path / f"{old}.png").rename(path / f"{new}.png")
    clips.check(clips.find([str(path)])[0], 3)


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [([], {}, UsageError, "no clips"), (["missing"], {}, SourceError, "no such file"),
     (["empty"], {}, SourceError, "holds no clips"), (["empty"], {"layout": "x"}, UsageError, "--layout"),
     (["empty"], {"layout": "vid4", "still": True}, UsageError, "--still")],
)  # fmt: skip
def test_nothing_to_find(tmp_path, make, options, error, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=message):
        clips.find([str(tmp_path / name) for name in make], **options)


@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("keep", [2, 3, 8])
@pytest.mark.parametrize("frames", [0, 1, 8, 9, 10, 17, 18, 19])
def test_windows(tmp_path, keep, frames, disjoint):
    found = list(windows(range(frames), keep, disjoint))
    assert len(found) == count(frames, keep, disjoint)
    step = keep + 1 if disjoint else keep
    for n, window in enumerate(found):
        assert window.start == n * step
        assert window.pictures == tuple(range(n * step, n * step + keep + 1))
    left = frames - (found[-1].pictures[-1] + 1 if found else 0)
    assert left < step or not found
