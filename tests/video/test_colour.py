"""Colours survive: formulae, tags and a whole round trip through files at scale 1."""

import numpy as np
import pytest

from video.clips import Blend, av, panning, read, scene, write
from vinr_engine.video.io import colour, planes
from vinr_engine.video.io.colour import Colour
from vinr_engine.video.render import upscale

MATRICES = {"bt601": 6, "bt709": 1, "bt2020": 9}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("matrix", "white", "red"), [(6, (235, 128, 128), (81, 90, 240)), (1, (235, 128, 128), (63, 102, 240))]
)
def test_known_values(matrix, white, red, full):
    rgb = np.array([[[1, 1]], [[1, 0]], [[1, 0]]], np.float32)
    y, cb, cr = colour.rgb_to_planes(rgb, 8, Colour(matrix, full), (1, 1))
    if full:
        assert (y[0, 0], cb[0, 0], cr[0, 0]) == (255, 128, 128)
        assert cr[0, 1] == 255
    else:
        assert (y[0, 0], cb[0, 0], cr[0, 0]) == white
        assert (y[0, 1], cb[0, 1], cr[0, 1]) == red


@pytest.mark.parametrize("ratio", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 4, 6, 7, 9])
def test_planes_round_trip(matrix, full, bits, ratio):
    rgb = scene(33, 17).transpose(2, 0, 1).astype(np.float32) / 255
    meaning = Colour(matrix, full)
    back = colour.planes_to_rgb(list(colour.rgb_to_planes(rgb, bits, meaning, ratio)), bits, meaning, ratio)
    assert np.abs((back - rgb).mean((1, 2))).max() < 0.5 / 255
    if ratio == (1, 1):
        assert np.abs(back - rgb).max() < 2.1 / 2 ** (bits - 8) / 255


@pytest.mark.parametrize("ratio", [(2, 1), (2, 2)])
def test_subsampled_chroma_does_not_drift(ratio):
    x, y = np.meshgrid(np.linspace(0.2, 0.8, 40), np.linspace(-0.1, 0.1, 24))
    rgb = np.stack([x + y, 0.9 - x + y, np.full_like(x, 0.5)]).astype(np.float32)
    meaning = Colour(1, False)
    back = colour.planes_to_rgb(list(colour.rgb_to_planes(rgb, 16, meaning, ratio)), 16, meaning, ratio)
    # a linear ramp survives exactly if both ways agree on where chroma lies
    assert np.abs(back - rgb)[:, 2:-2, 2:-2].max() < 1e-4


def test_rounds_to_nearest():
    rgb = np.full((3, 2, 2), (16.6 - 16) / 219, np.float32)
    assert (colour.rgb_to_planes(rgb, 8, Colour(1, False), (1, 1))[0] == 17).all()


def test_unspecified_matrix_goes_by_size():
    def matrix(width, height):
        return colour.resolve(2, 0, 2, 2, width, height, False).matrix

    assert matrix(720, 576) == 6
    assert matrix(1280, 534) == 1
    assert matrix(1920, 1080) == 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", MATRICES)
def test_round_trip_through_files(tmp_path, name, full, suffix):
    matrix = MATRICES[name]
    meaning = Colour(matrix, full, matrix, matrix)
    pictures = panning(3)
    frames = [planes.from_rgb(p.transpose(2, 0, 1).astype("f4") / 255, "yuv420p", meaning) for p in pictures]
    tags = {"colorspace": matrix, "color_range": meaning.range, "color_primaries": matrix, "color_trc": matrix}
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for key, value in tags.items():
            setattr(stream.codec_context, key, value)
        for n, frame in enumerate(frames):
            frame.pts = n
            frame.colorspace, frame.color_range = matrix, meaning.range
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    upscale(source, tmp_path / f"out.{suffix}", space=1, time=1, model=Blend(), crf=1 if suffix != "webm" else 4)
    before, after = read(source), read(tmp_path / f"out.{suffix}")
    assert len(before) == len(after) == 3
    assert (after[0].colorspace, after[0].color_range) == (matrix, meaning.range)
    if suffix != "webm":
        assert (after[0].color_primaries, after[0].color_trc) == (matrix, matrix)
    for a, b, original in zip(before, after, pictures, strict=True):
        one, two = (planes.to_rgb(f, meaning) for f in (a, b))
        assert np.abs((one - two).mean((1, 2))).max() * 255 < 0.5
        assert np.abs(two.transpose(1, 2, 0) * 255 - original).mean() < 3


