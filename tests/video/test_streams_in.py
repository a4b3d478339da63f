"""Of several video streams the film is enlarged, not a cover or a preview."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from av.stream import Disposition

from video.clips import Blend, av, panning, read, write
from video.test_timestamps import brighter, found
from vinr_engine.errors import SourceError
from vinr_engine.video.io.video_source import VideoSource
from vinr_engine.video.render import upscale


def film(path, *tracks):
    """A file of video streams: each (frames, width, height, disposition, codec)."""
    with av.open(str(path), "w") as out:
        streams = []
        for count, width, height, disposition, codec in tracks:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            streams.append((stream, panning(count, width, height)))
        for n in range(max(count for count, *_ in tracks)):
            for stream, pictures in streams:
                if n < len(pictures):
                    frame = av.VideoFrame.from_ndarray(pictures[n], "rgb24")
                    frame.pts = n
                    out.mux(stream.encode(frame))
        for stream, _ in streams:
            out.mux(stream.encode(None))
    return path


NONE, DEFAULT = Disposition(0), Disposition.default
COVER = (1, 64, 48, NONE, "mjpeg")


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov"])
@pytest.mark.parametrize(
    ("tracks", "chosen"),
    [([COVER, (10, 32, 24, DEFAULT, "libx264")], 1), ([COVER, (10, 32, 24, NONE, "libx264")], 1),
     ([(1, 64, 48, DEFAULT, "mjpeg"), (10, 32, 24, DEFAULT, "libx264")], 1),
     ([(1, 64, 48, DEFAULT, "mjpeg"), (10, 32, 24, NONE, "libx264")], 1),
     ([(10, 32, 24, DEFAULT, "libx264"), COVER], 0),
     ([(10, 64, 48, NONE, "libx264"), (10, 32, 24, DEFAULT, "libx264")], 1),
     ([(10, 32, 24, DEFAULT, "libx264"), (10, 64, 48, DEFAULT, "libx264")], 1),
     ([(10, 32, 24, NONE, "libx264"), (10, 32, 24, NONE, "libx264")], 0)],
)  # fmt: skip
def test_the_film_is_chosen(tmp_path, tracks, chosen, suffix):
    path = film(tmp_path / f"in.{suffix}", *tracks)
    with VideoSource(path) as source:
        assert source.index == chosen
        assert (source.info.width, source.info.height) == tracks[chosen][1:3]
        assert len(list(source.pictures())) == 10


def test_the_larger_one_where_nothing_says(tmp_path):
    path = film(tmp_path / "in.mkv", (10, 32, 24, NONE, "libx264"), (10, 64, 48, NONE, "libx264"))
    with VideoSource(path) as source:
        assert source.index == 1


def test_nothing_of_it_is_lost(tmp_path):
    path = film(tmp_path / "in.mkv", COVER, (10, 32, 24, DEFAULT, "libx264"))
    done = upscale(path, tmp_path / "o.mkv", space=1, time=1, model=Blend())
    assert (done.size, done.frames_in) == ((32, 24), 10)
    assert len(read(tmp_path / "o.mkv")) == 10


def test_a_still_is_the_film_where_there_is_no_other(tmp_path):
    path = film(tmp_path / "in.mkv", COVER)
    with VideoSource(path) as source:
        assert [picture.time for picture in source.pictures()] == [0]


def test_a_cover_alone_is_no_video(tmp_path):
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=48000)
        sound.layout = "mono"
        cover = out.add_stream("mjpeg", rate=10)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(panning(1, 64, 48)[0], "rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "f4"), "fltp", "mono")
        frame.sample_rate = 48000
        out.mux(sound.encode(frame))
        for stream in (cover, sound):
            out.mux(stream.encode(None))
    with pytest.raises(SourceError, match="holds no video"):
        VideoSource(path)


def test_one_stream_is_opened_as_it_is(tmp_path):
    with VideoSource(write(tmp_path / "in.mp4", panning(3), audio="aac")) as source:
        assert source.index == 0
        assert source.stream.type == "video"


def capture(path, pictures, pid, codec="libx264"):
    """A transport stream with its film under a number of its own."""
    with av.open(str(path), "w", options={"mpegts_start_pid": str(pid)}) as out:
        stream = out.add_stream(codec, rate=25, options={"crf": "1"} if codec == "libx264" else {"qscale": "1"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize(("codec", "size"), [("libx264", (48, 32)), ("mpeg2video", (48, 32)), ("libx264", (96, 64))])
def test_a_film_goes_on_in_another_stream(tmp_path, codec, size):
    """As where captures of two channels are put one behind the other."""
    pictures = brighter(150)
    data = capture(tmp_path / "a.ts", pictures[:75], 256)
    data += capture(tmp_path / "b.ts", brighter(150, *size)[75:], 300, codec)
    (tmp_path / "in.ts").write_bytes(data)
    times, means, faults, notes = found(tmp_path / "in.ts")
    # The end of the first one is known to be complete only at the end of the file: it is counted if it comes too late.
    assert 148 <= len(times) == 150 - faults.dropped
    assert means == sorted(means)
    assert all(0 < b - a < Fraction(1, 5) for a, b in pairwise(times))
    assert any("another one goes on" in note for note in notes)
    assert any("changes size" in note for note in notes) == (size != (48, 32))


def test_two_films_at_once_are_not_mixed(tmp_path):
    path = film(tmp_path / "in.ts", (40, 64, 48, NONE, "libx264"), (50, 32, 24, NONE, "libx264"))
    with VideoSource(path) as source:
        assert source.index == 0
        pictures = list(source.pictures())
    assert len(pictures) == 40
    assert all(picture.notes == () for picture in pictures)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_film_that_stands_still_is_not_taken_over(tmp_path, suffix):
    """As a recording of a screen, beside one of a camera."""
    with av.open(str(tmp_path / f"in.{suffix}"), "w") as out:
        streams = [out.add_stream("libx264", rate=10, options={"bf": "0"}) for _ in range(2)]
        for stream, (width, height) in zip(streams, [(64, 48), (32, 24)], strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(60):
            for stream, every in zip(streams, (25, 1), strict=True):
                if n % every == 0:
                    frame = av.VideoFrame.from_ndarray(panning(60, stream.width, stream.height)[n], "rgb24")
                    frame.pts, frame.time_base = n, Fraction(1, 10)
                    out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))
    with VideoSource(tmp_path / f"in.{suffix}") as source:
        pictures = list(source.pictures())
    assert [picture.time for picture in pictures] == [0, Fraction(5, 2), 5]
    assert all(picture.notes == () for picture in pictures)
