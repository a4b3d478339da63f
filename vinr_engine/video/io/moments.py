"""When each decoded frame is shown: times that rise, whatever the file says."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av

from .decoding import Decoded, Event, Fed, Lost, Silent
from .source import Faults

_MOST = 16
"""Frames without a usable time that wait for one that has one."""
Timed = Iterator[tuple[Decoded | Lost, Fraction | None]]
"""Frames in the order of showing, each with a time in seconds of the file if there is one."""


def as_stored(events: Iterable[Event]) -> Timed:
    """Each frame at the time that the file gives it."""
    silent: list[Silent] | None = []
    for event in events:
        if isinstance(event, Silent) and silent is not None:
            silent.append(event)
        if isinstance(event, Decoded) and silent is not None:
            # Before the first frame it is no second field: what it builds on is not in the file.
            for one in silent:
                if one.coded.pts is not None and event.coded.pts is not None and one.coded.pts < event.coded.pts:
                    yield Lost(one.coded, "what it builds on is not in the file"), one.coded.pts
            silent = None
        if isinstance(event, Decoded | Lost):
            yield event, event.coded.pts


def in_order(events: Iterable[Event]) -> Timed:
    """The frames at the times of decoding, one after the other, for formats that store no others (AVI, ASF).

    FFmpeg's guess of times of showing goes backwards there where H.264 reorders.
    """
    free: dict[int, Fraction | None] = {}
    lost: dict[int, Lost] = {}
    for event in events:
        number = event.coded.number
        if isinstance(event, Fed):
            free[number] = event.coded.dts
        elif isinstance(event, Silent):
            free.pop(number, None)
        elif isinstance(event, Lost):
            lost[number] = event
        else:
            while (first := next(iter(free), None)) in lost:
                assert first is not None
                yield lost.pop(first), free.pop(first)
            yield event, None if first is None else free.pop(first)
    for number, one in lost.items():
        yield one, free[number]


def one_by_one(events: Iterable[Event], step: Fraction, fixed: bool) -> Timed:
    """Frames of a stream without timestamps, each for as long as the stream says, or for ``step`` if ``fixed``."""
    now: Fraction | None = None
    more = Fraction(0)
    for event in events:
        coded = event.coded
        if now is None:
            now = coded.number * step if fixed else coded.before
        length = coded.length or step
        if isinstance(event, Silent):
            more += length
        elif isinstance(event, Decoded | Lost):
            coded.length = step if fixed else length + more
            yield event, now
            now += coded.length
            more = Fraction(0)


@dataclass
class Shown:
    """A frame at its time, in seconds of the file; None where the decoder refused it, and ``why``.

    ``faults`` as of a Picture. ``remarks``: what there is to say of it, each a kind and a detail.
    """

    time: Fraction
    length: Fraction
    frame: av.VideoFrame | None
    why: str = ""
    faults: Faults = field(default_factory=Faults)
    remarks: list[tuple[str, str]] = field(default_factory=list)


class Rising:
    """Puts times right that are missing, go backwards or come twice: between the neighbours', or one step after.

    Of two frames at one time the second is dropped, and counted; only a file that does so on and on has them spread.
    ``step``: seconds between frames.
    """

    def __init__(self, step: Fraction) -> None:
        self._step = step
        self._last: Fraction | None = None
        self._stamp: Fraction | None = None
        self._repeated = False
        self._waiting: list[Decoded | Lost] = []
        self._lost: list[tuple[Fraction, int, Lost]] = []
        self._dropped = 0

    def of(self, timed: Timed) -> Iterator[Shown]:
        """All frames at their times."""
        for event, time in timed:
            late = time is None or (self._last is not None and time <= self._last)
            if isinstance(event, Lost) and not late:
                assert time is not None
                heapq.heappush(self._lost, (time, event.coded.number, event))
            elif not late:
                assert time is not None
                yield from self._until(time)
                yield self._shown(event, time)
                self._stamp, self._repeated = time, False
            elif isinstance(event, Decoded) and time is not None and time == self._stamp and not self._repeated:
                self._dropped += 1
                self._repeated = True
            else:
                self._waiting.append(event)
                if len(self._waiting) == _MOST:
                    yield from self._spread(None)
        yield from self._until(None)
        yield from self._spread(None)

    @property
    def dropped(self) -> int:
        """Those that followed the last one that was given."""
        return self._dropped

    def _until(self, time: Fraction | None) -> Iterator[Shown]:
        """What belongs before a frame at ``time``."""
        while self._lost and (time is None or self._lost[0][0] < time):
            at, _, event = heapq.heappop(self._lost)
            if self._last is None or at > self._last:
                yield from self._spread(at)
                yield self._shown(event, at)
            else:
                self._dropped += 1
        while time is not None and self._lost and self._lost[0][0] == time:
            heapq.heappop(self._lost)  # a field of the frame that is shown
        if time is not None:
            yield from self._spread(time)

    def _spread(self, until: Fraction | None) -> Iterator[Shown]:
        """Those that wait, evenly before ``until``, or a step apart."""
        waiting, self._waiting = self._waiting, []
        count = len(waiting)
        for n, event in enumerate(waiting, 1):
            if self._last is None or until is None:
                at = Fraction(0) if until is None else until - count * self._step
                at = at if self._last is None else self._last + self._step
            else:
                at = self._last + (until - self._last) / (count - n + 2)
            shown = self._shown(event, at)
            shown.faults += Faults(repaired=1)
            shown.remarks.append(("time", ""))
            yield shown

    def _shown(self, event: Decoded | Lost, at: Fraction) -> Shown:
        coded = event.coded
        shown = Shown(at, coded.length or self._step, event.frame if isinstance(event, Decoded) else None)
        if isinstance(event, Lost):
            shown.why = event.why
        if self._dropped:
            shown.faults += Faults(dropped=self._dropped)
            shown.remarks.append(("repeat", ""))
            self._dropped = 0
        if coded.joined:
            shown.faults += Faults(repaired=1)
            shown.remarks.append(("join", ""))
        if coded.other:
            shown.remarks.append(("other", ""))
        if coded.problem is not None:
            shown.remarks.append(("problem", coded.problem))
        self._last = at
        return shown
