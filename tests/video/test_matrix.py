"""Generated inputs of many kinds: what PyAV says of them is what the output has, or the report names it."""

import itertools
from fractions import Fraction

import pytest

from video.clips import Blend, av, read, seconds
from video.rich import Sound, rich, streams
from vinr_engine.video.io.carried import LEFT_OUT
from vinr_engine.video.render import upscale

COUNT, RATE = 12, 10
MUXERS = {  # FFmpeg's names, with a suffix and an encoder of sound that fits
    "mp4": ("mp4", "aac"), "mov": ("mov", "pcm_s16le"), "matroska": ("mkv", "flac"), "webm": ("webm", "libopus"),
    "avi": ("avi", "mp2"), "mpegts": ("ts", "aac"), "mpeg": ("mpg", "mp2"), "asf": ("wmv", "wmav2"),
    "flv": ("flv", "aac"),
    "nut": ("nut", "pcm_s16le"), "ogg": ("ogv", "flac"), "mxf": ("mxf", "pcm_s16le"),
    "h264": ("h264", None), "m4v": ("m4v", None), "ivf": ("ivf", None), "yuv4mpegpipe": ("y4m", None),
}  # fmt: skip
CODECS = (
    "libx264", "libx265", "libvpx-vp9", "libvpx", "libsvtav1", "mpeg4", "mpeg2video", "ffv1", "mjpeg", "prores_ks",
    "wmv2", "rawvideo",
)  # fmt: skip
RISING = {"mp4", "mov", "matroska", "webm", "nut", "flv", "mpegts"}
"""Those that store times."""
LOOSE = {"mpegts"}
"""Those whose times may start again."""
FORMATS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}
STAMPS = {
    "constant": [100 * n for n in range(COUNT)],
    "varying": [0, 100, 180, 300, 420, 500, 640, 700, 800, 950, 1000, 1100],
}


def made(path, muxer, codec, times, tracks):
    """A clip; None where the muxer does not take the codec."""
    _, sound = MUXERS[muxer]
    tags = [{"language": "eng"}, {"language": "jpn"}, {"language": "ger"}]
    default = int(av.stream.Disposition.default)
    sounds = [Sound(sound, tags[n], default if n == min(1, tracks - 1) else 0) for n in range(tracks)]
    try:
        return rich(
            path, COUNT, sounds, muxer=muxer, codec=codec, rate=RATE, size=(64, 64), tags={"title": "T"},
            stamps=None if times == "constant" else STAMPS[times], pixel_format=FORMATS.get(codec, "yuv420p"),
        )  # fmt: skip
    except (ValueError, av.error.FFmpegError):
        return None


def check(tmp_path, muxer, codec, times, tracks, out):
    """One of the matrix."""
    suffix, sound = MUXERS[muxer]
    if (tracks and sound is None) or (times == "varying" and muxer not in RISING):
        pytest.skip("there is no such file")
    source = made(tmp_path / f"in.{suffix}", muxer, codec, times, tracks)
    if source is None:
        pytest.skip(f"{muxer} does not take {codec}")
    try:
        given = read(source)
    except (ValueError, IndexError, av.error.FFmpegError):
        given = []  # nor for players
    if len(given) != COUNT:
        pytest.skip("FFmpeg does not read it back")
    notes = []
    done = upscale(source, tmp_path / f"out.{out}", space=1, time=2, model=Blend(), cuts=False, note=notes.append)
    frames = read(tmp_path / f"out.{out}")
    assert done.frames_in == COUNT
    assert len(frames) == done.frames_out == 2 * COUNT
    assert done.faults.held == done.faults.dropped == 0
    expected = [Fraction(n, 1000) for n in STAMPS[times]]
    if muxer not in ("h264", "m4v"):
        slack = Fraction(15, 100) if out == "avi" and times == "varying" else Fraction(2, 1000)
        assert all(abs(a - b) <= slack for a, b in zip(seconds(frames)[::2], expected, strict=True))
    before, after = streams(source), streams(tmp_path / f"out.{out}")
    carried = [c for c in done.streams if c.kind == "audio" and c.became != LEFT_OUT]
    assert len(carried) == tracks == sum(s.kind == "audio" for s in after)
    loud = [s for s in before if s.kind == "audio"]
    for a, b in zip(loud, [s for s in after if s.kind == "audio"], strict=True):
        if a.tags.get("language") and not any("language" in name for name in done.left_out):
            assert a.tags["language"] == b.tags.get("language")
        assert abs(max(p[0] + p[1] for p in b.packets) - Fraction(COUNT, RATE)) < Fraction(12, 100)
    if any(s.flags & 1 for s in loud) and out in ("mkv", "mp4"):
        assert [bool(s.flags & 1) for s in loud] == [bool(s.flags & 1) for s in after if s.kind == "audio"]
    with av.open(str(source)) as a, av.open(str(tmp_path / f"out.{out}")) as b:
        title = {k.lower(): v for k, v in a.metadata.items()}.get("title")
        found = {k.lower(): v for k, v in b.metadata.items()}.get("title")
        assert found == title or "tag title" in done.left_out


