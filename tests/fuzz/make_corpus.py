"""Makes the corpus that `make fuzz` damages: small files of every kind that the video tool reads.

They are kept in the repository, as FFmpegs write different ones: `PYTHONPATH=tests python -m fuzz.make_corpus` writes
those that are not there. FILES lists them; a few come from FFmpeg's own program, as PyAV cannot write such.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from fuzz.media import CORPUS
from video.clips import panning, write

SIDE = (32, 24)
PLAIN = {"threads": "1"}
SRT = b"1\n00:00:00,100 --> 00:00:00,400\none\n\n2\n00:00:00,500 --> 00:00:00,900\ntwo\n"


def video(codec: str, pixel_format: str = "yuv420p", count: int = 6, **facts: Any) -> Callable[[Path], None]:
    """A clip by one of FFmpeg's encoders."""

    def make(path: Path) -> None:
        arguments = {"options": PLAIN, **facts}
        write(path, panning(count, *SIDE), codec=codec, pixel_format=pixel_format, **arguments)

    return make


def bare(codec: str, container: str) -> Callable[[Path], None]:
    """A stream without a container, or in a plain one that its suffix does not name."""

    def make(path: Path) -> None:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=container) as out:
            stream = out.add_stream(codec, rate=25)
            stream.width, stream.height = SIDE
            stream.pix_fmt = "yuv420p"
            for picture in panning(6, *SIDE):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            out.mux(stream.encode(None))
        path.write_bytes(buffer.getvalue())

    return make


def joined(path: Path) -> None:
    """A transport stream whose timestamps start again."""
    part = path.with_suffix(".part.ts")
    write(part, panning(5, *SIDE), codec="mpeg2video", options=PLAIN, rate=25, audio="mp2")
    path.write_bytes(2 * part.read_bytes())
    part.unlink()


def everything(path: Path) -> None:
    """Subtitles, chapters, a font, tags, two kinds of sound."""
    with av.open(io.BytesIO(SRT), "r", format="srt") as texts, av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"crf": "30"})
        stream.width, stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        sound = out.add_stream("flac", rate=8000)
        sound.layout = "mono"
        sound.metadata["language"] = "jpn"
        subtitles = out.add_stream_from_template(texts.streams.subtitles[0])
        subtitles.metadata["language"] = "eng"
        out.add_attachment("font.ttf", "application/x-truetype-font", b"\0\1\0\0" + bytes(60))
        out.metadata.update({"title": "all", "date": "2022"})
        out.set_chapters(
            [
                {"id": n + 1, "start": 300 * n, "end": 300 * n + 300, "time_base": Fraction(1, 1000), "metadata": {}}
                for n in range(2)
            ]
        )
        out.start_encoding()
        for packet in texts.demux(texts.streams.subtitles[0]):
            if packet.pts is not None:
                packet.stream = subtitles
                out.mux(packet)
        for n, picture in enumerate(panning(6, *SIDE)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = n
            out.mux(stream.encode(frame))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4800), "i2"), "s16", "mono")
        tone.sample_rate, tone.pts = 8000, 0
        out.mux(sound.encode(tone))
        out.mux(sound.encode(None))
        out.mux(stream.encode(None))


def fields(path: Path) -> None:
    """Interlaced."""
    options = {"flags": "+ilme+ildct", "top": "1"}
    write(path, panning(6, *SIDE), codec="mpeg2video", options=options, rate=25)


def pictures() -> list[Image.Image]:
    """Those of an animation."""
    return [Image.fromarray(picture) for picture in panning(4, *SIDE)]


def animation(**options: Any) -> Callable[[Path], None]:
    """By Pillow."""

    def make(path: Path) -> None:
        first, *rest = pictures()
        first.save(path, save_all=True, append_images=rest, duration=[100, 50, 100, 200], loop=0, **options)

    return make


def image(mode: str = "RGB", **options: Any) -> Callable[[Path], None]:
    """By Pillow."""

    def make(path: Path) -> None:
        Image.fromarray(panning(1, *SIDE)[0]).convert(mode).save(path, **options)

    return make


def deep(codec: str, pixel_format: str) -> Callable[[Path], None]:
    """An image of more than 8 bits, by FFmpeg."""

    def make(path: Path) -> None:
        context = av.CodecContext.create(codec, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height = SIDE
        context.pix_fmt, context.time_base = pixel_format, Fraction(1)
        frame = av.VideoFrame.from_ndarray(panning(1, *SIDE)[0], "rgb24").reformat(format=pixel_format)
        path.write_bytes(b"".join(map(bytes, [*context.encode(frame), *context.encode(None)])))

    return make


FILES: dict[str, Callable[[Path], None]] = {
    "h264.mp4": video("libx264", audio="aac"),
    "h264.mov": video("libx264", stamps=[0, 40, 300, 310, 700, 1000]),
    "turned.mp4": video("libx264", rotation=90, aspect=Fraction(4, 3)),
    "hevc.mp4": video("libx265", "yuv420p10le", options={"x265-params": "log-level=none"}),
    "everything.mkv": everything,
    "ffv1-rgb.mkv": video("ffv1", "bgr0"),
    "ffv1-gray.mkv": video("ffv1", "gray"),
    "mjpeg.mkv": video("mjpeg", "yuvj420p"),
    "vp9.webm": video("libvpx-vp9", audio="libopus"),
    "vp8.webm": video("libvpx"),
    "av1.mkv": video("libsvtav1", options={"preset": "12"}),
    "mpeg4.avi": video("mpeg4", audio="libmp3lame"),
    "b-frames.avi": video("mpeg4", options={"bf": "2"}),
    "raw.avi": video("rawvideo", "bgr24", count=2),
    "huffyuv.avi": video("huffyuv", "yuv422p"),
    "wmv2.wmv": video("wmv2"),
    "flv.flv": video("flv"),
    "mpeg1.mpg": video("mpeg1video", rate=25, audio="mp2"),
    "joined.ts": joined,
    "h264.ts": video("libx264", rate=25, audio="aac"),
    "interlaced.ts": fields,
    "mpeg2.mxf": video("mpeg2video", rate=25),
    "prores.mov": video("prores_ks", "yuv422p10le", count=2),
    "png.mov": video("png", "rgb24", count=3),
    "ffv1.nut": video("ffv1", "yuv422p"),
    "h263.3gp": lambda path: write(path, panning(4, 128, 96), codec="h263", options=PLAIN, rate=25),
    "bare.h264": bare("libx264", "h264"),
    "bare.hevc": bare("libx265", "hevc"),
    "bare.m2v": bare("mpeg2video", "mpeg2video"),
    "bare.ivf": bare("libvpx", "ivf"),
    "bare.y4m": bare("wrapped_avframe", "yuv4mpegpipe"),
    "animated.gif": animation(),
    "animated.png": animation(),
    "animated.webp": animation(lossless=True),
    "palette.png": image("P"),
    "alpha.png": image("RGBA"),
    "deep.png": deep("png", "rgb48be"),
    "deep.tif": deep("tiff", "rgb48le"),
    "half.exr": deep("exr", "gbrpf32le"),
    "photo.jpg": image(quality=80),
    "photo.webp": image(quality=80),
    "old.bmp": image(),
    "old.tga": image(),
    "old.ppm": image(),
}


def main() -> None:
    """Writes those that are not there."""
    CORPUS.mkdir(exist_ok=True)
    for name, make in FILES.items():
        path = CORPUS / name
        if not path.exists():
            make(path)
            print(f"{path.stat().st_size:8d} {name}")


if __name__ == "__main__":
    main()
