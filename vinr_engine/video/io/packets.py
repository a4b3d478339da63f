"""Coded pictures in a file of their own, a chunk of an output: whatever the encoder, exactly as they came from it.

A line of JSON, then for each packet its times, its size and whether decoding can begin there, and its bytes. Containers
of video round times, leave durations out, or do not take every encoder's pictures.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HEAD = struct.Struct("<qqqIB")
_NEVER = -(2**63)
"""In place of a time that is None."""


@dataclass(frozen=True)
class Packet:
    """A coded picture. ``pts``, ``dts`` and ``duration`` count units of time of its stream; ``key``: a key frame."""

    pts: int
    dts: int | None
    duration: int
    key: bool
    data: bytes


class PacketWriter:
    """A new file of packets at ``path``; ``facts`` are a JSON object about all of them. Errors: OSError."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self._file = open(path, "wb")  # noqa: SIM115, see close
        self._file.write(json.dumps(facts).encode() + b"\n")

    def write(self, packet: Packet) -> None:
        """Add one."""
        dts = _NEVER if packet.dts is None else packet.dts
        self._file.write(_HEAD.pack(packet.pts, dts, packet.duration, len(packet.data), packet.key))
        self._file.write(packet.data)

    def close(self) -> None:
        """Write what is left in memory, and release the file."""
        self._file.close()

    def abandon(self) -> None:
        """Release the file, whatever becomes of it."""
        with suppress(OSError):
            self._file.close()


class PacketFile:
    """A file of packets, read one at a time. ValueError for a file that is cut short or no such file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as file:
            self.facts: dict[str, Any] = json.loads(file.readline())
            self._begin = file.tell()

    def __iter__(self) -> Iterator[Packet]:
        with open(self.path, "rb") as file:
            file.seek(self._begin)
            while head := file.read(_HEAD.size):
                pts, dts, duration, size, key = self._head(head)
                data = file.read(size)
                if len(data) < size:
                    raise ValueError(f"{self.path} is cut short")
                yield Packet(pts, None if dts == _NEVER else dts, duration, key, data)

    def order(self) -> Iterator[int]:
        """The packets' ``pts`` alone, which takes no reading of pictures."""
        with open(self.path, "rb") as file:
            file.seek(self._begin)
            while head := file.read(_HEAD.size):
                pts, _, _, size, _ = self._head(head)
                file.seek(size, 1)
                yield pts

    def _head(self, head: bytes) -> tuple[int, int, int, int, bool]:
        if len(head) < _HEAD.size:
            raise ValueError(f"{self.path} is cut short")
        pts, dts, duration, size, key = _HEAD.unpack(head)
        return pts, dts, duration, size, bool(key)
