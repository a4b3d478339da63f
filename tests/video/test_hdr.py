"""Depth, chroma, HDR10's metadata and the shape of pixels: kept by what has them, else named."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from video.clips import Blend, av, panning, read, write
from vinr_engine.errors import SinkError
from vinr_engine.video.io import properties
from vinr_engine.video.io.colour import Colour
from vinr_engine.video.io.containers import CONTAINERS
from vinr_engine.video.io.source import Light, SourceInfo
from vinr_engine.video.io.video_source import VideoSource
from vinr_engine.video.render import upscale

PRIMARIES = (34000, 16000), (13250, 34500), (7500, 3000), (15635, 16450)
LIGHT = Light(
    primaries=tuple((Fraction(x, 50000), Fraction(y, 50000)) for x, y in PRIMARIES),
    luminance=(Fraction(1, 10000), Fraction(1000)),
    content=(1000, 400),
)
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
PARAMS = f"log-level=none:master-display={DISPLAY}:max-cll=1000,400"
BT2020_PQ = {"color_primaries": 9, "color_trc": 16, "colorspace": 9}


def run(source, target, **options):
    """(the summary, the notes)"""
    notes = []
    options = {"space": 1, "time": 1, "model": Blend(), **options}
    return upscale(source, target, note=notes.append, **options), notes


def info(path):
    """What a file says of its pictures."""
    with VideoSource(Path(path)) as source:
        return source.info


def hdr(path, place="topleft", count=3):
    """A clip of HDR10."""
    options = {"x265-params": PARAMS, "chroma_sample_location": place}
    return write(
        path, panning(count, 64, 64), codec="libx265", pixel_format="yuv420p10le", options=options, tags=BT2020_PQ
    )


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libx265", "mkv"), ("libx265", "mp4"), ("libsvtav1", "mkv"), ("libsvtav1", "mp4"), (None, "mov")],
)
def test_hdr10_metadata_is_kept(tmp_path, codec, suffix):
    source = hdr(tmp_path / "in.mkv", count=8)
    assert info(source).light == LIGHT
    done, notes = run(source, tmp_path / f"out.{suffix}", codec=codec, space=2, segment=3)
    found = info(tmp_path / f"out.{suffix}")
    assert found.light is not None
    assert found.light.content == LIGHT.content
    close = pytest.approx
    assert [tuple(map(float, p)) for p in found.light.primaries] == [
        close(tuple(map(float, p)), abs=1e-4) for p in LIGHT.primaries
    ]
    assert tuple(map(float, found.light.luminance)) == close(tuple(map(float, LIGHT.luminance)), abs=1e-4)
    assert found.colour.place == "topleft"
    assert (found.bits, found.colour.matrix, found.colour.primaries, found.colour.transfer) == (10, 9, 9, 16)
    assert done.kept == ("HDR10 metadata", "chroma location (topleft)")
    assert done.left_out == ()
    assert len(notes) == (codec is None)
    # also for who enters at a later segment
    with av.open(str(tmp_path / f"out.{suffix}")) as out:
        frames = [f for f in out.decode(video=0) if f.key_frame]
    assert len(frames) == 3


def test_hdr10_metadata_that_an_encoder_cannot_say_is_named(tmp_path):
    source = hdr(tmp_path / "in.mkv")
    done, notes = run(source, tmp_path / "out.mkv", codec="ffv1")
    assert done.left_out == ("HDR10 metadata",)
    assert info(tmp_path / "out.mkv").colour.place == "topleft"  # Matroska says it
    assert notes == ["left out: HDR10 metadata"]
    done, notes = run(source, tmp_path / "out.mov", codec="prores_ks")
    assert done.left_out == ("HDR10 metadata",)  # it has no 4:2:0
    done, notes = run(source, tmp_path / "out.avi", codec="ffv1")
    assert done.left_out == ("HDR10 metadata", "chroma location (topleft; chroma is moved to the left)")
    assert info(tmp_path / "out.avi").colour.place == "left"


@pytest.mark.parametrize("place", ["left", "center", "topleft"])
@pytest.mark.parametrize(
    ("codec", "suffix"), [(None, "mp4"), ("libx265", "mp4"), ("libvpx-vp9", "webm"), ("ffv1", "mkv")]
)
def test_chroma_stays_where_it_lies(tmp_path, place, codec, suffix):
    picture = np.zeros((64, 64, 3), "u1")
    picture[:, 20:41] = (250, 20, 20)
    options = {"crf": "0", "chroma_sample_location": place}
    source = write(tmp_path / "in.mp4", [picture] * 2, options=options)
    assert info(source).colour.place == place
    run(source, tmp_path / f"out.{suffix}", codec=codec, **({} if codec == "ffv1" else {"crf": 0}))
    assert info(tmp_path / f"out.{suffix}").colour.place == place
    before, after = (read(p)[0].to_ndarray().astype(int) for p in (source, tmp_path / f"out.{suffix}"))
    assert np.abs(before - after).mean() < 1.5


@pytest.mark.parametrize(
    ("given", "codec", "suffix", "expected"),
    [("gbrp", "ffv1", "mkv", "bgr0"), ("yuv422p", "ffv1", "mkv", "yuv422p"), ("yuv444p", "ffv1", "mkv", "yuv444p"),
     ("yuv420p", "ffv1", "mkv", "yuv420p"), ("yuv422p10le", "ffv1", "mkv", "yuv422p10le"),
     ("gbrp10le", "ffv1", "mkv", "gbrp10le"),
     ("uyvy422", "ffv1", "mkv", "yuv422p"), ("gray", "ffv1", "mkv", "yuv420p"),
     ("gbrp", "huffyuv", "avi", "bgr0"), ("yuv422p", "huffyuv", "mkv", "yuv422p"),
     ("yuv420p", "huffyuv", "avi", "yuv422p"),
     ("gbrp", "utvideo", "mkv", "gbrp"), ("yuv444p", "utvideo", "avi", "yuv444p"), ("gbrp", "qtrle", "mov", "rgb24"),
     ("gbrp", "png", "mov", "rgb24"), ("gbrp10le", "png", "mov", "rgb48be"), ("gbrp", "libx264rgb", "mkv", "gbrp"),
     ("yuv422p", "prores_ks", "mov", "yuv422p10le"),
     ("yuv444p", "prores_ks", "mov", "yuv444p12le"), ("gbrp", "ffvhuff", "mkv", "gbrp")],
)  # fmt: skip
def test_lossless_encoders_keep_chroma_and_depth(tmp_path, given, codec, suffix, expected):
    raw = given in ("uyvy422", "gray")
    source = write(
        tmp_path / ("in.nut" if raw else "in.mkv"), panning(3), codec="rawvideo" if raw else "ffv1",
        pixel_format=given if given != "gbrp" else "bgr0", options={},
    )  # fmt: skip
    done, notes = run(source, tmp_path / f"out.{suffix}", codec=codec)
    before, after = read(source), read(tmp_path / f"out.{suffix}")
    assert after[0].format.name == expected
    assert notes == []
    assert done.left_out == ()
    if codec == "prores_ks":
        return
    same = "rgb24" if given.startswith("gbr") else given
    if given.startswith("gbr") or expected == given:
        for a, b in zip(before, after, strict=True):
            difference = np.abs(a.to_ndarray(format=same).astype(int) - b.to_ndarray(format=same))
            assert difference.max() <= (
                0 if given.startswith("gbr") else 12 if "10" in given else 3
            )  # chroma is interpolated on the way


@pytest.mark.parametrize(
    ("given", "suffix", "expected", "words"),
    [("yuv422p", "mp4", "yuv420p", "the input is 4:2:2, libx264 writes 4:2:0"),
     ("yuv422p", "mkv", "yuv420p", "4:2:0 (--codec ffv1, prores_ks or libx264rgb keeps more)"),
     ("yuv444p", "mov", "yuv420p", "4:2:0 (--codec prores_ks, png or qtrle keeps more)"),
     ("bgr0", "webm", "yuv420p", "the input is RGB, libvpx-vp9 writes 4:2:0"),
     ("yuv420p10le", "mp4", "yuv420p10le", "libx265 in place of libx264"),
     ("yuv420p10le", "webm", "yuv420p10le", "libsvtav1 in place of libvpx-vp9")],
)  # fmt: skip
def test_what_players_show_is_the_default_and_what_it_loses_is_said(tmp_path, given, suffix, expected, words):
    source = write(tmp_path / "in.mkv", panning(2, 64, 64), codec="ffv1", pixel_format=given, options={})
    _, notes = run(source, tmp_path / f"out.{suffix}")
    assert read(tmp_path / f"out.{suffix}")[0].format.name == expected
    assert len(notes) == 1
    assert words in notes[0]


def test_depth_that_is_lost_on_request_is_said(tmp_path):
    source = write(tmp_path / "in.mkv", panning(2), codec="ffv1", pixel_format="yuv420p10le", options={})
    _, notes = run(source, tmp_path / "out.mp4", codec="libx264")
    assert notes == ["the input has 10 bits a channel, libx264 writes 8 (--codec libx265 or libsvtav1 keeps more)"]
    assert read(tmp_path / "out.mp4")[0].format.name == "yuv420p"


@pytest.mark.parametrize(
    ("size", "aspect", "wanted", "expected"),
    [((64, 48), Fraction(4, 3), "128x72", None), ((64, 48), Fraction(4, 3), "128x96", Fraction(4, 3)),
     ((64, 48), None, "128x96", None), ((64, 48), None, "64x36", Fraction(3, 4)),
     ((48, 64), Fraction(16, 11), "96x128", Fraction(16, 11)),
     ((64, 48), Fraction(4, 3), "126x72", None)],
)  # fmt: skip
def test_a_size_keeps_the_shape_of_the_picture(tmp_path, size, aspect, wanted, expected):
    source = write(tmp_path / "in.mp4", panning(2, *size), aspect=aspect)
    run(source, tmp_path / "out.mp4", space=None, size=wanted)
    with av.open(str(tmp_path / "out.mp4")) as out:
        found = out.streams.video[0].sample_aspect_ratio or Fraction(1)
    assert found == (expected or (Fraction(1) if wanted != "126x72" else Fraction(64, 63)))


def test_a_colour_profile_has_no_place_in_a_video_and_it_is_said(tmp_path):
    from PIL import ImageCms

    folder = tmp_path / "in"
    folder.mkdir()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(panning(1)[0]).save(folder / "0.png", icc_profile=profile)
    done, notes = run(folder, tmp_path / "out.mkv", codec="ffv1")
    if done.left_out:  # where the source of images gives it
        assert done.left_out == ("ICC profile",)
        assert notes == ["left out: ICC profile"]


@pytest.mark.parametrize(
    ("codec", "suffix", "size", "limit"),
    [("libsvtav1", "mkv", "64x8706", "at most 16384x8704"),
     ("mpeg4", "avi", "8194x16", "at most 8191x8191"), ("libvpx", "webm", "16384x16", "at most 16383x16383"),
     ("libx265", "mp4", "8x8", "libx265 does not take 8x8")],
)  # fmt: skip
def test_limits_of_encoders_are_named_before_any_work(tmp_path, capfd, codec, suffix, size, limit):
    source = write(tmp_path / "in.mp4", panning(2, 16, 16))
    model = Blend()
    with pytest.raises(SinkError, match=limit) as caught:
        run(source, tmp_path / f"out.{suffix}", codec=codec, space=None, size=size, model=model)
    assert "\n" not in str(caught.value)
    assert model.frames == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx265", "mp4"), ("libsvtav1", "mkv"), ("libvpx-vp9", "webm"), ("libx264", "mp4")]
)
@pytest.mark.parametrize("size", [(34, 34), (48, 32), (66, 66)])
def test_encoders_write_small_pictures_and_nothing_to_the_terminal(tmp_path, capfd, codec, suffix, size):
    source = write(tmp_path / "in.mp4", panning(5, *size))
    capfd.readouterr()
    run(source, tmp_path / f"out.{suffix}", codec=codec, segment=3)
    assert len(read(tmp_path / f"out.{suffix}")) == 5
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("lacks", ["primaries", "luminance"])
def test_half_of_a_mastering_display_is_not_said_to_be_kept(lacks):
    source = SourceInfo(
        64, 48, None, Colour(9, False, 9, 16), 10, (2, 2), Fraction(25), Fraction(1, 25), 1,
        light=replace(LIGHT, content=None, **{lacks: None}),
    )  # fmt: skip
    found = properties.carried("libx265", CONTAINERS[".mp4"], "yuv420p10le", source)
    assert (found.kept, dict(found.options)) == ((), {})
    assert found.left_out == ("mastering display (it lacks primaries or luminance)",)
