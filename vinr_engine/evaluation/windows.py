"""A clip as windows of consecutive frames, of which no more than one window is in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from vinr_engine.video.io.source import Picture


@dataclass(frozen=True)
class Window:
    """Consecutive frames: the network gets the first and the last. `start` is the first one's number in its clip."""

    start: int
    pictures: tuple[Picture, ...]

    @property
    def times(self) -> list[Fraction]:
        """Each frame's time in [0, 1], 0 at the first and 1 at the last, by their timestamps."""
        first, last = self.pictures[0].time, self.pictures[-1].time
        return [(picture.time - first) / (last - first) for picture in self.pictures]


def windows(pictures: Iterable[Picture], keep: int, disjoint: bool) -> Iterator[Window]:
    """Windows of `keep` + 1 frames; each begins with the last frame of the one before, or `disjoint` after it."""
    held: list[Picture] = []
    start = 0
    for picture in pictures:
        held.append(picture)
        if len(held) == keep + 1:
            yield Window(start, tuple(held))
            start += len(held) if disjoint else keep
            held = [] if disjoint else held[-1:]


def count(frames: int, keep: int, disjoint: bool) -> int:
    """How many windows `frames` frames give."""
    return frames // (keep + 1) if disjoint else max(0, (frames - 1) // keep)
