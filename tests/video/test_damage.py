"""What cannot be read is held, left out or an error, as asked for, and always said and counted."""

from fractions import Fraction

import numpy as np
import pytest

from video.clips import Blend, av, panning, read, seconds, write
from video.rich import Sound, remuxed, rich
from video.test_resume import Dies, Killed, contents
from video.test_timestamps import brighter, found, repacked
from vinr_engine.errors import SourceError
from vinr_engine.video.io.reading import Reading
from vinr_engine.video.io.source import Faults
from vinr_engine.video.io.video_source import VideoSource
from vinr_engine.video.render import upscale

H264 = {"crf": "4", "g": "10", "bf": "2", "b_strategy": "0"}


def damaged(path, number, begin, length):
    """Change a part of one coded picture, from ``begin`` on, by fractions of it."""
    with av.open(str(path)) as container:
        coded = [bytes(packet) for packet in container.demux(video=0) if packet.size][number]
    data = bytearray(path.read_bytes())
    place, size = data.index(coded), len(coded)
    for n in range(place + int(size * begin), place + int(size * (begin + length))):
        data[n] ^= 0x5A
    path.write_bytes(data)
    return path


@pytest.fixture(
    params=[
        ("in.mkv", "mpeg2video", {"qscale": "2", "bf": "0"}), ("in.mkv", "mjpeg", {}), ("in.mp4", "libx264", H264),
        ("in.avi", "mpeg4", {"qscale": "2", "bf": "0"}), ("in.mkv", "libvpx-vp9", {"lag-in-frames": "0", "crf": "10"}),
    ],
    ids=lambda case: case[1],
)  # fmt: skip
def broken(tmp_path, request):
    """A clip of 40 frames, the 16th of which is damaged."""
    name, codec, options = request.param
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    noise = np.random.default_rng(0)
    pictures = [picture + noise.integers(0, 40, picture.shape, "u1") for picture in panning(40, 96, 64)]
    path = write(tmp_path / name, pictures, codec=codec, pixel_format=pixels, options=options)
    return damaged(path, 15, *((0.3, 0.6) if codec.startswith("mpeg") else (0, 0.9)))


def test_a_damaged_frame_is_held(tmp_path, broken):
    notes = []
    done = upscale(broken, tmp_path / "o.mkv", space=1, time=1, model=Blend(), codec="ffv1", note=notes.append)
    assert done.frames_in == done.frames_out == 40
    assert done.faults.held >= 1
    assert done.faults.dropped == done.faults.repaired == 0
    assert sum("unreadable frame at" in note and "stands in" in note for note in notes) == 1
    frames = read(tmp_path / "o.mkv")
    assert [float(time) for time in seconds(frames)] == pytest.approx([n / 10 for n in range(40)], abs=2e-3)
    pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
    same = [n for n in range(1, 40) if np.array_equal(pictures[n], pictures[n - 1])]
    assert len(same) >= done.faults.held


def test_a_damaged_frame_is_skipped(tmp_path, broken):
    notes = []
    done = upscale(broken, tmp_path / "o.mkv", space=1, time=1, model=Blend(), on_error="skip", note=notes.append)
    held = upscale(broken, tmp_path / "held.mkv", space=1, time=1, model=Blend()).faults.held
    assert (done.frames_in, done.faults) == (40 - held, Faults(dropped=held))
    assert sum("it is left out" in note for note in notes) == 1
    gaps = np.diff([float(time) for time in seconds(read(tmp_path / "o.mkv"))])
    assert gaps.sum() == pytest.approx(3.9, abs=2e-3)


def test_a_damaged_frame_ends_the_job_if_asked(tmp_path, broken):
    with pytest.raises(SourceError, match=r"unreadable frame (at|after) 1"):
        upscale(broken, tmp_path / "o.mkv", space=1, time=1, model=Blend(), on_error="stop")
    assert not (tmp_path / "o.mkv").exists()


def test_damage_is_the_same_every_time(broken):
    assert len({repr(found(broken)) for _ in range(5)}) == 1


def test_a_run_on_a_damaged_file_is_taken_up(tmp_path, broken):
    options = {"space": 1, "time": 2, "segment": 6}
    done = upscale(broken, tmp_path / "whole.mkv", model=Blend(), **options)
    for at in (26, 37):
        with pytest.raises(Killed):
            upscale(broken, tmp_path / "o.mkv", model=Dies(at), overwrite=True, **options)
        again = upscale(broken, tmp_path / "o.mkv", model=Blend(), overwrite=True, **options)
        assert again.resumed
        assert again.faults == done.faults
        assert contents(tmp_path / "o.mkv") == contents(tmp_path / "whole.mkv")