SAMPLE = [
    ("mp4", "libx264", "varying", 3, "mkv"), ("mov", "prores_ks", "constant", 1, "mp4"),
    ("matroska", "ffv1", "varying", 3, "mp4"), ("webm", "libvpx-vp9", "constant", 1, "mp4"),
    ("avi", "mpeg4", "constant", 1, "mkv"), ("mpegts", "mpeg2video", "constant", 3, "mp4"),
    ("mpeg", "mpeg2video", "constant", 1, "mkv"), ("asf", "wmv2", "constant", 1, "mp4"),
    ("flv", "libx264", "varying", 1, "webm"), ("nut", "rawvideo", "varying", 3, "avi"),
    ("mxf", "mpeg2video", "constant", 1, "mov"), ("h264", "libx264", "constant", 0, "mp4"),
    ("ivf", "libvpx", "constant", 0, "mkv"), ("yuv4mpegpipe", "rawvideo", "constant", 0, "mkv"),
    ("matroska", "libx265", "constant", 3, "avi"),
]  # fmt: skip


@pytest.mark.parametrize(("muxer", "codec", "times", "tracks", "out"), SAMPLE)
def test_a_sample_of_the_matrix(tmp_path, muxer, codec, times, tracks, out):
    check(tmp_path, muxer, codec, times, tracks, out)


@pytest.mark.slow
@pytest.mark.parametrize("out", ["mkv", "mp4", "avi"])
@pytest.mark.parametrize(("muxer", "codec"), list(itertools.product(MUXERS, CODECS)))
@pytest.mark.parametrize("times", list(STAMPS))
@pytest.mark.parametrize("tracks", [0, 1, 3])
def test_the_matrix(tmp_path, muxer, codec, times, tracks, out):
    check(tmp_path, muxer, codec, times, tracks, out)


@pytest.mark.parametrize("kind", ["start again", "jump"])
@pytest.mark.parametrize("tracks", [0, 1, 3])
@pytest.mark.parametrize("out", ["mp4", "mkv", "avi"])
def test_times_that_start_again_or_jump(tmp_path, kind, tracks, out):
    """Two captures, one behind the other, as a transport stream; the second begins where the first one's sound ends."""
    parts = []
    for n in range(2):
        part = made(tmp_path / f"{n}.ts", "mpegts", "libx264", "constant", tracks)
        parts.append(part.read_bytes())
    if kind == "jump":
        jumped = tmp_path / "jumped.ts"
        with av.open(str(tmp_path / "1.ts")) as given, av.open(str(jumped), "w") as moved:
            pairs = {s.index: moved.add_stream_from_template(s, opaque=True) for s in given.streams}
            for packet in given.demux():
                if packet.dts is not None:
                    packet.pts, packet.dts = packet.pts + 90000 * 500, packet.dts + 90000 * 500
                    packet.stream = pairs[packet.stream.index]
                    moved.mux(packet)
        parts[1] = jumped.read_bytes()
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(parts))
    done = upscale(source, tmp_path / f"out.{out}", space=1, time=1, model=Blend(), cuts=False)
    assert done.frames_out == 2 * COUNT
    times = seconds(read(tmp_path / f"out.{out}"))
    assert all(abs(t - Fraction(n, RATE)) < Fraction(1, 10) for n, t in enumerate(times))
    after = streams(tmp_path / f"out.{out}")[1:]
    assert len(after) == tracks
    for sound in after:
        assert abs(max(p[0] + p[1] for p in sound.packets) - Fraction(2 * COUNT, RATE)) < Fraction(15, 100)
