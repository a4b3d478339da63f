"""What stands in for frames that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from vinr_engine.errors import VinrError

from .moments import Shown
from .reading import HOLD, STOP
from .source import Faults


class Unreadable(VinrError):
    """A frame that ends the job; ``time`` in seconds of the file, ``decoded`` if the decoder made something of it."""

    def __init__(self, why: str, time: Fraction, decoded: bool) -> None:
        super().__init__(why)
        self.time, self.decoded = time, decoded


class Concealer:
    """Frames that the decoder refused or had to make up in part: the one before is held, they are left out, or the job
    ends. Until one is whole they are left out."""

    def __init__(self, on_error: str) -> None:
        self._on_error = on_error
        self.first_problem = ""
        self.left = Faults()
        self.left_remarks: list[tuple[str, str]] = []
        """Of those that followed the last one that was given; see Shown."""

    def of(self, frames: Iterable[Shown]) -> Iterator[Shown]:
        """The frames; ``frame`` is None for one that the frame before stands in for. Raises Unreadable."""
        begun = False
        for shown in frames:
            if self._on_error == STOP:
                for kind, detail in shown.remarks:
                    if kind == "problem":
                        raise Unreadable(detail, shown.time, decoded=False)
            why = shown.why
            if shown.frame is not None and shown.frame.is_corrupt:
                why = "it is damaged"
            if why:
                self.first_problem = self.first_problem or why
                if self._on_error == STOP:
                    raise Unreadable(why, shown.time, shown.frame is not None)
                if self._on_error == HOLD and begun:
                    shown.frame = None
                    shown.faults += Faults(held=1)
                    shown.remarks.append(("held", why))
                else:
                    self.left += shown.faults + Faults(dropped=1)
                    self.left_remarks += [*shown.remarks, ("dropped", why)]
                    continue
            begun = True
            shown.faults += self.left
            shown.remarks[:0] = self.left_remarks
            self.left, self.left_remarks = Faults(), []
            yield shown