def test_a_transport_stream_that_lost_a_packet(tmp_path):
    path = write(tmp_path / "a.ts", panning(40, 96, 64), options=H264, audio="aac")
    data = path.read_bytes()
    packets = [data[n : n + 188] for n in range(0, len(data), 188)]
    pictures = [n for n, packet in enumerate(packets) if (packet[1] & 31) << 8 | packet[2] == 0x100]
    del packets[pictures[len(pictures) // 2]]
    (tmp_path / "in.ts").write_bytes(b"".join(packets))
    times, _, faults, notes = found(tmp_path / "in.ts")
    assert len(times) == 40
    assert faults.held >= 1
    assert len(notes) == 1


def test_frames_before_the_first_whole_one_are_counted(tmp_path):
    path = write(tmp_path / "in.mkv", panning(20), codec="mjpeg", pixel_format="yuvj420p", options={})
    for number in (0, 1):
        damaged(path, number, 0.1, 0.9)
    times, _, faults, notes = found(path)
    assert len(times) == 18
    assert faults == Faults(dropped=2)
    assert sum("it is left out" in note for note in notes) == 1


def test_a_capture_that_begins_within_a_group_of_pictures(tmp_path):
    source = write(tmp_path / "a.ts", panning(40, 96, 64), options={"crf": "4", "g": "12", "bf": "0"})
    path = repacked(source, tmp_path / "in.ts", lambda packets: packets[5:])
    times, _, faults, notes = found(path)
    assert len(times) == 40 - 12
    assert faults == Faults(dropped=7)
    assert any("builds on" in note for note in notes)


def test_nothing_that_can_be_read_is_an_error(tmp_path):
    path = write(tmp_path / "in.mkv", panning(4), codec="mjpeg", pixel_format="yuvj420p", options={})
    for number in range(4):
        damaged(path, number, 0.1, 0.9)
    with pytest.raises(SourceError, match=r"holds no video frames that can be read"):
        upscale(path, tmp_path / "o.mkv", model=Blend())


# files that end too early


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "flv", "mov"])
def test_a_file_that_is_cut_short_is_said_to_be(tmp_path, suffix):
    options = {"crf": "10", "g": "10"}
    if suffix in ("mp4", "mov"):
        with av.open(str(tmp_path / f"a.{suffix}"), "w", options={"movflags": "faststart"}) as out:
            stream = out.add_stream("libx264", rate=10, options=options)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for picture in panning(40, 96, 64):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            out.mux(stream.encode(None))
    else:
        write(tmp_path / f"a.{suffix}", panning(40, 96, 64), options=options)
    data = (tmp_path / f"a.{suffix}").read_bytes()
    path = tmp_path / f"in.{suffix}"
    path.write_bytes(data)
    assert not any("cut short" in note for note in found(path)[3])
    path.write_bytes(data[: len(data) * 3 // 4])
    times, _, _, notes = found(path)
    assert 8 < len(times) < 38
    assert sum("cut short" in note and "lasts 4.000 s" in note for note in notes) == (suffix not in ("flv", "avi"))
    assert sum("cut short" in note for note in notes) == 1
    with pytest.raises(SourceError, match=r"cut short|unreadable frame"):
        found(path, on_error="stop")


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_recording_that_was_not_completed_is_named(tmp_path, suffix):
    path = write(tmp_path / f"in.{suffix}", panning(20, 96, 64))
    data = path.read_bytes()
    for kept in (data[: len(data) // 2], data[:100]):
        path.write_bytes(kept)
        with pytest.raises(SourceError, match=r"lacks its index \(moov\)"):
            found(path)
    for other in (b"<!DOCTYPE html>" * 50, data[: data.index(b"moov") + 60]):
        path.write_bytes(other)
        with pytest.raises(SourceError, match=r"is not a video that can be read|holds no video"):
            found(path)


@pytest.mark.parametrize("suffix", ["mkv", "nut", "webm", "mp4"])
def test_a_file_that_begins_late_is_not_cut_short(tmp_path, suffix):
    """Some formats say where they end, others how long they last; the sound may be what ends last."""
    plain = rich(tmp_path / "in.mkv", 20, [Sound("libopus")], codec="libvpx-vp9")

    def change(packet):
        packet.pts, packet.dts = packet.pts + 3000, packet.dts + 3000
        return True

    late = remuxed(plain, tmp_path / f"late.{suffix}", change)
    assert found(late, on_error="stop")[3] == []


def test_sound_that_lasts_longer_is_no_missing_picture(tmp_path):
    """The picture ends a second before the sound, and both are all there."""
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        sound = out.add_stream("flac", rate=8000)
        sound.layout = "mono"
        for picture in panning(10):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))
        for n in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), "i2"), "s16", "mono")
            frame.sample_rate, frame.pts = 8000, n * 800
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    times, _, faults, notes = found(path)
    assert (len(times), faults, notes) == (10, Faults(), [])


