"""Chroma is taken, and put, where the file says that it lies."""

import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageCms

from video.clips import Blend, av, panning, read, write
from vinr_engine.video.io import colour, planes
from vinr_engine.video.io.colour import Colour
from vinr_engine.video.io.video_source import VideoSource
from vinr_engine.video.render import upscale

PLACES = {"left": (0.0, 0.5), "center": (0.5, 0.5), "topleft": (0.0, 0.0), "top": (0.5, 0.0), "bottomleft": (0.0, 1.0),
          "bottom": (0.5, 1.0)}  # fmt: skip
X264 = {"left": 0, "center": 1, "topleft": 2}


def ramps(width=40, height=24):
    """Colours that change evenly across and down, the brightness staying even."""
    x, y = np.meshgrid(np.linspace(0.2, 0.8, width), np.linspace(-0.1, 0.1, height))
    return np.stack([x + y, 0.9 - x + y, np.full_like(x, 0.5)]).astype(np.float32)


@pytest.mark.parametrize("place", PLACES)
def test_samples_lie_where_they_should(place):
    """A ramp of chroma, sampled by its formula at the place, comes back as the ramp."""
    width, height = 40, 24
    across, down = PLACES[place]
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    cy, cx = np.mgrid[0 : height // 2, 0 : width // 2] * 2.0
    cb = np.rint((128 + cx + across) * 256).astype(np.uint16)
    cr = np.rint((100 + cy + down) * 256).astype(np.uint16)
    luma = np.full((height, width), 128 * 256, np.uint16)
    rgb = colour.planes_to_rgb([luma, cb, cr], 16, Colour(1, True, place=place), (2, 2))
    kr, kb = Colour(1, True).weights
    mid = luma[0, 0] / 65535
    # what Cb and Cr those colours have
    found_cb = (rgb[2] - mid) / (2 * (1 - kb)) * 65535 / 256 + 128
    found_cr = (rgb[0] - mid) / (2 * (1 - kr)) * 65535 / 256 + 128
    inside = np.s_[2:-2, 2:-2]
    assert np.abs(found_cb - (128 + x))[inside].max() < 0.02
    assert np.abs(found_cr - (100 + y))[inside].max() < 0.02


@pytest.mark.parametrize("size", [(40, 24), (39, 23)])
@pytest.mark.parametrize("ratio", [(2, 1), (2, 2)])
@pytest.mark.parametrize("place", [*PLACES, "unspecified"])
def test_both_ways_agree(place, ratio, size):
    rgb = ramps(*size)
    meaning = Colour(1, False, place=place)
    back = colour.planes_to_rgb(list(colour.rgb_to_planes(rgb, 16, meaning, ratio)), 16, meaning, ratio)
    assert np.abs(back - rgb)[:, 2:-2, 2:-2].max() < 1e-4


def test_places_differ():
    rgb = ramps()
    made = {
        place: np.stack(colour.rgb_to_planes(rgb, 16, Colour(1, False, place=place), (2, 2))[1:]).tobytes()
        for place in PLACES
    }
    assert len(set(made.values())) == len(PLACES)


def clip(path, place, codec="libx264", **options):
    meaning = Colour(6, False, place=place)
    frames = [planes.from_rgb(ramps(), "yuv420p", meaning) for _ in range(3)]
    return write(path, frames, codec=codec, options=options, tags={"colorspace": 6, "color_range": 1})


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264", "avi"])
@pytest.mark.parametrize("place", X264)
def test_h264_says_where(tmp_path, place, suffix):
    path = clip(tmp_path / f"in.{suffix}", place, crf="1", x264opts=f"chromaloc={X264[place]}")
    with VideoSource(path) as source:
        assert source.colour.place == source.info.colour.place == place
        rgb = next(source.pictures()).rgb
    assert np.abs(rgb - ramps())[:, 2:-2, 2:-2].max() < 0.012


def test_the_same_samples_are_other_colours_elsewhere(tmp_path):
    """The stored samples are equal, their places are not: so are the pictures."""
    pictures = {}
    for place in X264:
        path = clip(tmp_path / f"{place}.mp4", "left", crf="0", x264opts=f"chromaloc={X264[place]}")
        upscale(path, tmp_path / f"{place}", space=2, time=1, model=Blend())
        pictures[place] = read(tmp_path / place / "frame_000000.png")[0].to_ndarray(format="rgb24").tobytes()
    assert len(set(pictures.values())) == len(X264)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "expected"),
    [("in.mkv", "mpeg2video", "yuv420p", "left"), ("in.mkv", "mpeg1video", "yuv420p", "center"),
     ("in.mkv", "mjpeg", "yuvj420p", "center"), ("in.avi", "mjpeg", "yuvj422p", "center"),
     ("in.mp4", "libx264", "yuv420p", "left"), ("in.mkv", "libvpx-vp9", "yuv420p", "left"),
     ("in.mkv", "ffv1", "yuv420p", "left"), ("in.mkv", "libx264", "yuv444p", "unspecified"),
     ("in.mkv", "ffv1", "bgr0", "unspecified"), ("in.mkv", "libx264", "yuv422p", "left"),
     ("in.wmv", "wmv2", "yuv420p", "left")],
)  # fmt: skip
def test_codecs_that_imply_it(tmp_path, name, codec, pixel_format, expected):
    path = write(tmp_path / name, panning(2), rate=25, codec=codec, pixel_format=pixel_format, options={"b": "1M"})
    with VideoSource(path) as source:
        assert source.info.colour.place == expected


