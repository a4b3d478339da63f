"""The pixel format of an encoder that loses least of the input's, and what it loses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import av

from .containers import ENCODERS, Container, Encoder, listed
from .source import SourceInfo

_RGB, _FULL, _HALF, _QUARTER = 0, 1, 2, 4
"""How much less chroma than RGB a format has: none, by rounding, half the samples, three quarters."""


@dataclass(frozen=True)
class Form:
    """A pixel format: bits a channel, and how much less chroma than RGB it has; ``own``: written by our formulae."""

    name: str
    bits: int
    less: int
    own: bool


def form(name: str) -> Form | None:
    """Of a format that holds a picture in colour and nothing else; None for others."""
    try:
        found = av.VideoFormat(name)
    except ValueError:
        return None
    parts = found.components
    if len(parts) < 3 or found.is_bit_stream or found.has_palette or "j4" in name or name == "cuda":
        return None
    bits = min(part.bits for part in parts[:3])
    if bits < 8 or (any(part.is_alpha for part in parts)):
        return None
    if found.is_rgb:
        return Form(name, bits, _RGB, found.is_planar or bits in (8, 16))
    across, down = (64 // found.chroma_width(64)), (64 // found.chroma_height(64))
    less = {(1, 1): _FULL, (2, 1): _HALF, (2, 2): _QUARTER}.get((across, down))
    if less is None:
        return None
    return Form(name, bits, less, found.is_planar and name.startswith("yuv"))


def less_chroma(chroma: tuple[int, int] | None) -> int:
    """How much less chroma than RGB an input has, whose subsampling is as of SourceInfo."""
    if chroma is None:
        return _RGB
    return {(1, 1): _FULL, (2, 1): _HALF, (1, 2): _FULL}.get(chroma, _QUARTER)


def nearest(codec: av.Codec, taken: Iterable[str] | None, depth: int, chroma: tuple[int, int] | None) -> str:
    """The encoder's format that loses least of depth, then of chroma, and adds least; of those ``taken`` by players."""
    there = [f.name for f in codec.video_formats or []]
    names = [name for name in (taken if taken is not None else there) if name in there] or there
    forms = [found for found in map(form, names) if found is not None]
    if not forms:
        return names[0] if names else "yuv420p"
    bits, less = max(8, depth), less_chroma(chroma)

    def cost(one: Form) -> tuple[int, int, bool, bool, int, int]:
        return (
            max(0, bits - one.bits),
            max(0, one.less - less),
            one.less == _RGB != less,
            not one.own,
            max(0, one.bits - bits),
            max(0, less - one.less),
        )

    return min(forms, key=cost).name


def losses(codec: str, name: str, info: SourceInfo, container: Container) -> list[str]:
    """What an encoder's format loses of the input, and what keeps it; a line each."""
    found, notes = form(name), []
    bits, less = (8, _QUARTER) if found is None else (found.bits, found.less)
    if info.bits > bits:
        keepers = _keepers(info, container, bits=bits)
        notes.append(f"the input has {info.bits} bits a channel, {codec} writes {bits}{keepers}")
    wanted = less_chroma(info.chroma)
    if less > max(wanted, _FULL):
        chroma = {_RGB: "RGB", _FULL: "4:4:4", _HALF: "4:2:2"}[wanted]
        written = {_HALF: "4:2:2", _QUARTER: "4:2:0"}.get(less, "less chroma")
        notes.append(f"the input is {chroma}, {codec} writes {written}{_keepers(info, container, less=less)}")
    return notes


def _keepers(info: SourceInfo, container: Container, bits: int | None = None, less: int | None = None) -> str:
    """ " (--codec a or b keeps more)"."""
    better = []
    for name in container.encoders:
        try:
            codec = av.Codec(name, "w")
        except (ValueError, av.error.FFmpegError):
            continue
        found = form(nearest(codec, ENCODERS.get(name, Encoder()).formats, info.bits, info.chroma))
        if found and ((bits is not None and found.bits > bits) or (less is not None and found.less < less)):
            better.append(name)
    return f" (--codec {listed(better)} keeps more)" if better else ""