def test_a_part_does_not_end_too_early(tmp_path):
    path = write(tmp_path / "in.mkv", panning(40), options={"crf": "4"})
    assert found(path, end=2)[2:] == (Faults(), [])


# what changes within a file


def changing(path, *parts):
    """Pictures of several kinds, one after the other in one stream, each coded by itself."""
    with av.open(str(path), "w") as out:
        stream = None
        for pictures, pixel_format, tags in parts:
            coder = av.CodecContext.create("mjpeg", "w")
            coder.height, coder.width = pictures[0].shape[:2]
            coder.pix_fmt, coder.time_base = pixel_format, Fraction(1, 10)
            for name, value in tags.items():
                setattr(coder, name, value)
            if stream is None:
                stream = out.add_stream("mjpeg", rate=10)
                stream.width, stream.height, stream.pix_fmt = coder.width, coder.height, pixel_format
                out.start_encoding()
                count = 0
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(
                    format=pixel_format, dst_colorspace="ITU601", dst_color_range="JPEG"
                )
                frame.pts = count
                for packet in coder.encode(frame):
                    packet.stream, packet.pts, packet.dts = stream, count, count
                    packet.time_base = coder.time_base
                    out.mux(packet)
                count += 1
    return path


def test_a_change_of_size_is_scaled(tmp_path):
    path = changing(
        tmp_path / "in.mkv", (panning(4, 96, 64), "yuvj420p", {}), (panning(3, 48, 32), "yuvj420p", {}),
        (panning(2, 96, 64), "yuvj420p", {}),
    )  # fmt: skip
    with VideoSource(path) as source:
        pictures = list(source.pictures())
    assert {picture.rgb.shape for picture in pictures} == {(3, 64, 96)}
    assert [picture.faults.repaired for picture in pictures] == [0] * 4 + [1] * 3 + [0] * 2
    notes = [note for picture in pictures for note in picture.notes]
    assert notes == ["the video changes size at 0.400 s, from 96x64 to 48x32: scaled to the former"]
    assert np.abs(pictures[4].rgb - pictures[0].rgb).mean() < 0.05
    with pytest.raises(SourceError, match=r"changes size at 0\.400 s, from 96x64 to 48x32"):
        found(path, on_error="stop")


def test_each_frame_has_its_own_pixel_format(tmp_path):
    path = changing(tmp_path / "in.mkv", (brighter(3), "yuvj420p", {}), (brighter(3), "yuvj444p", {}))
    with VideoSource(path) as source:
        pictures = list(source.pictures())
    assert len(pictures) == 6
    for one, other in zip(pictures[:3], pictures[3:], strict=True):
        assert np.abs(one.rgb - other.rgb).max() < 3 / 255


def test_what_follows_a_fault_of_the_container(tmp_path):
    """Whether reading goes on behind it or not, it is said."""
    path = write(tmp_path / "a.y4m", brighter(10), codec="wrapped_avframe", options={})
    data = bytearray(path.read_bytes())
    place = -1
    for _ in range(7):
        place = data.index(b"FRAME", place + 1)
    data[place : place + 5] = b"SHAME"
    (tmp_path / "in.y4m").write_bytes(data)
    times, means, faults, notes = found(tmp_path / "in.y4m")
    assert len(times) == 6
    assert (means, faults) == (sorted(means), Faults())
    assert sum("cannot be read" in note for note in notes) == 1
    with pytest.raises(SourceError, match=r"cannot be read beyond 0\.5"):
        found(tmp_path / "in.y4m", on_error="stop")


def test_frames_that_are_left_out_at_the_end_are_said(tmp_path):
    path = write(tmp_path / "in.avi", panning(10), codec="mjpeg", pixel_format="yuvj420p", options={})
    damaged(path, 9, 0, 0.9)
    notes = []
    done = upscale(path, tmp_path / "o.mkv", space=1, time=1, model=Blend(), on_error="skip", note=notes.append)
    assert (done.frames_in, done.faults) == (9, Faults(dropped=1))
    assert [note for note in notes if "unreadable frames after 0.800 s" in note] != []


def test_times_that_no_file_can_be_entered_at(tmp_path):
    """A damaged file may begin at more ticks than 64 bits hold."""
    path = write(tmp_path / "in.mkv", panning(40))
    with VideoSource(path, Reading(start=Fraction(3))) as source:
        source.origin += 2**64
        with pytest.raises(SourceError, match="lies in the chosen range"):
            next(iter(source.pictures()))
