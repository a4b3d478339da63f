"""Pictures to coded packets of video; image_coders has those of images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any, Protocol

import av

from vinr_engine.errors import SinkError, reason
from vinr_engine.memory import encoder_options

from . import planes
from .colour import RGB, Array, Colour, for_encoding
from .containers import ENCODERS, Encoder
from .encoders import Encoding
from .packets import Packet
from .said import listening
from .target import Target


class Coder(Protocol):
    """Codes the pictures of one chunk; every method raises SinkError where that fails.

    ``held`` is the last picture as it is coded: the next chunk's coder takes it, in case that begins by repeating it.
    ``last`` is its pts.
    """

    held: Any
    last: int
    facts: dict[str, Any]
    """What must be the same for packets to be joined; JSON-able."""

    def code(self, rgb: Array | None, time: Fraction, duration: Fraction) -> list[Packet]:
        """Add a picture, RGB [3, H, W] in [0, 1], shown at ``time`` for ``duration`` seconds; None repeats the last.

        Returns the packets that have become ready, of this or earlier ones.
        """
        ...

    def finish(self) -> list[Packet]:
        """The rest of the packets; the coder is not in use after that."""
        ...


def options(encoding: Encoding, target: Target) -> dict[str, str]:
    """Of the encoder, for pictures of that size."""
    width, height = target.size
    found = {**encoding.options, **encoder_options(encoding.codec, (height, width))}
    if encoding.codec == "libx265" and min(width, height) < 64:
        # It writes beyond its memory there (4.1), while it follows blocks from picture to picture.
        found["x265-params"] += ":no-cutree=1"
    return found


def configure(context: av.VideoCodecContext, encoding: Encoding, target: Target, dst: str) -> Colour:
    """Set up and open an encoder; the colour in which it takes pictures. SinkError."""
    colour = colour_of(encoding, target.info.colour)
    context.width, context.height = target.size
    context.pix_fmt = encoding.pixel_format
    # Packets are counted in the target's ticks whatever this is: pictures give their times in this unit unchanged.
    units = ENCODERS.get(encoding.codec, Encoder()).units
    context.time_base = target.tick if units is None else max(Fraction(1, units), target.tick.limit_denominator(units))
    # The packets depend on the number of threads; what it is by itself depends on the machine.
    context.thread_type, context.thread_count = "AUTO", target.threads
    if encoding.container.constant:
        context.max_b_frames = 0  # decoding times are all that it has
    if encoding.codec in encoding.container.marks:
        context.codec_tag = encoding.container.marks[encoding.codec]
    if target.info.aspect is not None:
        context.sample_aspect_ratio = target.info.aspect
    context.colorspace, context.color_range = colour.matrix, colour.range
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    try:
        with listening() as said:
            context.open()
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise SinkError(f"cannot write {dst}: {refusal(encoding, target, said, error)}") from None
    return colour


def colour_of(encoding: Encoding, source: Colour) -> Colour:
    """The colour in which an encoder takes pictures."""
    if av.VideoFormat(encoding.pixel_format).is_rgb:
        return replace(source, matrix=RGB, full=True)
    return replace(for_encoding(source), place=encoding.place)


def refusal(encoding: Encoding, target: Target, said: list[str], error: BaseException) -> str:
    """Why an encoder does not open, on one line."""
    width, height = target.size
    largest = ENCODERS.get(encoding.codec, Encoder()).largest
    why = said[0].rstrip(".") if said else reason(error)
    if largest is not None and (width > largest[0] or height > largest[1]):
        why = f"at most {largest[0]}x{largest[1]}"
    return f"{encoding.codec} does not take {width}x{height} {encoding.pixel_format}: {why}"


class VideoCoder:
    """By one of FFmpeg's encoders, from a key frame on."""

    def __init__(self, encoding: Encoding, target: Target, dst: str, held: Any = None, last: int = -1) -> None:
        self.encoding, self.dst, self.target, self.tick = encoding, dst, target, target.tick
        self.held: av.VideoFrame | None = held
        self.last = last
        context = av.CodecContext.create(encoding.codec, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.framerate = target.nominal_rate
        context.options = options(encoding, target)
        if encoding.global_header:
            context.flags |= av.codec.context.Flags.global_header
        self.context = context
        self.colour = configure(context, encoding, target, dst)
        self.facts = {"codec": encoding.codec, "extradata": bytes(context.extradata or b"").hex()}

    def code(self, rgb: Array | None, time: Fraction, duration: Fraction) -> list[Packet]:
        """See Coder."""
        if rgb is not None:
            self.held = planes.from_rgb(rgb, self.encoding.pixel_format, self.colour)
        frame = self.held
        assert frame is not None
        self.last = self.target.pts(self.last, time)
        frame.pts, frame.time_base = self.last, self.context.time_base
        frame.duration = max(1, round(duration / self.tick))
        frame.colorspace, frame.color_range = self.colour.matrix, self.colour.range
        frame.color_primaries, frame.color_trc = self.colour.primaries, self.colour.transfer
        return self._packets(frame)

    def finish(self) -> list[Packet]:
        """See Coder."""
        return self._packets(None)

    def _packets(self, frame: av.VideoFrame | None) -> list[Packet]:
        try:
            coded: Iterable[av.Packet] = self.context.encode(frame)
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise SinkError(f"cannot write {self.dst}: {reason(error)}") from None
        return [Packet(int(p.pts or 0), p.dts, int(p.duration or 0), p.is_keyframe, bytes(p)) for p in coded]