def test_small_untagged_clip_keeps_its_colours_when_it_grows(tmp_path):
    source = write(tmp_path / "in.mp4", panning(2), tags={"colorspace": 2})
    upscale(source, tmp_path / "out.mp4", size="1280x736", time=1, model=Blend())
    assert read(tmp_path / "out.mp4")[0].colorspace == 6


def test_ten_bits_stay(tmp_path):
    ramp = np.linspace(0.3, 0.4, 64, dtype=np.float32)
    rgb = np.broadcast_to(ramp, (3, 32, 64))
    frames = [planes.from_rgb(rgb, "yuv420p10le", Colour(1, False)) for _ in range(2)]
    source = write(tmp_path / "in.mkv", frames, codec="ffv1", pixel_format="yuv420p10le", options={},
                   tags={"colorspace": 1, "color_range": 1})  # fmt: skip
    upscale(source, tmp_path / "out.mp4", space=1, time=1, model=Blend(), crf=1)
    out = read(tmp_path / "out.mp4")[0]
    assert out.format.name == "yuv420p10le"
    luma = planes.read(out)[0][0][8]
    # 8 bits would leave 22 levels on this ramp
    assert len(np.unique(luma)) > 50
    upscale(source, tmp_path / "png", space=1, time=1, model=Blend())
    png = read(tmp_path / "png" / "frame_000000.png")[0]
    assert png.format.name.startswith("rgb48")


def test_untagged_grey_is_full_range(tmp_path):
    levels = np.tile(np.linspace(0, 255, 64).astype("u1"), (8, 1))
    frames = [av.VideoFrame.from_ndarray(levels, "gray") for _ in range(2)]
    source = write(tmp_path / "in.mkv", frames, codec="ffv1", pixel_format="gray", options={"g": "1"})
    upscale(source, tmp_path / "png", space=1, time=1, model=Blend())
    assert (read(tmp_path / "png" / "frame_000000.png")[0].to_ndarray(format="rgb24")[..., 0] == levels).all()
    upscale(source, tmp_path / "out.mkv", space=1, time=1, model=Blend(), codec="ffv1")
    assert np.abs(read(tmp_path / "out.mkv")[0].to_ndarray(format="rgb24")[..., 0].astype(int) - levels).max() <= 1


def test_eight_bit_encoder_says_so(tmp_path):
    frames = [planes.from_rgb(np.zeros((3, 32, 48), np.float32), "yuv420p10le", Colour(1, False))]
    source = write(tmp_path / "in.mkv", frames, codec="ffv1", pixel_format="yuv420p10le", options={})
    notes = []
    upscale(source, tmp_path / "out.webm", space=1, time=1, model=Blend(), note=notes.append)
    assert any("10 bits" in n and "8" in n for n in notes)


@pytest.mark.parametrize(
    "name", ["yuv444p", "yuv422p10le", "yuvj420p", "nv12", "gray", "rgb24", "gbrp", "bgra", "yuv411p", "rgb48le"]
)
def test_pixel_formats_are_read(name):
    rgb = np.broadcast_to(np.array([0.8, 0.4, 0.2], np.float32)[:, None, None], (3, 16, 32))
    pixels = np.rint(rgb * 255).astype("u1").transpose(1, 2, 0)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24").reformat(
        format=name, dst_colorspace="ITU709", dst_color_range="JPEG" if "j" in name else "MPEG"
    )
    meaning = Colour(1, "j" in name)
    out = planes.to_rgb(frame, meaning)
    assert out.shape == (3, 16, 32)
    expected = rgb if name != "gray" else np.full((3, 16, 32), out.mean(), np.float32)
    assert np.abs(out - expected).max() < 3.5 / 255
