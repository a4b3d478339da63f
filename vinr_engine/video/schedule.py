"""Which output frame shows which moment: exact times, no pictures.

Input frames have times t_0 < t_1 < ... in seconds, as fractions. Output times between two frames of one scene are
interpolated. Before a scene cut, and after the last frame, they show the frame before: it is held. So they do while
nothing moves: where a frame is repeated for long, or comes long after the one before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

Moment = tuple[Fraction, Fraction | None]
"""An output time in seconds, and its position in [0, 1) of the way from one frame to the next; None: held."""

STILL_FRAMES, STILL_SECONDS = 3, Fraction(1, 4)
"""More repeats of a frame, or a longer time of them, are a picture that stands still. Fewer are motion that was drawn
or filmed at a lower rate than the file's: it goes on through them."""
GAP_FRAMES, GAP_SECONDS = 8, Fraction(1)
"""A frame that comes more such steps, and more seconds, after the one before follows a still, whose repeats the file
leaves out, as recordings of screens do."""


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


def moments(clock: Clock, first: Fraction, times: Sequence[Fraction], since: Fraction | None) -> list[Moment]:
    """Output times from a frame to the next.

    ``times`` are the frame's, its repeats', and the next one's; ``since`` is when the picture begins to move to that,
    None: not at all. ``first`` is the clip's first frame's.
    """
    found = [time for left, right in pairwise(times) for time in clock.times(first, left, right)]
    if since is None:
        return [(time, None) for time in found]
    return [(time, None if time < since else (time - since) / (times[-1] - since)) for time in found]


def motion(times: Sequence[Fraction], step: Fraction, through: bool) -> Fraction:
    """When the picture begins to move to the last of ``times``, which are as for `moments`.

    ``step`` is the input's nominal one. ``through``: motion goes on through the repeats.
    """
    since = times[0] if through else times[-2]
    if times[-1] - since > max(GAP_FRAMES * step, GAP_SECONDS):
        return times[-1] - step
    return since


def last_moments(clock: Clock, first: Fraction, time: Fraction, duration: Fraction, copies: bool) -> list[Moment]:
    """Those of the last frame, shown for ``duration``; without ``copies`` only a time on the frame itself counts."""
    return [(t, None) for t in clock.times(first, time, time + duration) if copies or t == time]


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
