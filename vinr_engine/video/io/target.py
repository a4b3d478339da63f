"""What the pictures of an output are, as its coder and its container must know it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from .source import SourceInfo


@dataclass(frozen=True)
class Target:
    """``size`` is (width, height); ``info`` is of the source, whose colours and shape of pixels are kept.

    For videos alone: ``rate`` is the nominal output rate, ``tick`` the unit of timestamps in seconds, ``threads`` are
    the encoder's, 0 for as many as it likes.
    """

    size: tuple[int, int]
    info: SourceInfo
    rate: Fraction = Fraction(25)
    tick: Fraction = Fraction(1, 25)
    threads: int = 0

    @property
    def nominal_rate(self) -> Fraction:
        """The rate, as far as containers can say it."""
        return self.rate.limit_denominator(1_000_000)

    def pts(self, last: int, time: Fraction) -> int:
        """Units of time of a picture shown at ``time``, after one at ``last`` units."""
        # rounding is only met where no unit of time fits a 32-bit time base
        return max(last + 1, round(time / self.tick))
