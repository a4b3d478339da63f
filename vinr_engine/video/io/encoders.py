"""Which encoder, with which options and pixel format, in which container."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from vinr_engine.errors import UsageError
from vinr_engine.info import cpu_flags

from . import formats, planes, properties
from .containers import CONTAINERS, ENCODERS, MAX_CRF, Container, Encoder
from .said import listening
from .source import SourceInfo
from .tracks import like


@dataclass(frozen=True)
class Encoding:
    """An encoder that exists and fits its container.

    ``notes``, ``kept`` and ``left_out`` see Accepts. ``place``: where samples of subsampled chroma lie, see Colour.
    """

    codec: str
    container: Container
    pixel_format: str
    options: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    place: str = "left"

    @property
    def global_header(self) -> bool:
        """Whether the container holds what decoders must know beforehand, which packets then leave out."""
        flag: Any = av.format.Flags.global_header.value
        return bool(av.ContainerFormat(self.container.muxer, "w").flags & flag)

    @property
    def subsampled(self) -> bool:
        """Whether the pixel format stores less chroma than luma, so that sides must be even."""
        form = planes.layout(self.pixel_format)
        return form is not None and form.ratio != (1, 1)


def is_encoder(name: str) -> bool:
    """Whether this FFmpeg codes by that name."""
    try:
        av.Codec(name, "w")
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _codec(name: str) -> av.Codec | None:
    try:
        codec = av.Codec(name, "w")
    except (av.error.FFmpegError, ValueError):
        return None
    return codec if codec.type == "video" and codec.is_encoder else None


def choose(dst: str, codec: str | None, crf: float | None, info: SourceInfo) -> Encoding:
    """The encoder for DST; UsageError names alternatives when ``codec`` is unknown or does not fit."""
    suffix = Path(dst).suffix.lower()
    container = CONTAINERS[suffix]
    name, notes = (codec, []) if codec else _default(container, info)
    found = _codec(name)
    choices = ", ".join(other for other in container.encoders if _codec(other) is not None)
    if found is None:
        raise UsageError(f"--codec {name}: no such video encoder here; for {suffix} try {choices}")
    if not _fits(name, container):
        raise UsageError(f"--codec {name} does not go into {suffix}; try {choices}")
    encoder = ENCODERS.get(name, Encoder())
    if crf is not None and encoder.crf is None:
        raise UsageError(f"--crf does not exist for the encoder {name}")
    if crf is not None and not 0 <= crf <= MAX_CRF:
        raise UsageError(f"--crf must be from 0 (best) to {MAX_CRF}, got {crf:g}")
    options = dict(encoder.options)
    if name.startswith("libx264") and "avx2" in cpu_flags():
        # Its code for AVX-512 decides by chance in small frames and after scene cuts (build 165): a run that is taken
        # up would write other packets than one that went through.
        options["x264-params"] = "asm=avx2"
    value = encoder.crf if crf is None else crf
    if value is not None:
        options["crf"] = f"{value:g}"
    form = formats.nearest(found, encoder.formats, info.bits, info.chroma)
    about = properties.carried(name, container, form, info)
    for key, text in about.options.items():
        options[key] = f"{options[key]}:{text}" if key in options else text
    notes = [*notes, *formats.losses(name, form, info, container)]
    return Encoding(name, container, form, options, tuple(notes), about.kept, about.left_out, about.place)


def _default(container: Container, info: SourceInfo) -> tuple[str, list[str]]:
    """The container's first encoder; for more than 8 bits a channel the first that players take with them."""
    usual = container.encoders[0]
    if info.bits <= 8 or info.chroma is None:
        return usual, []
    for name in container.deep:
        if _codec(name) is not None:
            note = f"the input has {info.bits} bits a channel: {name} in place of {usual}, of which players take 8"
            return name, [note] if name != usual else []
    return usual, []


def add_stream(
    out: av.container.OutputContainer, codec: str, container: Container, rate: Fraction,
    options: dict[str, str] | None, configure: Callable[[av.VideoCodecContext], object],
) -> tuple[av.VideoStream, av.VideoCodecContext]:  # fmt: skip
    """A stream for an encoder's packets in an output whose header is not written, and the encoder, by ``configure``.

    ValueError or FFmpegError where it does not go in there, and what ``configure`` raises.
    """
    stream: Any
    try:
        stream = out.add_stream(codec, rate=rate, options=options)
    except ValueError:  # also for what Matroska holds by the codes of AVI
        with av.open(io.BytesIO(), "w", format="nut") as other:
            inner: Any = other.add_stream(codec, rate=rate, options=options)
            configure(inner.codec_context)
            other.start_encoding()
            return like(inner, out, container, tagged=True), inner.codec_context
    configure(stream.codec_context)
    return stream, stream.codec_context


def _fits(codec: str, container: Container) -> bool:
    """Whether there is a way for its packets into the container."""
    out = av.open(io.BytesIO(), "w", format=container.muxer)
    with suppress(ValueError):
        out.add_stream(codec, rate=25)
        return True
    form = formats.nearest(av.Codec(codec, "w"), None, 8, None)

    def configure(context: av.VideoCodecContext) -> None:
        context.width, context.height, context.pix_fmt, context.time_base = 128, 96, form, Fraction(1, 25)

    with listening():
        try:
            add_stream(out, codec, container, Fraction(25), {}, configure)
            out.start_encoding()
        except (ValueError, av.error.FFmpegError):
            return False
        finally:
            with suppress(ValueError, av.error.FFmpegError):
                out.close()
    return True
