"""Which output frame shows which moment: exact times, no pictures.

Input frames have times t_0 < t_1 < ... in seconds, as fractions. Output times are cut into spans. A span between two
frames of one scene is a pair: its output times are interpolated. A span before a scene cut, and the one after the
last frame, is a hold: its output times all show its left frame. Everything streams: a span is known once
the next frame is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Span:
    """Output times from one input frame up to the next.

    ``left`` is the input frame's number; ``moments`` are (time in seconds, position) with position in [0, 1) of the
    way to the next frame, 0 in a hold.
    """

    left: int
    hold: bool
    moments: tuple[tuple[Fraction, Fraction], ...]


@dataclass(frozen=True)
class Multiply:
    """``factor`` output frames for each input interval, evenly spaced, the first on the input frame."""

    factor: int

    def times(self, first: Fraction, left: Fraction, right: Fraction) -> list[Fraction]:
        """Output times in [left, right)."""
        step = (right - left) / self.factor
        return [left + m * step for m in range(self.factor)]

    def positions(self) -> list[Fraction]:
        """All positions between two frames that a clip can need; 1 where its last frame or one before a cut is held."""
        return [Fraction(m, self.factor) for m in range(self.factor + 1)]


@dataclass(frozen=True)
class Rate:
    """Output frame n at the first input frame's time + n / ``fps``."""

    fps: Fraction

    def times(self, first: Fraction, left: Fraction, right: Fraction) -> list[Fraction]:
        """Output times in [left, right)."""
        begin = math.ceil((left - first) * self.fps)
        end = math.ceil((right - first) * self.fps)
        return [first + Fraction(n) / self.fps for n in range(begin, end)]

    def positions(self) -> None:
        """Any position may be needed."""


Clock = Multiply | Rate


def pair_span(clock: Clock, first: Fraction, index: int, left: Fraction, right: Fraction, cut: bool) -> Span:
    """The span from frame ``index`` at ``left`` to the next at ``right``; ``cut`` when a scene cut lies between."""
    zero = Fraction(0)
    moments = [(t, zero if cut else (t - left) / (right - left)) for t in clock.times(first, left, right)]
    return Span(index, cut, tuple(moments))


def last_span(clock: Clock, first: Fraction, index: int, left: Fraction, duration: Fraction, copies: bool) -> Span:
    """The span of the last frame, shown for ``duration``; without ``copies`` only a time on the frame itself counts."""
    times = clock.times(first, left, left + duration)
    if not copies:
        times = [t for t in times if t == left]
    return Span(index, True, tuple((t, Fraction(0)) for t in times))


def spans(
    clock: Clock, stamps: Iterable[tuple[Fraction, bool]], duration: Fraction, copies: bool = True
) -> Iterator[Span]:
    """All spans of a clip from its frames' (time, cut before this frame); ``duration`` is the last frame's."""
    first = left = None
    index = 0
    for time, cut in stamps:
        if first is None or left is None:
            first = left = time
            continue
        yield pair_span(clock, first, index, left, time, cut)
        left = time
        index += 1
    if first is not None and left is not None:
        yield last_span(clock, first, index, left, duration, copies)


def common_unit(values: Iterable[Fraction], limit: int = 2**31 - 1) -> Fraction | None:
    """The largest fraction of which every value is a whole multiple; None when its parts exceed ``limit``."""
    unit = Fraction(0)
    for value in values:
        value = abs(value)
        unit = Fraction(
            math.gcd(unit.numerator * value.denominator, value.numerator * unit.denominator),
            unit.denominator * value.denominator,
        )
    if unit == 0 or unit.denominator > limit or unit.numerator > limit:
        return None
    return unit
