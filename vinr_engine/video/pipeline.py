"""The loop: pictures in, spans of output times, enlarged pictures out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from vinr_engine.errors import Cancelled

from .cuts import CutDetector
from .io.colour import Array
from .io.source import Faults, Picture
from .journal import Counts, Mark
from .plan import Plan
from .schedule import STILL_FRAMES, STILL_SECONDS, Moment, last_moments, moments, motion

Awaited = Callable[[], Array]
"""Gives a picture once it is there."""


class PairOf(Protocol):
    """Two neighbouring pictures; see `enlarge.Pair`."""

    def begin(self, position: Fraction) -> Awaited:
        """The enlarged picture at ``position`` in [0, 1] between them."""
        ...

    def expect(self, positions: Sequence[Fraction]) -> None:
        """Say which positions will be asked for."""
        ...


class Enlarges(Protocol):
    """What makes the pictures; see `enlarge.Enlarger`."""

    def slot(self, rgb: Array) -> Any:
        """One picture [3, h, w]."""
        ...

    def pair(self, first: Any, second: Any) -> PairOf:
        """Two pictures, nothing computed yet."""
        ...


class Output(Protocol):
    """Where the pictures go; see `threads.WriteBehind`."""

    def write(self, picture: Awaited | None, at: Fraction, duration: Fraction) -> None:
        """Add a frame; None repeats the last."""
        ...

    def commit(self, mark: Mark) -> None:
        """Keep what is written; ``mark`` says where to go on."""
        ...


def digest(rgb: Array) -> str:
    """Of a picture, for `Mark`."""
    return hashlib.sha256(rgb.tobytes()).hexdigest()


ALIKE = 3.5 / 255
"""Two pictures that differ by no more anywhere are about the same, as one that was coded twice."""
SOME_ROWS = 16
"""Every so many rows tell most pictures apart."""


def differ(first: Array, second: Array, most: float) -> bool:
    """Whether two pictures differ by more than ``most`` anywhere."""
    return any(float(np.abs(first[:, ::rows] - second[:, ::rows]).max()) > most for rows in (SOME_ROWS, 1))


@dataclass
class _Left:
    """The frame that a span begins with: ``slot``, and the pair that ends with it, if a hold may look back at that.

    ``times``: its own or that up to which it is held already, and those of its repeats since then. ``emitted``: output
    frames of the span that are done, of which ``shown`` says that the last one was the held picture.
    ``repeats`` so far, all of which are ``exact`` or not, have ``faults``; where not, ``latest`` is the last one, and
    ``settled`` are the faults of those before it. ``counts``: of the clip up to it.
    """

    picture: Picture
    slot: Any
    counts: Counts
    before: PairOf | None = None
    before_time: Fraction | None = None
    emitted: int = 0
    shown: bool = False
    exact: bool = True
    latest: Picture | None = None
    repeats: int = 0
    faults: Faults = field(default_factory=Faults)
    settled: Faults = field(default_factory=Faults)
    times: list[Fraction] = field(default_factory=list)
    duration: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        self.times, self.duration = [self.picture.time], self.picture.duration

    def stands_still(self, until: Fraction | None = None) -> bool:
        """Whether the repeats, with one at ``until``, are too many to be motion at a lower rate."""
        repeats = self.repeats + (until is not None)
        last = self.times[-1] if until is None else until
        return repeats > STILL_FRAMES or last - self.picture.time > STILL_SECONDS


class Pipeline:
    """Feeds a sink from pictures; holds three pictures, two pairs' features and one output frame at any time, beside
    what waits for the threads that read and write, and up to three queries of a model that answers several at once."""

    def __init__(
        self, enlarger: Enlarges, plan: Plan, sink: Output, detector: CutDetector | None, lead: Fraction,
        mark: Mark | None = None, progress: Callable[[int, int | None], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> None:  # fmt: skip
        """``lead`` is added to output times. ``mark``: where to begin, None for the beginning. See Plan, Job."""
        self.enlarger, self.plan, self.sink, self.detector = enlarger, plan, sink, detector
        self.lead, self.progress, self.cancel = lead, progress, cancel
        self.mark = mark
        self.counts = Counts(0, 0, 0)
        if mark is not None:
            self.counts = Counts(mark.frame, mark.frames_out, mark.cuts, mark.repeats, mark.faults, mark.unkept)
        """Of the clip so far; the input frames are those before the present span."""
        self.first = mark.first if mark else Fraction(0)
        self.until: int | None = None

    def run(self, pictures: Iterable[Picture], until: int | None = None) -> Counts:
        """All pictures, of a source that begins where ``mark`` says; the first one's time is the output's 0.

        Stops where ``until`` output frames are there, which must end a segment; the counts are the clip's only where
        that is its end. Errors: Cancelled, after what is done is kept, and those of source and sink.
        """
        self.until = until
        left: _Left | None = None
        for picture in pictures:
            self._meet(picture)
            if left is None or (self.mark and picture.time <= self.mark.time):
                left = self._begun(left, picture)
            elif self._repeats(left, picture):
                self._repeat(left, picture)
            else:
                cut = self.detector is not None and self.detector.cut_before(picture.rgb)
                if cut:
                    left = self._settled(left)
                if not self._done:
                    left = self._next(left, picture, cut)
            if self._done:
                return self.counts
        if left is not None:
            self._end(left)
        return self.counts

    def _meet(self, picture: Picture) -> None:
        """Keep what is lost with a picture, whatever becomes of it: as names, which may come twice."""
        if new := [name for name in picture.unkept if name not in self.counts.unkept]:
            self.counts = replace(self.counts, unkept=(*self.counts.unkept, *new))

    def _begun(self, left: _Left | None, picture: Picture) -> _Left:
        """The clip's first picture; of one that goes on, those up to the mark's, which hold no new output frames."""
        if left is None and self.mark is None:
            self.first = picture.time
            self._count(faults=picture.faults)
        elif left is not None and picture.time != self.mark.time:  # type: ignore[union-attr]
            return left  # a repeat of it
        right = _Left(picture, self.enlarger.slot(picture.rgb), self.counts)
        if left is not None:  # a hold goes on, and looks back
            right.before, right.before_time = self.enlarger.pair(left.slot, right.slot), left.picture.time
        if self.detector is not None:
            self.detector.see(picture.rgb)
        return right

    def _repeats(self, left: _Left, picture: Picture) -> bool:
        """Whether it is the left picture again.

        Those about the same count while motion goes on through them: holding them would show a slow fade in steps.
        """
        first, second = left.picture.rgb, picture.rgb
        if left.exact and not differ(first, second, 0):
            return True
        through = self.plan.through and left.times[0] == left.picture.time and not left.stands_still(picture.time)
        return through and not differ(first, second, ALIKE)

    def _repeat(self, left: _Left, picture: Picture) -> None:
        """Held where it is clear that the picture stands still, else put off until something moves."""
        if self.detector is not None:
            self.detector.see(picture.rgb)
        left.exact = left.exact and not differ(left.picture.rgb, picture.rgb, 0)
        left.times.append(picture.time)
        left.duration = picture.duration
        left.repeats += 1
        left.settled, left.faults = left.faults, left.faults + picture.faults
        left.latest = None if left.exact else picture
        if left.stands_still() or not self.plan.through:
            self._hold(left)

    def _settled(self, left: _Left) -> _Left:
        """Nothing moves on from here: where repeats were not exact, what moved up to the last one is shown."""
        picture = left.latest
        if picture is None:
            return left
        left.times.pop()
        left.repeats -= 1
        left.faults = left.settled
        return self._next(left, picture, cut=False)

    def _next(self, left: _Left, picture: Picture, cut: bool) -> _Left:
        """A picture of something else."""
        right = _Left(picture, self.enlarger.slot(picture.rgb), self.counts)
        pair = self.enlarger.pair(left.slot, right.slot)
        times = [*left.times, picture.time]
        since = None if cut else motion(times, self.plan.interval, self.plan.through and not left.stands_still())
        if since == left.picture.time and not left.emitted:  # the features of the pair before are released early
            left.before = None
        self._emit(left, moments(self.plan.clock, self.first, times, since), pair, picture.time)
        if self._done:
            return left
        self._pass(left)
        self._count(cuts=int(cut), faults=picture.faults)
        right.counts = self.counts
        if not cut:
            right.before, right.before_time = pair, left.picture.time
        return right

    def _end(self, left: _Left) -> None:
        """Nothing follows."""
        left = self._settled(left)
        if self._done:
            return
        self._hold(left)
        if self._done:
            return
        last, duration = left.times[-1], left.duration
        found = last_moments(self.plan.clock, self.first, last, duration, self.plan.copies)
        self._emit(left, found, None, last + duration)
        if not self._done:
            self._pass(left)

    def _pass(self, left: _Left) -> None:
        """Its span is done."""
        self._count(frames_in=1 + left.repeats, repeats=left.repeats, faults=left.faults)

    def _hold(self, left: _Left) -> None:
        """Output frames up to the last repeat."""
        found = moments(self.plan.clock, self.first, left.times, None)
        left.times = left.times[-1:]
        self._emit(left, found, None, left.times[0])

    def _count(self, **more: Any) -> None:
        self.counts = replace(self.counts, **{name: getattr(self.counts, name) + n for name, n in more.items()})

    @property
    def _done(self) -> bool:
        """Whether all output frames are there that are wanted."""
        return self.counts.frames_out == self.until

    def _emit(self, left: _Left, found: list[Moment], pair: PairOf | None, until: Fraction) -> None:
        """Write frames of a span, the last one shown up to ``until``, and no more than are wanted.

        A hold shows the left picture as the end of the pair before, or paired with itself.
        """
        done = self.mark.emitted if self.mark and self.mark.frame == left.counts.frames_in else 0
        skipped = min(max(0, done - left.emitted), len(found))
        left.emitted += skipped
        found = found[skipped:]
        if pair is not None:
            pair.expect([position for _, position in found if position is not None])
        for n, (time, position) in enumerate(found):
            if self.cancel is not None and self.cancel():
                self.sink.commit(self._mark(left))
                raise Cancelled("cancelled")
            picture: Awaited | None = None
            if position is not None:
                assert pair is not None
                picture = pair.begin(position)
            elif not left.shown:
                picture = self._held(left)
            left.shown = position is None
            following = found[n + 1][0] if n + 1 < len(found) else until
            self.sink.write(picture, time - self.first + self.lead, following - time)
            left.emitted += 1
            self._count(frames_out=1)
            if self.counts.frames_out % self.plan.segment == 0:
                self.sink.commit(self._mark(left))
            if self.progress is not None:
                self.progress(self.counts.frames_out, self.plan.total)
            if self._done:
                return

    def _held(self, left: _Left) -> Awaited:
        if left.before is not None:
            return left.before.begin(Fraction(1))
        return self.enlarger.pair(left.slot, left.slot).begin(Fraction(0))

    def _mark(self, left: _Left) -> Mark:
        return Mark(
            frame=left.counts.frames_in,
            emitted=left.emitted,
            time=left.picture.time,
            since=left.picture.time if left.before is None or left.before_time is None else left.before_time,
            first=self.first,
            digest=digest(left.picture.rgb),
            frames_out=self.counts.frames_out,
            cuts=left.counts.cuts,
            repeats=left.counts.repeats,
            faults=left.counts.faults,
            unkept=self.counts.unkept,
        )
