"""Images out: one of one, a folder or a pattern of a clip, in every format, with all that the input's pictures hold."""

import re

import numpy as np
import pytest
from PIL import Image

from video import pictures
from video.clips import Blend, av, leftovers, panning, read, write
from vinr_engine.errors import SinkError, UsageError
from vinr_engine.video.io import light
from vinr_engine.video.render import upscale

PICTURE = panning(1, 32, 24)[0]
DEEP = np.random.default_rng(0).integers(0, 65536, (6, 8, 3), dtype="u2")


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "photo.png", icc_profile=pictures.profile())
    return tmp_path / "photo.png"


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "in.mkv", panning(3, 32, 24), codec="ffv1", pixel_format="bgr0", options={})


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".webp", ".jpg", ".jpeg", ".JPG", ".exr", ".gif", ".apng"])
def test_one_image_becomes_one(tmp_path, photo, suffix):
    notes = []
    target = tmp_path / f"o{suffix}"
    done = upscale(photo, target, space=1, model=Blend(), note=notes.append)
    assert (done.frames_in, done.frames_out, done.size) == (1, 1, (32, 24))
    assert leftovers(tmp_path) == []
    if suffix == ".exr":
        got = light.srgb(pictures.decoded(target, "exr").astype("f4")) * 255
    else:
        with Image.open(target) as image:
            got = np.asarray(image.convert("RGB"))
            assert image.info.get("icc_profile") == (None if suffix == ".gif" else pictures.profile())
    assert np.abs(got - PICTURE.astype(float)).mean() < {".jpg": 2, ".jpeg": 2, ".JPG": 2, ".gif": 4}.get(suffix, 0.1)
    assert notes == (["left out: ICC profile"] if suffix in (".exr", ".gif") else [])


def test_one_image_becomes_a_folder_or_a_video(tmp_path, photo):
    assert upscale(photo, tmp_path / "o", model=Blend()).size == (128, 96)
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["frame_000000.png"]
    upscale(photo, tmp_path / "o.mp4", space=1, model=Blend())
    assert len(read(tmp_path / "o.mp4")) == 1
    upscale(photo, tmp_path / "p.mp4", space=1, time=5, input_fps=2, model=Blend())
    assert [float(frame.time) for frame in read(tmp_path / "p.mp4")] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_what_means_nothing_for_one_image_is_refused(tmp_path, photo):
    for name in ("o.png", "o", "o/%d.tif"):
        for options in ({"time": 2}, {"fps": 30}):
            with pytest.raises(UsageError, match="--time and --fps are for clips"):
                upscale(photo, tmp_path / name, model=Blend(), **options)
        assert not (tmp_path / name).exists()
    assert upscale(photo, tmp_path / "o.png", time=1, model=Blend()).frames_out == 1
    with pytest.raises(UsageError, match="is the input itself"):
        upscale(photo, photo, model=Blend(), overwrite=True)
    with pytest.raises(SinkError, match="exists"):
        upscale(photo, tmp_path / "o.png", model=Blend())


@pytest.mark.skipif("libjxl" in av.codecs_available, reason="this FFmpeg has an encoder of JPEG XL")
def test_jpeg_xl_is_refused_without_an_encoder(tmp_path, photo):
    with pytest.raises(UsageError, match="this FFmpeg has no encoder of JPEG XL"):
        upscale(photo, tmp_path / "o.jxl", model=Blend())


@pytest.mark.parametrize(
    ("name", "codec", "bits"),
    [("a_%03d.png", "png", 16), ("%d.tif", "tiff", 16), ("%04d.webp", None, 8), ("x%02d.jpg", None, 8)],
)
def test_a_pattern_names_the_images_and_their_format(tmp_path, name, codec, bits):
    source = tmp_path / "in"
    source.mkdir()
    for n in range(3):
        (source / f"{n}.png").write_bytes(pictures.png(DEEP))
    notes = []
    upscale(source, tmp_path / "out" / name, space=1, time=2, model=Blend(), note=notes.append)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(name % n for n in range(5))
    for path in (tmp_path / "out").iterdir():
        if codec:
            assert (pictures.decoded(path, codec) == DEEP).all()
        else:
            with Image.open(path) as image:
                assert image.size == (8, 6)
    assert ["16 bits a channel" in note for note in notes] == ([] if bits == 16 else [True])


def test_linear_light_comes_back_whole(tmp_path):
    """Half floats beyond white, of which a display shows none, and below it."""
    halves = np.random.default_rng(0).integers(0, 0x7C00, (6, 8, 3), dtype="u2").view("f2")
    halves[0, 0] = 0, 1, 65504
    source = tmp_path / "in"
    source.mkdir()
    for n in range(2):
        (source / f"{n}.exr").write_bytes(pictures.exr(halves.astype("f4"), "float"))
    notes = []
    upscale(source, tmp_path / "out" / "%d.exr", space=1, time=1, model=Blend(), note=notes.append)
    assert notes == []
    for n in range(2):
        assert (pictures.decoded(tmp_path / "out" / f"{n}.exr", "exr") == halves).all()
    (source / "1.exr").unlink()
    (source / "1.png").write_bytes(pictures.png(DEEP))
    upscale(source, tmp_path / "mixed" / "%d.exr", space=1, time=1, model=Blend(), cuts=False)
    expected = light.linear_from(DEEP.astype("f4") / 65535, 13)
    got = pictures.decoded(tmp_path / "mixed" / "1.exr", "exr").astype("f4")
    assert np.abs(got - expected).max() < 1e-3


