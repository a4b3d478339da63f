"""Pictures out: a video file or a folder of PNG frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vinr_engine.errors import SinkError, reason
from vinr_engine.memory import encoder_options

from . import planes
from .audio import AudioCopy
from .colour import Array, for_encoding
from .containers import FRAME_NAME, suffixes
from .encoders import Encoding
from .source import SourceInfo


class VideoSink:
    """A video file: encoder, pixel format and tags are settled, and the header written, before the first frame."""

    def __init__(
        self, path: Path, dst: str, encoding: Encoding, size: tuple[int, int], info: SourceInfo,
        rate: Fraction, tick: Fraction, audio: AudioCopy | None,
    ) -> None:  # fmt: skip
        """``size`` is (width, height), ``rate`` the nominal output rate, ``tick`` its timestamps' unit in seconds."""
        self.dst = dst
        self.encoding = encoding
        self.colour = for_encoding(info.colour)
        self.audio = audio
        self.tick = tick
        self._frame: av.VideoFrame | None = None
        self._pts = -1
        container = encoding.container
        try:
            self.out = av.open(str(path), "w", format=container.muxer, container_options=dict(container.options))
        except (OSError, av.error.FFmpegError) as error:
            raise SinkError(f"cannot write {dst}: {reason(error)}") from None
        try:
            self._configure(size, info, rate)
        except BaseException:
            self.close()
            raise

    def _configure(self, size: tuple[int, int], info: SourceInfo, rate: Fraction) -> None:
        name = self.encoding.codec
        options = {**self.encoding.options, **encoder_options(name, (size[1], size[0]))}
        stream = self.out.add_stream(name, rate=rate.limit_denominator(1_000_000), options=options)
        assert isinstance(stream, av.VideoStream)
        self.stream = stream
        context = stream.codec_context
        context.width, context.height = size
        context.pix_fmt = self.encoding.pixel_format
        context.time_base = self.tick
        context.thread_type = "AUTO"
        if info.aspect is not None:
            context.sample_aspect_ratio = info.aspect
        form = planes.layout(self.encoding.pixel_format)
        if form is not None and form.kind == "yuv":
            context.colorspace, context.color_range = self.colour.matrix, self.colour.range
        context.color_primaries, context.color_trc = self.colour.primaries, self.colour.transfer
        try:
            context.open()
        except (av.error.FFmpegError, ValueError, OverflowError) as error:
            raise SinkError(f"{name} does not take {size[0]}x{size[1]} {context.pix_fmt}: {reason(error)}") from None
        if self.audio is not None:
            self.audio.attach(self.out, self.dst)
        try:
            self.out.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            sound = self.audio is not None and self.audio.streams
            hint = f"; --no-audio or a {suffixes(any_audio=True)} output may help" if sound else ""
            raise SinkError(f"cannot write {self.dst}: {reason(error)}{hint}") from None

    def write(self, rgb: Array | None, time: Fraction, duration: Fraction) -> None:
        """See Sink.write."""
        if rgb is not None:
            self._frame = planes.from_rgb(rgb, self.encoding.pixel_format, self.colour)
        frame = self._frame
        assert frame is not None
        # rounding is only met where no unit of time fits a 32-bit time base
        self._pts = max(self._pts + 1, round(time / self.tick))
        frame.pts, frame.time_base = self._pts, self.tick
        frame.duration = max(1, round(duration / self.tick))
        frame.colorspace, frame.color_range = self.colour.matrix, self.colour.range
        frame.color_primaries, frame.color_trc = self.colour.primaries, self.colour.transfer
        try:
            if self.audio is not None:
                self.audio.pump(self.out, time)
            self.out.mux(self.stream.encode(frame))
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise SinkError(f"cannot write {self.dst}: {reason(error)}") from None

    def finish(self) -> None:
        """See Sink.finish."""
        try:
            if self.audio is not None:
                self.audio.pump(self.out, None)
            self.out.mux(self.stream.encode(None))
            self.out.close()
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise SinkError(f"cannot write {self.dst}: {reason(error)}") from None

    def close(self) -> None:
        """See Sink.close."""
        try:
            self.out.close()
        except (OSError, ValueError, av.error.FFmpegError):
            # only a draft is lost: the error that led here is being reported
            return


class FolderSink:
    """PNG frames frame_000000.png, ...: 16 bits a channel where the input has more than 8, else 8."""

    def __init__(self, path: Path, dst: str, size: tuple[int, int], info: SourceInfo) -> None:
        self.path, self.dst = path, dst
        self.number = 0
        self.size = size
        self.deep = info.bits > 8
        self._last: bytes | None = None

    def write(self, rgb: Array | None, time: Fraction, duration: Fraction) -> None:
        """See Sink.write; the times are not stored."""
        if rgb is not None:
            self._last = self._encode(rgb)
        assert self._last is not None
        try:
            with open(self.path / FRAME_NAME.format(self.number), "xb") as file:
                file.write(self._last)
        except OSError as error:
            raise SinkError(f"cannot write {self.dst}: {reason(error)}") from None
        self.number += 1

    def _encode(self, rgb: Array) -> bytes:
        context = av.CodecContext.create("png", "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height = self.size
        context.pix_fmt = "rgb48be" if self.deep else "rgb24"
        context.time_base = Fraction(1, 25)
        peak, dtype = (65535, np.uint16) if self.deep else (255, np.uint8)
        pixels = np.rint(np.clip(rgb, 0, 1) * np.float32(peak)).astype(dtype)
        frame = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(pixels.transpose(1, 2, 0)), "rgb48be" if self.deep else "rgb24"
        )
        frame.pts = 0
        return b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)])

    def finish(self) -> None:
        """See Sink.finish."""

    def close(self) -> None:
        """See Sink.close."""
