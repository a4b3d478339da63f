"""Coded pictures into files of animations (GIF, animated WebP, animated PNG), one at a time; and into one image."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

from vinr_engine.errors import SinkError

from . import png
from .animation_files import riff
from .image_formats import Animation
from .packets import Packet, PacketFile
from .target import Target


def write_one(chunks: Sequence[PacketFile], path: Path, dst: str) -> None:
    """The only picture there is. SinkError, OSError."""
    coded = [packet.data for chunk in chunks for packet in chunk]
    if len(coded) != 1:
        raise SinkError(f"cannot write {dst}: it is one image, and there are {len(coded)}")
    path.write_bytes(coded[0])


def write(animation: Animation, chunks: Sequence[PacketFile], path: Path, target: Target, plays: int) -> None:
    """An animation of chunks, shown ``plays`` times, 0 for endlessly. SinkError, OSError."""
    with open(path, "w+b") as file:
        _WRITERS[animation.name](file, _Pictures(animation, chunks, target), target, plays)


@dataclass
class _Pictures:
    """The coded pictures, each with how long it is shown, in seconds; read anew whenever they are asked for."""

    animation: Animation
    chunks: Sequence[PacketFile]
    target: Target

    def __iter__(self) -> Iterator[tuple[bytes, Fraction]]:
        """Times are rounded as a whole, so that they do not drift."""
        shown = Fraction(0)
        for packet, end in self._ends():
            length = self._length(end - shown)
            shown += length
            yield packet.data, length

    def _length(self, exact: Fraction) -> Fraction:
        unit = self.animation.unit
        if unit is None:
            return _of_16_bits(exact)
        least = 1 if self.animation.fastest is None else round(1 / (self.animation.fastest * unit))
        return min(max(round(exact / unit), least), self.animation.longest) * unit

    def _ends(self) -> Iterator[tuple[Packet, Fraction]]:
        """Each with the time of its end, from the first one's beginning."""
        tick = self.target.tick
        first: int | None = None
        before: Packet | None = None
        for packet in (packet for chunk in self.chunks for packet in chunk):
            if before is None:
                first = packet.pts
            else:
                yield before, (packet.pts - (first or 0)) * tick
            before = packet
        if before is not None:
            yield before, (before.pts + before.duration - (first or 0)) * tick

    def count(self) -> int:
        """How many there are."""
        return sum(1 for chunk in self.chunks for _ in chunk.order())


def _of_16_bits(length: Fraction) -> Fraction:
    """The nearest fraction whose parts have 16 bits."""
    most = 65535
    if length >= most:
        return Fraction(most)
    near = length.limit_denominator(most)
    if near.numerator > most:
        near = length.limit_denominator(max(1, int(most / length)))
    return max(near, Fraction(1, most))


def _gif(file: IO[bytes], pictures: _Pictures, target: Target, plays: int) -> None:
    """Each picture comes as its descriptor, table of colours and pixels."""
    file.write(struct.pack("<6sHHBBB", b"GIF89a", *target.size, 0x70, 0, 0))
    if plays != 1:
        file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", min(max(plays - 1, 0), 65535), 0))
    for data, length in pictures:
        file.write(struct.pack("<3sBHBB", b"\x21\xf9\x04", 0x04, int(length * 100), 0, 0) + b"\x2c" + data)
    file.write(b"\x3b")


def _webp(file: IO[bytes], pictures: _Pictures, target: Target, plays: int) -> None:
    """Each picture comes as a WebP file of its own."""
    width, height = target.size
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    profile = target.info.profile
    file.write(b"RIFF\0\0\0\0WEBP" + _chunk(b"VP8X", bytes([0x22 if profile else 0x02, 0, 0, 0]) + sides))
    if profile:
        file.write(_chunk(b"ICCP", profile))
    file.write(_chunk(b"ANIM", bytes(4) + struct.pack("<H", min(plays, 65535))))
    for data, length in pictures:
        coded = b"".join(_chunk(name, content) for name, content in riff(data) if name in (b"VP8 ", b"VP8L"))
        shown = int(length * 1000).to_bytes(3, "little")
        file.write(_chunk(b"ANMF", bytes(6) + sides + shown + b"\x02" + coded))
    size = file.tell() - 8
    if size >= 1 << 32:
        raise SinkError("an animated WebP has at most 4 GiB: choose .apng, or fewer or smaller pictures")
    file.seek(4)
    file.write(struct.pack("<I", size))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _apng(file: IO[bytes], pictures: _Pictures, target: Target, plays: int) -> None:
    """Each picture comes as a PNG file of its own, all with the same chunks before the pixels."""
    width, height = target.size
    number = 0
    for n, (data, length) in enumerate(pictures):
        if n == 0:
            head = png.ahead(data)
            file.write(png.MAGIC + png.chunk(b"IHDR", head.pop(b"IHDR")))
            file.write(png.chunk(b"acTL", struct.pack(">II", pictures.count(), plays)))
            for name, content in head.items():
                file.write(png.chunk(name, content))
        control = (number, width, height, 0, 0, length.numerator, length.denominator, 0, 0)
        file.write(png.chunk(b"fcTL", struct.pack(">5I2H2B", *control)))
        number += 1
        for name, content in png.chunks(data):
            if name == b"IDAT" and n == 0:
                file.write(png.chunk(name, content))
            elif name == b"IDAT":
                file.write(png.chunk(b"fdAT", struct.pack(">I", number) + content))
                number += 1
    file.write(png.chunk(b"IEND", b""))


_WRITERS: dict[str, Callable[[IO[bytes], _Pictures, Target, int], None]] = {
    "GIF": _gif, "WebP": _webp, "animated PNG": _apng,
}  # fmt: skip
"""By the names of `image_formats.ANIMATIONS`."""