@pytest.mark.parametrize(
    ("word", "expected"), [("C420jpeg", "center"), ("C420mpeg2", "left"), ("C420paldv", "topleft"), ("", "center")]
)
def test_y4m_says_it_in_its_header(tmp_path, word, expected):
    frame = planes.from_rgb(ramps(), "yuv420p", Colour(6, False, place=expected))
    data = b"".join(plane.astype("u1").tobytes() for plane in planes.read(frame)[0])
    (tmp_path / "in.y4m").write_bytes(f"YUV4MPEG2 W40 H24 F10:1 Ip A1:1 {word}\n".encode() + (b"FRAME\n" + data) * 2)
    with VideoSource(tmp_path / "in.y4m") as source:
        assert source.info.colour.place == expected
        assert np.abs(next(source.pictures()).rgb - ramps())[:, 2:-2, 2:-2].max() < 0.012


def test_hdr10_is_read(tmp_path):
    params = (
        "log-level=none:hdr10=1:repeat-headers=1:max-cll=1000,400:chromaloc=2:colorprim=bt2020:transfer=smpte2084"
        ":colormatrix=bt2020nc:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    )
    path = write(
        tmp_path / "in.mkv", panning(2, 96, 64), codec="libx265", pixel_format="yuv420p10le",
        options={"x265-params": params},
    )  # fmt: skip
    with VideoSource(path) as source:
        info = source.info
    assert info.light is not None
    assert [(float(x), float(y)) for x, y in info.light.primaries] == [
        (0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.3127, 0.329)
    ]  # fmt: skip
    assert [float(v) for v in info.light.luminance] == [0.0001, 1000]
    assert info.light.content == (1000, 400)
    assert (info.colour.matrix, info.colour.primaries, info.colour.transfer, info.colour.place) == (9, 9, 16, "topleft")


def test_other_video_has_no_such_metadata(tmp_path):
    with VideoSource(write(tmp_path / "in.mp4", panning(2))) as source:
        assert source.info.light is None


def test_a_colour_profile_is_read(tmp_path):
    """Of Motion JPEG, whose pictures may have one."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with av.open(str(tmp_path / "in.mkv"), "w") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuvj420p"
        out.start_encoding()
        for n, picture in enumerate(panning(3)):
            data = io.BytesIO()
            Image.fromarray(picture).save(data, "jpeg", icc_profile=profile)
            packet = av.Packet(data.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, n, n, Fraction(1, 10)
            out.mux(packet)
    with VideoSource(tmp_path / "in.mkv") as source:
        assert source.info.profile == profile
