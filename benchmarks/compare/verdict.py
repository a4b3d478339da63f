"""Whether one commit is slower than another, of times that were measured in turn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

SLOWER, FASTER, SAME = "slower", "faster", "same"
SLOWER_FROM, FASTER_FROM = 1.03, 0.97
LEAST_ROUNDS = 6  # fewer hold no interval of 95 %
MISSES = 0.025  # the probability that the median lies beyond either end


@dataclass(frozen=True)
class Ratio:
    """The median of this / base, and the interval that holds the true one with a probability of at least 95 %."""

    median: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Slower or faster only where the whole interval says so."""
        return SLOWER if self.low > SLOWER_FROM else FASTER if self.high < FASTER_FROM else SAME


def rank(count: int) -> int:
    """The largest k for which the median of `count` draws lies below the kth smallest with at most `MISSES`; 0 if none.

    By the sign test: whatever the distribution, a draw lies below its median with probability 1/2.
    """
    below, k = 0.0, 0
    while k < count and (below := below + math.comb(count, k) / 2**count) <= MISSES:
        k += 1
    return k


def compare(base: Sequence[float], this: Sequence[float]) -> Ratio:
    """Of seconds, each pair measured one right after the other. Raises ValueError for fewer than `LEAST_ROUNDS`."""
    ratios = sorted(b / a for a, b in zip(base, this, strict=True))
    k = rank(len(ratios))
    if k == 0:
        raise ValueError(f"{len(ratios)} rounds hold no interval: at least {LEAST_ROUNDS} are needed")
    return Ratio(math.exp(statistics.median(map(math.log, ratios))), ratios[k - 1], ratios[-k])
