"""Which encoder, with which options and pixel format, in which container."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from vinr_engine.errors import UsageError
from vinr_engine.info import cpu_flags

from . import planes
from .containers import CONTAINERS, ENCODERS, MAX_CRF, Container, Encoder, listed
from .source import SourceInfo


@dataclass(frozen=True)
class Encoding:
    """An encoder that exists and fits its container."""

    codec: str
    container: Container
    pixel_format: str
    options: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

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
    name = codec or container.encoders[0]
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
    if name == "libx264" and "avx2" in cpu_flags():
        # Its code for AVX-512 decides by chance in small frames and after scene cuts (build 165): a run that is taken
        # up would write other packets than one that went through.
        options["x264-params"] = "asm=avx2"
    value = encoder.crf if crf is None else crf
    if value is not None:
        options["crf"] = f"{value:g}"
    pixel_format = _pixel_format(found, info)
    form = planes.layout(pixel_format)
    bits = form.bits if form else 8
    notes = []
    if info.bits > bits:
        deep = [other for other in container.encoders if other in ENCODERS and ENCODERS[other].deep]
        hint = f" (--codec {listed(deep)} keeps 10)" if bits == 8 and deep else ""
        notes.append(f"the input has {info.bits} bits a channel, {name} writes {bits}{hint}")
    return Encoding(name, container, pixel_format, options, tuple(notes))


def _fits(codec: str, container: Container) -> bool:
    import io

    with av.open(io.BytesIO(), "w", format=container.muxer) as out:
        try:
            out.add_stream(codec, rate=25)
        except (ValueError, av.error.FFmpegError):
            return False
    return True


def _pixel_format(codec: av.Codec, info: SourceInfo) -> str:
    """The encoder's format nearest to the input's depth and chroma; 4:2:0 for RGB input, which every player shows."""
    names = [f.name for f in codec.video_formats or []]
    forms = [
        f
        for f in map(planes.layout, names)
        if (f and f.kind == "yuv" and max(f.ratio) == 2) or (f and f.ratio == (1, 1))
    ]
    forms = [
        f for f in forms if f and f.kind == "yuv" and "a" not in f.name and "j" not in f.name and f.ratio != (1, 2)
    ]
    if not forms:
        return names[0] if names else "yuv420p"
    wanted = info.chroma if info.chroma in ((2, 2), (2, 1), (1, 1)) else (2, 2)
    depth = 8 if info.bits <= 8 or info.chroma is None else info.bits

    def cost(form: planes.Layout) -> tuple[bool, int, bool, int]:
        # first enough depth with as little excess as can be, then the input's chroma, then 4:2:0
        return form.bits < depth, abs(form.bits - depth), form.ratio != wanted, -form.ratio[0] * form.ratio[1]

    return min(forms, key=cost).name
