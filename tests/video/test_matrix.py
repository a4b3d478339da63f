"""Generated inputs of many kinds: what PyAV says of them is what the output has, or the report names it."""

import itertools
from fractions import Fraction

import pytest

from video.clips import Blend, av, read, seconds
from video.rich import Sound, rich, streams
from vinr_engine.video.io.carried import LEFT_OUT
from vinr_engine.video.render import upscale

COUNT = 12
MUXERS = {  # FFmpeg's names, with a suffix, an encoder of sound that fits, and the encoders of pictures that go into it
    "mp4": ("mp4", "aac", "libx264 libx265 libvpx-vp9 libsvtav1 mpeg4 mpeg2video ffv1 mjpeg"),
    "mov": ("mov", "pcm_s16le", "libx264 libx265 mpeg4 mpeg2video mjpeg prores_ks"),
    "matroska": (
        "mkv", "flac",
        "libx264 libx265 libvpx-vp9 libvpx libsvtav1 mpeg4 mpeg2video ffv1 mjpeg prores_ks rawvideo",
    ),
    "webm": ("webm", "libopus", "libvpx-vp9 libvpx libsvtav1"),
    "avi": ("avi", "mp2", "libx264 libvpx-vp9 libvpx libsvtav1 mpeg4 mpeg2video ffv1 mjpeg wmv2 rawvideo"),
    "mpegts": ("ts", "aac", "libx264 libx265 mpeg4 mpeg2video"),
    "mpeg": ("mpg", "mp2", "libx264 libx265 mpeg4 mpeg2video"),
    "asf": ("wmv", "wmav2", "libx264 libvpx-vp9 libvpx libsvtav1 mpeg4 mpeg2video ffv1 mjpeg wmv2 rawvideo"),
    "flv": ("flv", "aac", "libx264 libx265 libvpx-vp9 libsvtav1"),
    "nut": (
        "nut", "pcm_s16le",
        "libx264 libx265 libvpx-vp9 libvpx libsvtav1 mpeg4 mpeg2video ffv1 mjpeg wmv2 rawvideo",
    ),
    "ogg": ("ogv", "flac", "libvpx"),
    "mxf": ("mxf", "pcm_s16le", "libx264 mpeg2video ffv1 prores_ks"),
    "h264": ("h264", None, "libx264"), "hevc": ("hevc", None, "libx265"), "m4v": ("m4v", None, "mpeg4"),
    "mpeg2video": ("m2v", None, "mpeg2video"), "mjpeg": ("mjpeg", None, "mjpeg"), "obu": ("obu", None, "libsvtav1"),
    "ivf": ("ivf", None, "libvpx-vp9 libvpx libsvtav1"), "yuv4mpegpipe": ("y4m", None, "rawvideo"),
}  # fmt: skip
CODECS = (
    "libx264", "libx265", "libvpx-vp9", "libvpx", "libsvtav1", "mpeg4", "mpeg2video", "ffv1", "mjpeg", "prores_ks",
    "wmv2", "rawvideo",
)  # fmt: skip
RISING = {"mp4", "mov", "matroska", "webm", "nut", "flv", "mpegts", "ivf"}
"""Those that store times."""
LOOSE = {"mpegts", "mpeg"}
"""Those whose times may start again."""
BARE = {"h264", "hevc", "m4v", "mpeg2video", "mjpeg", "obu"}
"""Those that store none, some not even a rate."""
FORMATS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}
VARYING = [0, 100, 180, 300, 420, 500, 640, 700, 800, 950, 1000, 1100]
GAP = 100
"""Seconds by which times jump: taken out where times may start again, else as the file says."""
OUTPUTS = ("mkv", "mp4", "avi")


def rate(muxer, codec):
    """MXF and MPEG-2 know few."""
    return 25 if muxer == "mxf" or codec == "mpeg2video" else 10


