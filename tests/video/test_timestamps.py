"""Every frame of a video is shown, at a time that rises, whatever its file says of times."""

import struct
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from video.clips import Blend, av, panning, read, seconds, write
from video.test_resume import Dies, Killed, contents
from vinr_engine.errors import SourceError, UsageError
from vinr_engine.video.io.decoding import Decoded
from vinr_engine.video.io.demuxing import Coded
from vinr_engine.video.io.moments import Rising
from vinr_engine.video.io.reading import Reading
from vinr_engine.video.io.source import Faults
from vinr_engine.video.io.video_source import VideoSource
from vinr_engine.video.render import upscale

TENTH = Fraction(1, 10)


def found(path, **reading):
    """(times, mean brightness of each, sum of faults, notes) of all pictures."""
    with VideoSource(path, Reading(**reading)) as source:
        pictures = list(source.pictures())
        notes = [*source.info.notes, *(note for picture in pictures for note in picture.notes)]
        return (
            [picture.time for picture in pictures],
            [float(picture.rgb.mean()) for picture in pictures],
            sum((picture.faults for picture in pictures), Faults()),
            notes,
        )


def brighter(count, width=48, height=32):
    """Pictures that can be told apart by their brightness."""
    return [np.full((height, width, 3), 40 + 160 * n // count, "u1") for n in range(count)]


def is_reordered(path):
    """Whether a file's pictures are coded in another order than they are shown in."""
    with av.open(str(path)) as container:
        times = [p.pts for p in container.demux(video=0) if p.size]
    return times != sorted(times)


def repacked(source, path, edit, container=None):
    """The same packets in another file; ``edit(packets)`` gives those to write, with times set."""
    with av.open(str(source)) as src, av.open(str(path), "w", format=container) as out:
        stream = src.streams.video[0]
        target = out.add_stream_from_template(stream)
        for packet in edit([p for p in src.demux(stream) if p.size]):
            packet.stream = target
            out.mux(packet)
    return path


# AVI and ASF store times of decoding alone, of which FFmpeg's guesses fail for H.264


@pytest.mark.parametrize("name", ["in.avi", "in.asf", "in.wmv"])
@pytest.mark.parametrize("most", [0, 2, 4])
def test_reordered_frames_without_times_of_showing(tmp_path, name, most):
    options = {"crf": "1", "bf": str(most), "b_strategy": "0", "sc_threshold": "0"}
    path = write(tmp_path / name, brighter(14), options=options)
    assert is_reordered(write(tmp_path / "in.mp4", brighter(14), options=options)) == bool(most)
    times, means, faults, notes = found(path)
    assert [time - times[0] for time in times] == [n * TENTH for n in range(14)]
    assert means == sorted(means)
    assert (faults, notes) == (Faults(), [])


def element(number, data):
    """One of Matroska's."""
    return bytes.fromhex(number) + struct.pack(">Q", len(data) | 1 << 56) + data


def test_matroska_in_the_way_of_avi(tmp_path):
    """H.264 under a tag of AVI's: its blocks are at their times of decoding."""
    coder = av.CodecContext.create("libx264", "w")
    coder.width, coder.height, coder.pix_fmt = 48, 32, "yuv420p"
    coder.time_base, coder.framerate = TENTH, Fraction(10)
    coder.options = {"crf": "1", "bf": "2", "b_strategy": "0", "sc_threshold": "0"}
    coded = []
    for n, picture in enumerate(brighter(14)):
        frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = n, TENTH
        coded += coder.encode(frame)
    coded += coder.encode(None)
    assert [p.pts for p in coded] != list(range(14))
    header = struct.pack("<IiiHH4sIiiII", 40, 48, 32, 1, 24, b"H264", 48 * 32 * 3, 0, 0, 0, 0)
    size = element("B0", b"\x30") + element("BA", b"\x20")
    track = b"".join(
        element(number, data)
        for number, data in [("D7", b"\1"), ("73C5", b"\1"), ("83", b"\1"), ("86", b"V_MS/VFW/FOURCC"),
                             ("63A2", header), ("23E383", struct.pack(">I", 10**8)), ("E0", size)]
    )  # fmt: skip
    blocks = b"".join(
        element("A3", b"\x81" + struct.pack(">hB", 100 * n, 128 * (n == 0)) + bytes(packet))
        for n, packet in enumerate(coded)
    )
    (tmp_path / "in.mkv").write_bytes(
        element("1A45DFA3", element("4282", b"matroska") + element("4287", b"\4") + element("4285", b"\2"))
        + element(
            "18538067",
            element("1549A966", element("2AD7B1", struct.pack(">I", 10**6)))
            + element("1654AE6B", element("AE", track))
            + element("1F43B675", element("E7", b"\0") + blocks),
        )
    )
    times, means, faults, _ = found(tmp_path / "in.mkv")
    assert times == [n * TENTH for n in range(14)]
    assert (means, faults) == (sorted(means), Faults())


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg", "ffv1"])
def test_other_codecs_in_avi(tmp_path, codec):
    options = {"bf": "2", "qscale": "2", "b_strategy": "0"} if codec == "mpeg4" else {}
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write(tmp_path / "in.avi", brighter(14), codec=codec, pixel_format=pixels, options=options)
    times, means, faults, _ = found(path)
    assert times == [n * TENTH for n in range(14)]
    assert (means, faults) == (sorted(means), Faults())


def packed_bitstream(path, frames):
    """What DivX made of B-frames for AVI: a packet holds a frame and the one before it, the next one stands for it."""
    coder = av.CodecContext.create("mpeg4", "w")
    coder.width, coder.height, coder.pix_fmt = 48, 32, "yuv420p"
    coder.time_base, coder.framerate = TENTH, Fraction(10)
    coder.options = {"bf": "1", "qscale": "2", "flags": "+qscale+global_header"}
    coded = []
    for n, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = n, TENTH
        coded += map(bytes, coder.encode(frame))
    coded += map(bytes, coder.encode(None))
    kinds = ["IPBS"[data[data.find(b"\0\0\1\xb6") + 4] >> 6] for data in coded]
    packets = []
    while coded:
        data = coded.pop(0)
        kinds.pop(0)
        if kinds[:1] == ["B"]:
            packets += [data + coded.pop(0), b"\0\0\1\xb6\x51\x7f"]
            kinds.pop(0)
        else:
            packets.append(data)
    packets[0] = coder.extradata + b"\0\0\1\xb2DivX503b1393p" + packets[0]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.codec_tag = "DX50"
        out.start_encoding()
        for n, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, n, n, TENTH
            packet.is_keyframe = n == 0
            out.mux(packet)
    assert b"\x51\x7f" in packets[2]
    return path


def test_packed_bitstream(tmp_path):
    times, means, faults, _ = found(packed_bitstream(tmp_path / "in.avi", brighter(15)))
    assert times == [n * TENTH for n in range(15)]
    assert (means, faults) == (sorted(means), Faults())


# bare streams


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [("h264", "libx264", {"crf": "4"}), ("h264", "libx264", {"crf": "4", "x264-params": "interlaced=1"}),
     ("hevc", "libx265", {"x265-params": "log-level=none"}), ("m2v", "mpeg2video", {"qscale": "2", "bf": "2"})],
)  # fmt: skip
@pytest.mark.parametrize("rate", [Fraction(60), Fraction(24000, 1001)])
def test_bare_streams_run_as_they_state(tmp_path, suffix, codec, options, rate):
    pictures = brighter(24, 96, 64)
    path = write(tmp_path / f"in.{suffix}", pictures, rate=rate, codec=codec, options=options)
    done = upscale(path, tmp_path / "o.mp4", space=1, time=1, model=Blend())
    assert (done.frames_in, done.faults) == (24, Faults())
    assert done.rate == pytest.approx(rate, rel=1e-4)
    times = seconds(read(tmp_path / "o.mp4"))
    assert max(abs(time - n / rate) for n, time in enumerate(times)) < Fraction(1, 1000)


def test_frames_that_a_bare_stream_repeats(tmp_path):
    """Every second one is to be shown twice, as pulldown has it."""
    path = write(tmp_path / "in.m2v", brighter(12), rate=25, codec="mpeg2video", options={"qscale": "2", "bf": "0"})
    data = bytearray(path.read_bytes())
    place, number = data.find(b"\0\0\1\xb5"), 0
    while place >= 0:
        if data[place + 4] >> 4 == 8:  # a picture coding extension, with repeat_first_field in it
            data[place + 7] |= 2 * (number % 2)
            number += 1
        place = data.find(b"\0\0\1\xb5", place + 4)
    path.write_bytes(data)
    times, means, faults, _ = found(path)
    assert [25 * time for time in times] == [n // 2 * 3 + n % 2 for n in range(12)]
    assert (means, faults) == (sorted(means), Faults())


def test_a_bare_stream_runs_as_it_is_told(tmp_path):
    path = write(tmp_path / "in.h264", brighter(24), rate=60)
    notes = []
    done = upscale(path, tmp_path / "o.mp4", space=1, time=2, model=Blend(), input_fps="24000/1001", note=notes.append)
    assert done.rate == 2 * Fraction(24000, 1001)
    assert seconds(read(tmp_path / "o.mp4")) == [n * Fraction(1001, 48000) for n in range(48)]
    assert not any("timestamps" in note for note in notes)


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.avi", "in.ts"])
def test_a_rate_is_refused_where_there_are_times(tmp_path, name):
    with pytest.raises(UsageError, match="--input-fps is for images and bare streams"):
        upscale(write(tmp_path / name, panning(2)), tmp_path / "o.mkv", model=Blend(), input_fps=25)


# timestamps that start again


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joined")

    def make(name):
        suffix = name.partition(".")[2]
        codec = {"mpg": "mpeg2video", "vob": "mpeg2video"}.get(suffix, "libx264")
        options = {"qscale": "2", "bf": "2"} if codec == "mpeg2video" else {"crf": "1", "g": "7"}
        pictures = brighter(50)
        data = b""
        for n, part in enumerate((pictures[:20], pictures[20:35], pictures[35:])):
            piece = write(folder / f"{n}.{suffix}", part, rate=25, codec=codec, options=options)
            data += piece.read_bytes()
        (folder / name).write_bytes(data)
        return folder / name

    return {suffix: make(f"in.{suffix}") for suffix in ("ts", "mpg", "vob", "avi", "mkv", "flv", "asf", "mp4")}


@pytest.mark.parametrize("suffix", ["avi", "mkv", "flv", "asf", "mp4"])
def test_joined_files_that_cannot_be_are_named(joined, suffix):
    """FFmpeg reads all of such an AVI, two parts of such a Matroska file, and one of the others."""
    times, means, _, notes = found(joined[suffix])
    assert len(times) in (20, 35, 50)
    assert means == sorted(means)
    assert any("another file is joined to it" in note for note in notes) == (len(times) < 50)
    if len(times) < 50:
        with pytest.raises(SourceError, match="another file is joined"):
            found(joined[suffix], on_error="stop")


@pytest.mark.parametrize(
    "name", ["in.mkv", "in.webm", "in.mp4", "in.mov", "in.flv", "in.asf", "in.avi", "in.mxf", "in.nut"]
)
def test_one_file_is_not_taken_for_two(tmp_path, name):
    codec = {"in.webm": "libvpx-vp9", "in.mxf": "mpeg2video"}.get(name, "libx264")
    path = write(tmp_path / name, brighter(6), rate=25, codec=codec, options={"b": "1M"}, audio=None)
    assert found(path)[2:] == (Faults(), [])


@pytest.mark.parametrize("suffix", ["ts", "mpg", "vob"])
def test_joined_files_are_read_to_their_end(joined, suffix):
    times, means, faults, notes = found(joined[suffix])
    assert len(times) == 50
    assert means == sorted(means)
    assert all(0 < b - a < Fraction(3, 25) for a, b in pairwise(times))
    assert faults.repaired >= 2
    assert faults.dropped == faults.held == 0
    assert sum("start again" in note for note in notes) == 1


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_a_run_on_a_joined_file_is_taken_up(tmp_path, joined, suffix):
    options = {"space": 1, "time": 2, "segment": 8}
    done = upscale(joined[suffix], tmp_path / "whole.mkv", model=Blend(), **options)
    for at in (20, 45, 75, 95):
        with pytest.raises(Killed):
            upscale(joined[suffix], tmp_path / "o.mkv", model=Dies(at), overwrite=True, **options)
        again = upscale(joined[suffix], tmp_path / "o.mkv", model=Blend(), overwrite=True, **options)
        assert again.resumed > at - 30
        assert again.faults == done.faults
        assert contents(tmp_path / "o.mkv") == contents(tmp_path / "whole.mkv")


def test_a_part_of_a_joined_file(tmp_path, joined):
    """Beyond where the first timestamps reach, and where both have the same."""
    for suffix in ("ts", "mpg"):
        every, means, _, _ = found(joined[suffix])
        for start in (Fraction(1, 2), Fraction(3, 2)):
            times, part, _, _ = found(joined[suffix], start=start)
            first = next(n for n, time in enumerate(every) if time >= start)
            assert (times, part) == (every[first:], means[first:])


def test_a_long_joined_file_is_entered_where_it_should_be(tmp_path, monkeypatch):
    data = b""
    for n in range(2):
        data += write(
            tmp_path / f"{n}.ts", brighter(50), rate=10, options={"crf": "1", "g": "5"}, audio="aac"
        ).read_bytes()
    (tmp_path / "in.ts").write_bytes(data)
    every, means, _, _ = found(tmp_path / "in.ts")
    assert len(every) == 100
    monkeypatch.delattr(VideoSource, "_restart")  # which would read from the beginning
    for start in (3, 4, 6, 8):
        with VideoSource(tmp_path / "in.ts") as source:
            picture = next(source.pictures(every[start * 10 + 1]))
            assert (picture.time, float(picture.rgb.mean())) == (every[start * 10 + 1], means[start * 10 + 1])


# single frames


def shown(stamps, step=TENTH):
    """(index, time) of frames with such stamps, and how many were repaired and dropped."""
    frames = [
        (Decoded(Coded(n, None, None, None, Fraction(0), True), n), None if s is None else Fraction(s, 10))
        for n, s in enumerate(stamps)
    ]
    rising = Rising(step)
    placed = list(rising.of(iter(frames)))
    faults = sum((one.faults for one in placed), Faults(dropped=rising.dropped))
    return [(one.frame, float(one.time * 10)) for one in placed], faults.repaired, faults.dropped


@pytest.mark.parametrize(
    ("stamps", "expected", "repaired", "dropped"),
    [([0, 1, 2], [0, 1, 2], 0, 0), ([0, None, 2], [0, 1, 2], 1, 0), ([0, None, None, 3], [0, 1, 2, 3], 2, 0),
     ([None, None, 3], [1, 2, 3], 2, 0), ([0, 1, None], [0, 1, 2], 1, 0), ([None, None], [0, 1], 2, 0),
     ([0, 4, 2, 6], [0, 4, 5, 6], 1, 0), ([0, 2, 2, 3], [0, 2, None, 3], 0, 1), ([0, 1, 1], [0, 1, None], 0, 1),
     ([0, 1, 1, 1, 4], [0, 1, None, 2.5, 4], 1, 1), ([5, 1, None, 8], [5, 6, 7, 8], 2, 0)],
)  # fmt: skip
def test_times_that_do_not_rise(stamps, expected, repaired, dropped):
    wanted = [(n, time) for n, time in enumerate(expected) if time is not None]
    assert shown(stamps) == (wanted, repaired, dropped)


def test_many_frames_without_a_time():
    placed, repaired, dropped = shown([0, *[None] * 100])
    assert [time for _, time in placed] == list(range(101))
    assert (repaired, dropped) == (100, 0)


def test_repeats_in_a_file_are_counted(tmp_path):
    def edit(packets):
        for n, packet in enumerate(packets):
            packet.pts = packet.dts = (0, 100, 100, 300)[n]
        return packets

    source = write(tmp_path / "a.mkv", brighter(4), options={"crf": "1", "bf": "0"})
    path = repacked(source, tmp_path / "in.mkv", edit)
    times, means, faults, notes = found(path)
    assert [float(time) for time in times] == [0, 0.1, 0.3]
    assert means == sorted(means)
    assert faults == Faults(dropped=1)
    assert any("have one time" in note for note in notes)


# rates


def test_a_rate_that_cannot_be_is_measured(tmp_path):
    """Frames a third of a millisecond from one another, once, make FFmpeg think of thousands a second."""
    stamps = [0, 1, *range(101, 1000, 100)]
    path = write(tmp_path / "in.mkv", brighter(len(stamps)), rate=1000, stamps=stamps, options={"bf": "0"})
    with VideoSource(path) as source:
        assert source.stream.average_rate == 1000
        assert source.info.rate == 10


def test_a_fast_camera_is_believed(tmp_path):
    path = write(tmp_path / "in.mp4", brighter(20), rate=1000)
    with VideoSource(path) as source:
        assert source.info.rate == 1000
