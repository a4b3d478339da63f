"""Of several video streams the film is enlarged, not a cover or a preview."""

import numpy as np
import pytest
from av.stream import Disposition

from video.clips import Blend, av, panning, read, write
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
