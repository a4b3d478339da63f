"""The loop: pictures in, spans of output times, enlarged pictures out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from vinr_engine.errors import Cancelled

from .cuts import CutDetector
from .enlarge import Enlarger, Pair, Slot
from .io.source import Picture
from .schedule import Clock, Span, last_span, pair_span
from .threads import WriteBehind


@dataclass
class Counts:
    """What the loop did: frames read and written, scene cuts found."""

    frames_in: int = 0
    frames_out: int = 0
    cuts: int = 0


class Pipeline:
    """Feeds a sink from pictures; holds two pictures, two pairs' features and one output frame at any time, beside what
    waits for the threads that read and write, and up to three queries of a model that answers several at once."""

    def __init__(
        self, enlarger: Enlarger, clock: Clock, sink: WriteBehind, detector: CutDetector | None,
        lead: Fraction, copies: bool, total: int | None,
        progress: Callable[[int, int | None], None] | None, cancel: Callable[[], bool] | None,
    ) -> None:  # fmt: skip
        """``lead`` is added to output times; without ``copies`` nothing follows the last input frame. See Plan, Job."""
        self.enlarger, self.clock, self.sink, self.detector = enlarger, clock, sink, detector
        self.lead, self.copies, self.total = lead, copies, total
        self.progress, self.cancel = progress, cancel
        self.counts = Counts()

    def run(self, pictures: Iterable[Picture]) -> Counts:
        """All pictures, to the completed output; the first one's time is the output's 0.

        Errors: Cancelled, and those of source and sink.
        """
        first: Fraction | None = None
        last: Picture | None = None
        left: Slot | None = None
        before: Pair | None = None
        for picture in pictures:
            right = self.enlarger.slot(picture.rgb)
            cut = self.detector is not None and self.detector.cut_before(picture.rgb)
            if first is None or last is None or left is None:
                first = picture.time
            else:
                span = pair_span(self.clock, first, self.counts.frames_in - 1, last.time, picture.time, cut)
                self.counts.cuts += cut
                pair = self.enlarger.pair(left, right)
                # only a hold looks back: the features of the pair before are released early
                before = before if cut else None
                self._emit(span, pair, before, left, first, picture.time)
                before = None if cut else pair
            last, left = picture, right
            self.counts.frames_in += 1
        if first is not None and last is not None and left is not None:
            span = last_span(self.clock, first, self.counts.frames_in - 1, last.time, last.duration, self.copies)
            self._emit(span, None, before, left, first, last.time + last.duration)
        self.sink.finish()
        return self.counts

    def _emit(
        self, span: Span, pair: Pair | None, before: Pair | None, left: Slot, first: Fraction, until: Fraction
    ) -> None:
        """Write a span's frames; a hold shows its left picture as the end of the pair before, or paired with itself."""
        written = False
        for n, (time, position) in enumerate(span.moments):
            if self.cancel is not None and self.cancel():
                raise Cancelled("cancelled; nothing was written")
            if not span.hold:
                assert pair is not None
                picture = pair.begin(position)
            elif written:
                picture = None
            elif before is not None:
                picture = before.begin(Fraction(1))
            else:
                picture = self.enlarger.pair(left, left).begin(Fraction(0))
            written = True
            following = span.moments[n + 1][0] if n + 1 < len(span.moments) else until
            self.sink.write(picture, time - first + self.lead, following - time)
            self.counts.frames_out += 1
            if self.progress is not None:
                self.progress(self.counts.frames_out, self.total)
