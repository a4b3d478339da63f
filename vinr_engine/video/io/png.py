"""The parts of a PNG file that neither Pillow nor FFmpeg gives or takes: its depth, and chunks about colour."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

from .colour import BT709, SRGB_TRANSFER, UNSPECIFIED

MAGIC = b"\x89PNG\r\n\x1a\n"
_PRIMARIES = {
    1: (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
    4: (0.31, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (0.3127, 0.329, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: (0.3127, 0.329, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
"""White, red, green and blue by H.273's number."""
_GAMMAS = {45455: SRGB_TRANSFER, 100000: 8, 35714: 5}
"""H.273's number of the transfer by what gAMA says."""


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (name, content) of a PNG file's chunks, as far as they are whole."""
    at = len(MAGIC)
    while at + 12 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if at + 12 + size > len(data):
            return
        yield name, data[at + 8 : at + 8 + size]
        at += 12 + size


def chunk(name: bytes, content: bytes) -> bytes:
    """One chunk, as a file has it."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def ahead(data: bytes) -> dict[bytes, bytes]:
    """The chunks before the picture, the first of each name."""
    found: dict[bytes, bytes] = {}
    for name, content in chunks(data):
        if name == b"IDAT":
            break
        found.setdefault(name, content)
    return found


def with_chunks(data: bytes, extra: bytes) -> bytes:
    """The file with ``extra`` chunks right after its header."""
    end = len(MAGIC) + 25
    return data[:end] + extra + data[end:]


def colour(found: dict[bytes, bytes]) -> tuple[int, int, bool]:
    """H.273's primaries and transfer by a file's chunks, and whether they say all that the chunks do.

    sRGB's where there are none. A profile (iCCP) goes before gAMA and cHRM, which only stand in for it.
    """
    if len(cicp := found.get(b"cICP", b"")) == 4:
        return cicp[0], cicp[1], cicp[2] == 0
    if b"iCCP" in found or b"sRGB" in found:
        return BT709, SRGB_TRANSFER, True
    primaries, transfer = BT709, SRGB_TRANSFER
    if len(gamma := found.get(b"gAMA", b"")) == 4:
        value = int.from_bytes(gamma, "big")
        transfer = next((number for near, number in _GAMMAS.items() if abs(value - near) <= 200), UNSPECIFIED)
    if len(chromaticities := found.get(b"cHRM", b"")) == 32:
        values = [value / 100000 for value in struct.unpack(">8I", chromaticities)]
        primaries = next((number for number, at in _PRIMARIES.items() if _near(at, values)), UNSPECIFIED)
    return primaries, transfer, UNSPECIFIED not in (primaries, transfer)


def _near(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(abs(x - y) <= 0.0025 for x, y in zip(a, b, strict=True))


def colour_chunks(primaries: int, transfer: int, profile: bytes | None) -> bytes:
    """Chunks that say so: a profile, else cICP, unless the colours are those of sRGB or SDR video, or unknown."""
    if profile is not None:
        return chunk(b"iCCP", b"ICC\0\0" + zlib.compress(profile))
    if primaries in (1, 5, 6, UNSPECIFIED) and transfer in (1, 6, 14, 15, SRGB_TRANSFER, UNSPECIFIED):
        return b""
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))
