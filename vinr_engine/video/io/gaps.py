"""Sound that is not heard without a break, which an output that only counts its samples does not hold."""

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
    together; ``exact`` are the seconds of each, where the codec says so, ``least`` those of the shortest."""

    exact: Fraction | None
    begin: Fraction | None = None
    end: Fraction = Fraction(0)
    least: Fraction = Fraction(0)
    stray: Fraction = Fraction(0)
    uneven: bool = False

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


@dataclass
class Gaps:
    """Finds the streams of sound of a file with gaps or overlaps between ``begin`` and ``end``, in seconds of its time
    line; ``end`` None for all. The file is read through once, and only if it is asked."""

    path: Path
    begin: Fraction
    end: Fraction | None
    _found: frozenset[int] | None = field(default=None, init=False)

    def __contains__(self, index: object) -> bool:
        if self._found is None:
            self._found = self._read()
        return index in self._found

    def _read(self) -> frozenset[int]:
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
        return frozenset(index for index, stream in heard.items() if stream.uneven)

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