@pytest.mark.parametrize(("transfer", "white"), [(1, 1), (16, 10000 / 203)])
def test_videos_become_linear_light_by_their_transfer(tmp_path, transfer, white):
    planes = np.full((3, 16, 16), 128, "u1")
    planes[0] = 255
    frame = av.VideoFrame.from_ndarray(planes, "yuv444p")
    tags = {"color_trc": transfer, "color_primaries": 1, "colorspace": 1, "color_range": 2}
    source = write(tmp_path / "in.mkv", [frame], codec="ffv1", pixel_format="yuv444p", options={}, tags=tags)
    upscale(source, tmp_path / "out" / "%d.exr", space=1, time=1, model=Blend())
    assert pictures.decoded(tmp_path / "out" / "0.exr", "exr").astype(float).mean() == pytest.approx(white, rel=1e-2)


def test_the_rules_of_folders_hold_for_patterns(tmp_path, clip):
    target = tmp_path / "out" / "f_%02d.tif"
    options = {"space": 1, "time": 1, "model": Blend()}
    upscale(clip, target, **options)
    with pytest.raises(SinkError, match="--overwrite"):
        upscale(clip, target, **options)
    upscale(clip, target, overwrite=True, **options)
    with pytest.raises(SinkError, match=r"holds other files \(f_0\d\.tif\)"):
        upscale(clip, tmp_path / "out" / "g_%02d.tif", overwrite=True, **options)
    (tmp_path / "out" / "notes.txt").write_text("precious")
    with pytest.raises(SinkError, match=r"holds other files \(notes\.txt\)"):
        upscale(clip, target, overwrite=True, **options)
    assert len(list((tmp_path / "out").iterdir())) == 4
    with pytest.raises(UsageError, match="name a folder of its own"):
        upscale(clip, "f_%02d.tif", **options)
    with pytest.raises(UsageError, match=re.escape("f_%2d.tif: write the number as %02d")):
        upscale(clip, tmp_path / "new" / "f_%2d.tif", **options)
    with pytest.raises(UsageError, match="one number field"):
        upscale(clip, tmp_path / "new" / "f_%d_%d.tif", **options)
    with pytest.raises(SinkError, match=r"the folder .* does not exist"):
        upscale(clip, tmp_path / "no" / "new" / "f_%d.tif", **options)
    with pytest.raises(UsageError, match="is the input itself"):
        upscale(tmp_path / "out" / "f_%02d.tif", tmp_path / "out" / "g_%02d.tif", **options)
    assert leftovers(tmp_path) == []


def test_what_an_image_has_no_place_for_is_named(tmp_path):
    tags = {"color_trc": 16, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    source = write(tmp_path / "in.mkv", panning(1), codec="libx265", pixel_format="yuv420p10le", options={}, tags=tags)
    notes = []
    done = upscale(source, tmp_path / "out" / "%d.tif", space=1, time=1, model=Blend(), note=notes.append)
    assert done.left_out == ("colour tags (H.273 primaries 9, transfer 16): .png has them",)
    assert "left out: colour tags" in " ".join(notes)
    done = upscale(source, tmp_path / "out2", space=1, time=1, model=Blend())
    assert done.kept == ("colour tags (H.273 primaries 9, transfer 16)",)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".mp4"])
def test_a_photograph_keeps_its_exif(tmp_path, suffix):
    """But not its rotation, which is applied, and its size."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", 6
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0xA002: 32, 0xA003: 24})
    Image.fromarray(PICTURE).save(tmp_path / "photo.jpg", exif=exif, comment=b"by hand")
    notes = []
    done = upscale(tmp_path / "photo.jpg", tmp_path / f"o{suffix}", model=Blend(), note=notes.append)
    assert done.size == (96, 128)
    assert f"{tmp_path}/photo.jpg: left out: comment" in notes
    if suffix in (".tif", ".mp4"):
        assert "EXIF" in done.left_out
        return
    assert "EXIF" in done.kept
    with Image.open(tmp_path / f"o{suffix}") as image:
        found = image.getexif()
        assert (found.get(0x010F), found.get(0x0112)) == ("a camera", None)
        assert found.get_ifd(0x8769) == {0x9003: "2024:05:06 07:08:09"}


def test_what_images_of_a_clip_say_of_themselves_is_named(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    for n in range(2):
        Image.fromarray(PICTURE).save(source / f"{n}.jpg", exif=exif)
    notes = []
    upscale(source, tmp_path / "out", space=1, time=1, model=Blend(), note=notes.append)
    assert notes == [f"{source}/0.jpg: left out: EXIF"]
