"""The loop: pictures in, spans of output times, enlarged pictures out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from vinr_engine.errors import Cancelled

from .cuts import CutDetector
from .io.colour import Array
from .io.source import Faults, Picture
from .journal import Counts, Mark
from .plan import Plan
from .schedule import Span, last_span, pair_span

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


@dataclass
class _Left:
    """The frame that a span begins with: ``slot``, and the pair that ends with it, if a hold may look back at that."""

    picture: Picture
    slot: Any
    before: PairOf | None = None
    before_time: Fraction | None = None


class Pipeline:
    """Feeds a sink from pictures; holds two pictures, two pairs' features and one output frame at any time, beside what
    waits for the threads that read and write, and up to three queries of a model that answers several at once."""

    def __init__(
        self, enlarger: Enlarges, plan: Plan, sink: Output, detector: CutDetector | None, lead: Fraction,
        mark: Mark | None = None, progress: Callable[[int, int | None], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> None:  # fmt: skip
        """``lead`` is added to output times. ``mark``: where to begin, None for the beginning. See Plan, Job."""
        self.enlarger, self.plan, self.sink, self.detector = enlarger, plan, sink, detector
        self.lead, self.progress, self.cancel = lead, progress, cancel
        self.mark = mark
        self.frame = mark.frame if mark else 0
        """Number of the frame that the present span begins with."""
        self.frames_out = mark.frames_out if mark else 0
        self.cuts = mark.cuts if mark else 0
        self.faults = mark.faults if mark else Faults()
        self.first = mark.first if mark else Fraction(0)
        self.until: int | None = None

    def run(self, pictures: Iterable[Picture], until: int | None = None) -> Counts:
        """All pictures, of a source that begins where ``mark`` says; the first one's time is the output's 0.

        Stops where ``until`` output frames are there, which must end a segment; the counts are the clip's only where
        that is its end. Errors: Cancelled, after what is done is kept, and those of source and sink.
        """
        self.until = until
        left = None
        for picture in pictures:
            right = _Left(picture, self.enlarger.slot(picture.rgb))
            counted = self.mark is not None and picture.time <= self.mark.time
            if left is None or counted:
                if left is None and self.mark is None:
                    self.first = picture.time
                if left is not None:  # a hold goes on, and looks back
                    right.before, right.before_time = self.enlarger.pair(left.slot, right.slot), left.picture.time
                if self.detector is not None:
                    self.detector.see(picture.rgb)
            else:
                cut = self.detector is not None and self.detector.cut_before(picture.rgb)
                span = pair_span(self.plan.clock, self.first, self.frame, left.picture.time, picture.time, cut)
                pair = self.enlarger.pair(left.slot, right.slot)
                if not cut:  # only a hold looks back: the features of the pair before are released early
                    left.before = None
                self._emit(span, pair, left, picture.time)
                if self.frames_out == until:
                    return self._counts()
                self.cuts += cut
                self.frame += 1
                if not cut:
                    right.before, right.before_time = pair, left.picture.time
            if not counted:  # only now: a mark in the span before this picture knows nothing of it
                self.faults += picture.faults
            left = right
        if left is not None:
            last = left.picture
            end = last.time + last.duration
            span = last_span(self.plan.clock, self.first, self.frame, last.time, last.duration, self.plan.copies)
            self._emit(span, None, left, end)
            self.frame += 1
        return self._counts()

    def _counts(self) -> Counts:
        return Counts(self.frame, self.frames_out, self.cuts, self.faults)

    def _emit(self, span: Span, pair: PairOf | None, left: _Left, until: Fraction) -> None:
        """Write a span's frames; a hold shows its left picture as the end of the pair before, or paired with itself."""
        written = False
        done = self.mark.emitted if self.mark and self.mark.frame == span.left else 0
        if pair is not None and not span.hold:
            pair.expect([position for _, position in span.moments[done:]])
        for n, (time, position) in enumerate(span.moments[done:], done):
            if self.cancel is not None and self.cancel():
                self.sink.commit(self._mark(span, n, left))
                raise Cancelled("cancelled")
            if not span.hold:
                assert pair is not None
                picture = pair.begin(position)
            elif written:
                picture = None
            elif left.before is not None:
                picture = left.before.begin(Fraction(1))
            else:
                picture = self.enlarger.pair(left.slot, left.slot).begin(Fraction(0))
            written = True
            following = span.moments[n + 1][0] if n + 1 < len(span.moments) else until
            self.sink.write(picture, time - self.first + self.lead, following - time)
            self.frames_out += 1
            if self.frames_out % self.plan.segment == 0:
                self.sink.commit(self._mark(span, n + 1, left))
            if self.progress is not None:
                self.progress(self.frames_out, self.plan.total)
            if self.frames_out == self.until:
                return

    def _mark(self, span: Span, emitted: int, left: _Left) -> Mark:
        return Mark(
            frame=span.left,
            emitted=emitted,
            time=left.picture.time,
            since=left.picture.time if left.before_time is None or not span.hold else left.before_time,
            first=self.first,
            digest=digest(left.picture.rgb),
            frames_out=self.frames_out,
            cuts=self.cuts,
            faults=self.faults,
        )
