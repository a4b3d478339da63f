"""What GIF, animated PNG and animated WebP files say of the times of their frames, read from the files themselves.

Decoders round these times, or leave out how long the last frame is shown.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from . import png

_SHORTEST = Fraction(2, 100)
"""Delays of a GIF below are not meant: browsers show such frames for _USUAL."""
_USUAL = Fraction(1, 10)


@dataclass(frozen=True)
class Timing:
    """``durations`` of the frames in seconds; ``plays``: how often all are shown, 0 for endlessly.

    ``replaced``: how many durations stand in for one that is not meant; ``announced``: frames that the file says it
    has, None if it does not; ``whole``: it is not cut short.
    """

    durations: tuple[Fraction, ...]
    plays: int
    replaced: int = 0
    announced: int | None = None
    whole: bool = True


def is_animation(path: Path) -> bool:
    """Whether an image file holds several frames, shown one after another. False for a file that cannot be read."""
    try:
        with open(path, "rb") as file:
            if not file.read(12).startswith((png.MAGIC, b"GIF8", b"RIFF")):
                return _is_avif_sequence(path)
        found = timing(path.read_bytes())
    except (OSError, ValueError, struct.error, IndexError):
        return False
    return found is not None and max(len(found.durations), found.announced or 0) > 1


def _is_avif_sequence(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(12)[4:] == b"ftypavis"


def timing(data: bytes) -> Timing | None:
    """The times of a file; None for one of another format, or without animation. Any error: ValueError and its like."""
    if data.startswith(png.MAGIC):
        return _of_png(data)
    if data.startswith(b"GIF8"):
        return _of_gif(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _of_webp(data)
    return None


def _of_png(data: bytes) -> Timing | None:
    durations, announced, plays, replaced, last = [], None, 0, 0, b""
    for name, content in png.chunks(data):
        last = name
        if name == b"acTL" and len(content) == 8:
            announced, plays = struct.unpack(">II", content)
        elif name == b"fcTL" and len(content) == 26:
            over, under = struct.unpack_from(">HH", content, 20)
            durations.append(Fraction(over, under or 100) or _USUAL)
            replaced += over == 0
        elif name == b"IDAT" and announced is None:
            return None
    return Timing(tuple(durations), plays, replaced, announced, last == b"IEND")


def _of_webp(data: bytes) -> Timing | None:
    if data[12:16] != b"VP8X" or not data[20] & 2:
        return None
    durations, plays, replaced = [], 0, 0
    for name, content in riff(data):
        if name == b"ANIM":
            plays = int.from_bytes(content[4:6], "little")
        elif name == b"ANMF":
            shown = int.from_bytes(content[12:15], "little")
            durations.append(Fraction(shown, 1000) or _USUAL)
            replaced += shown == 0
    return Timing(tuple(durations), plays, replaced, whole=int.from_bytes(data[4:8], "little") + 8 <= len(data))


def riff(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (name, content) of a WebP file's chunks, as far as they are whole."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > len(data):
            return
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def whole_webp(data: bytes) -> bytes:
    """A WebP file that is cut short without its last part, as decoders refuse it all; other files as they are."""
    if not data.startswith(b"RIFF") or int.from_bytes(data[4:8], "little") + 8 <= len(data):
        return data
    size = 12 + sum(8 + len(content) + len(content) % 2 for _, content in riff(data))
    return data[:4] + (size - 8).to_bytes(4, "little") + data[8:size]


def _of_gif(data: bytes) -> Timing:
    durations: list[Fraction] = []
    plays, replaced, whole = 1, 0, False
    delay = Fraction(0)
    for kind, block in gif_blocks(data):
        if kind == b"\x21\xf9":
            delay = Fraction(int.from_bytes(block[2:4], "little"), 100)
        elif kind == b"\x21\xff" and block[1:12] in (b"NETSCAPE2.0", b"ANIMEXTS1.0") and block[13:14] == b"\1":
            repeats = int.from_bytes(block[14:16], "little")
            plays = repeats + 1 if repeats else 0
        elif kind == b"\x2c":
            short = delay < _SHORTEST
            durations.append(_USUAL if short else delay)
            replaced += short
            delay = Fraction(0)
        elif kind == b"\x3b":
            whole = True
    return Timing(tuple(durations), plays, replaced, whole=whole)


def gif_blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (kind, content) of a GIF's blocks, as far as they are whole: extensions by two bytes, images, the end.

    The content of an image is its descriptor, its own table of colours and its pixels.
    """
    at = 13 + _table(data[10]) if len(data) > 13 else len(data)
    while at < len(data):
        kind, begin = data[at : at + 1], at
        if kind == b"\x3b":
            yield kind, b""
            return
        if kind == b"\x21":
            kind, begin = data[at : at + 2], at + 2
            at += 2
        elif kind == b"\x2c" and at + 10 < len(data):
            begin = at + 1
            at += 10 + _table(data[at + 9]) + 1
        else:
            return
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
        if at > len(data):
            return
        yield kind, data[begin:at]


def gif_image(data: bytes) -> bytes:
    """The content of a GIF's first image, as gif_blocks gives it, with the file's colours where it has none."""
    (block,) = (content for kind, content in gif_blocks(data) if kind == b"\x2c")
    if block[8] & 0x80:
        return block
    table = data[13 : 13 + _table(data[10])]
    return block[:8] + bytes([block[8] | 0x80 | data[10] & 7]) + table + block[9:]


def _table(flags: int) -> int:
    """The bytes of a table of colours."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
