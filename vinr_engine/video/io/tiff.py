"""TIFF files of one RGB picture, 8 or 16 bits a channel: Pillow writes 8 bits alone, FFmpeg no colour profile."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

SHORT, LONG, UNDEFINED = 3, 4, 7


def encode(pixels: npt.NDArray[Any], profile: bytes | None = None) -> bytes:
    """The file of ``pixels`` [h, w, 3], unsigned integers: Deflate with horizontal differences, one strip.

    ValueError where that is too large for the format.
    """
    height, width, channels = pixels.shape
    bits = pixels.dtype.itemsize * 8
    rows = np.ascontiguousarray(pixels.astype(f"<u{bits // 8}"))
    rows[:, 1:] -= rows[:, :-1].copy()
    strip = zlib.compress(rows.tobytes())
    if len(strip) + len(profile or b"") + 1024 >= 1 << 32:
        raise ValueError("a TIFF file has at most 4 GiB")
    body = bytearray(struct.pack("<2sHI", b"II", 42, 0))

    def place(data: bytes) -> int:
        """Where ``data`` comes to lie in the file."""
        begin = len(body)
        body.extend(data + bytes(len(data) % 2))
        return begin

    entries = [
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        (258, SHORT, channels, place(struct.pack("<3H", bits, bits, bits))),
        (259, SHORT, 1, 8),
        (262, SHORT, 1, 2),
        (273, LONG, 1, place(strip)),
        (277, SHORT, 1, channels),
        (278, LONG, 1, height),
        (279, LONG, 1, len(strip)),
        (284, SHORT, 1, 1),
        (317, SHORT, 1, 2),
    ]
    if profile is not None:
        entries.append((34675, UNDEFINED, len(profile), place(profile)))
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    struct.pack_into("<I", body, 4, place(directory))
    return bytes(body)
