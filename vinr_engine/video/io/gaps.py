"""Sound that an output does not hold as it is: with breaks where that only counts samples, or coded in another way from
somewhere on where that says but once how."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from .opening import open_container
from .timeline import Timeline

APART = Fraction(1, 10)
"""Seconds by which a sound may be early or late, as rounded times are, before it is a gap or an overlap."""


_LONG = 4
"""How much longer than others of its stream a packet says that it lasts where it hides a gap, as in MP4."""


@dataclass
class _Heard:
    """One stream so far: ``begin`` and ``end`` of its last packet, ``stray`` how much later it is than all of them last
    together; ``exact`` are the seconds of each, where the codec says so, ``least`` those of the shortest; ``codings``:
    see `adts`."""

    exact: Fraction | None
    begin: Fraction | None = None
    end: Fraction = Fraction(0)
    least: Fraction = Fraction(0)
    stray: Fraction = Fraction(0)
    uneven: bool = False
    codings: set[bytes] = field(default_factory=set)

    def hear(self, begin: Fraction, length: Fraction, tick: Fraction) -> None:
        """Add a packet, which says that it lasts ``length`` seconds, 0 for not known."""
        if self.begin is not None:
            gap = begin - self.end
            if not length and begin > self.begin:
                length = begin - self.begin
            if abs(gap) > 2 * tick:  # else both are rounded
                self.stray += gap
        self.least = length if not self.least or 0 < length < self.least else self.least
        length = self.exact or (length if length <= _LONG * self.least else self.least)
        self.uneven = self.uneven or abs(self.stray) > APART
        self.begin, self.end = begin, begin + length


def adts(packet: av.Packet) -> bytes:
    """How a packet of AAC says that it is coded, as those of broadcasts do; b"" where it does not."""
    head = bytes(memoryview(packet)[:4])
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return b""
    return bytes([head[2] & 0xFD, head[3] & 0xC0])  # profile, rate, channels


@dataclass
class Gaps:
    """Finds the streams of sound of a file with gaps or overlaps between ``begin`` and ``end``, in seconds of its time
    line; ``end`` None for all. The file is read through once, and only if it is asked."""

    path: Path
    begin: Fraction
    end: Fraction | None
    _found: dict[int, _Heard] | None = field(default=None, init=False)

    def __contains__(self, index: int) -> bool:
        return index in self._heard and self._heard[index].uneven

    def changes(self, index: int) -> bool:
        """Whether a stream of AAC changes its rate or channels on the way."""
        return index in self._heard and len(self._heard[index].codings) > 1

    @property
    def _heard(self) -> dict[int, _Heard]:
        if self._found is None:
            self._found = self._read()
        return self._found

    def _read(self) -> dict[int, _Heard]:
        container, file = open_container(self.path)
        heard: dict[int, _Heard] = {}
        try:
            line = Timeline(container)
            with suppress(av.error.FFmpegError):  # who carries the packets says so
                for packet in container.demux():
                    self._hear(packet, line.see(packet), heard)
        finally:
            container.close()
            file.close()
        return heard

    def _hear(self, packet: av.Packet, offset: Fraction, heard: dict[int, _Heard]) -> None:
        stream: Any = packet.stream
        stamp: Any = packet.pts if packet.pts is not None else packet.dts
        if stream.type != "audio" or stamp is None or not packet.size or packet.is_discard:
            return
        tick = Fraction(packet.time_base)
        at, length = stamp * tick + offset, (packet.duration or 0) * tick
        if stream.index not in heard:
            context = stream.codec_context
            size = context.frame_size if context is not None and context.sample_rate else 0
            heard[stream.index] = _Heard(Fraction(size, context.sample_rate) if size > 1 else None)
        if at + length > self.begin and (self.end is None or at < self.end):
            heard[stream.index].hear(at, length, tick)
            if stream.codec_context is not None and stream.codec_context.name == "aac" and (coding := adts(packet)):
                heard[stream.index].codings.add(coding)