def stamps(muxer, codec, times):
    """Thousandths of a second from the first frame."""
    step = 1000 // rate(muxer, codec)
    if times == "varying":
        return VARYING
    gap = 1000 * GAP if times == "jumping" and muxer not in LOOSE else 0
    count = COUNT * (2 if times == "restarting" else 1)
    return [step * n + (gap if n >= COUNT // 2 else 0) for n in range(count)]


def rows():
    """(muxer, codec, times) of all that exist."""
    for muxer, (_, _, codecs) in MUXERS.items():
        times = ["constant"]
        times += ["varying", "jumping"] if muxer in RISING else []
        times += ["restarting"] if muxer in LOOSE else []
        yield from itertools.product([muxer], codecs.split(), times)


def cells(muxer):
    """(tracks, out) of each row."""
    return itertools.product([0] if MUXERS[muxer][1] is None else [0, 1, 3], OUTPUTS)


def made(path, muxer, codec, times, tracks):
    """A clip. ValueError or FFmpeg's error where the muxer does not take the codec."""
    _, sound, _ = MUXERS[muxer]
    tags = [{"language": "eng"}, {"language": "jpn"}, {"language": "ger"}]
    default = int(av.stream.Disposition.default)
    sounds = [Sound(sound, tags[n], default if n == min(1, tracks - 1) else 0) for n in range(tracks)]
    rich(
        path, COUNT, sounds, muxer=muxer, codec=codec, rate=rate(muxer, codec), size=(64, 64), tags={"title": "T"},
        stamps=VARYING if times == "varying" else None, pixel_format=FORMATS.get(codec, "yuv420p"),
        gap=GAP if times == "jumping" else 0,
    )  # fmt: skip
    if times == "restarting":
        path.write_bytes(path.read_bytes() * 2)
    return path


def check(folder, source, muxer, codec, times, tracks, out):
    """One of the matrix."""
    expected = [Fraction(n, 1000) for n in stamps(muxer, codec, times)]
    count, target = len(expected), folder / f"out{tracks}.{out}"
    done = upscale(source, target, space=1, time=2, model=Blend(), cuts=False)
    frames = read(target)
    assert done.frames_in == count
    assert len(frames) == done.frames_out == 2 * count
    assert done.faults.held == done.faults.dropped == 0
    if muxer not in BARE:
        slack = Fraction(2, 1000)
        slack += Fraction(15, 100) if out == "avi" and times == "varying" else 0
        slack += Fraction(1, 10) if muxer in LOOSE and times in ("restarting", "jumping") else 0  # where the sound ends
        assert [float(t) for t in seconds(frames)[::2]] == pytest.approx([float(t) for t in expected], abs=float(slack))
    before, after = streams(source), streams(target)
    carried = [c for c in done.streams if c.kind == "audio" and c.became != LEFT_OUT]
    assert len(carried) == tracks == sum(s.kind == "audio" for s in after)
    loud = [s for s in before if s.kind == "audio"]
    length = Fraction(count, rate(muxer, codec))
    for a, b in zip(loud, [s for s in after if s.kind == "audio"], strict=True):
        if a.tags.get("language") and not any("language" in name for name in done.left_out):
            assert a.tags["language"] == b.tags.get("language")
        # An input of PCM in MOV, which has no times, has no gap.
        stored = max(p[0] + p[1] for p in a.packets) if times == "jumping" and muxer not in LOOSE else length
        assert abs(max(p[0] + p[1] for p in b.packets) - stored) < Fraction(12, 100)
    if any(s.flags & 1 for s in loud) and out in ("mkv", "mp4"):
        assert [bool(s.flags & 1) for s in loud] == [bool(s.flags & 1) for s in after if s.kind == "audio"]
    with av.open(str(source)) as a, av.open(str(target)) as b:
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
    source = made(tmp_path / f"in.{MUXERS[muxer][0]}", muxer, codec, times, tracks)
    check(tmp_path, source, muxer, codec, times, tracks, out)


@pytest.mark.slow
@pytest.mark.parametrize(("muxer", "codec", "times"), list(rows()))
def test_the_matrix(tmp_path, muxer, codec, times):
    """Every one of a row is tried, whatever becomes of those before it."""
    sources, wrong = {}, []
    for tracks, out in cells(muxer):
        try:
            if tracks not in sources:
                sources[tracks] = made(tmp_path / f"in{tracks}.{MUXERS[muxer][0]}", muxer, codec, times, tracks)
            check(tmp_path, sources[tracks], muxer, codec, times, tracks, out)
        except Exception as error:
            wrong.append(f"{tracks} tracks to {out}: {type(error).__name__}: {str(error)[:600]}")
    assert not wrong, "\n".join(wrong)


def test_the_matrix_leaves_out_only_what_ffmpeg_does_not_write_or_read(tmp_path):
    """The table is whole: it has every encoder that goes into a container and comes out again."""
    missing = []
    for muxer, (suffix, _, codecs) in MUXERS.items():
        for codec in set(CODECS) - set(codecs.split()):
            try:
                frames = read(made(tmp_path / f"in.{suffix}", muxer, codec, "constant", 0))
            except (ValueError, IndexError, av.error.FFmpegError):
                continue
            if len(frames) == COUNT:
                missing.append((muxer, codec))
    assert not missing
    assert sum(len(list(cells(muxer))) for muxer, _, _ in rows()) == 1650


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
    assert all(abs(t - Fraction(n, 10)) < Fraction(1, 10) for n, t in enumerate(times))
    after = streams(tmp_path / f"out.{out}")[1:]
    assert len(after) == tracks
    for sound in after:
        assert abs(max(p[0] + p[1] for p in sound.packets) - Fraction(2 * COUNT, 10)) < Fraction(15, 100)
