"""Progress for people: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from vinr_engine.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from .job import Seconds

EVERY = 60.0
"""Seconds between two lines where there is no terminal."""


def duration(seconds: float) -> str:
    """A length of time as 59 s, 12 min or 3 h 5 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def shares(stages: Seconds) -> str:
    """What part of the time so far each stage worked; those beside the computation count for themselves."""
    if not stages.total:
        return ""
    parts = {name: getattr(stages, name) / stages.total for name in ("compute", "decode", "encode", "waiting")}
    return ", ".join(f"{name} {100 * part:.0f} %" for name, part in parts.items())


class Bar:
    """A bar on standard error while it is a terminal; ``quiet`` silences notes as well."""

    def __init__(self, quiet: bool = False, label: str = "upscale") -> None:
        self.quiet = quiet
        self.label = label
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._restart()

    def _restart(self) -> None:
        self._began = self._said = time.monotonic()
        self._first: int | None = None
        self._stages = ""

    def __enter__(self) -> Bar:
        if sys.stderr.isatty() and not self.quiet:
            from .columns import bar  # rich takes 50 ms to load, and most programs that call this one have no terminal

            self._progress = bar()
            self._progress.start()
            self._task = self._progress.add_task(self.label, total=None, stages="")
        return self

    def update(self, done: int, total: int | None) -> None:
        """``done`` output frames of about ``total``; what the first call says was there before."""
        begins, self._first = self._first is None, done if self._first is None else self._first
        if self._progress is not None and self._task is not None:
            known = None if total is None else max(done, total)
            if begins:
                self._progress.reset(self._task, completed=done, total=known)
            else:
                self._progress.update(self._task, completed=done, total=known, stages=self._stages)
        elif not self.quiet and time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            self.say(self._line(done, total))

    def _line(self, done: int, total: int | None) -> str:
        assert self._first is not None
        made, seconds = done - self._first, self._said - self._began
        rate = f", {made / seconds:.3g} frames/s" if made else ""
        left = f", about {duration((total - done) * seconds / made)} left" if made and total and total > done else ""
        of = f" of {max(done, total)}" if total else ""
        return f"{self.label}: {done}{of} frames{rate}{left}; {self._stages}".rstrip("; ")

    def stages(self, seconds: Seconds) -> None:
        """Where the time went so far."""
        self._stages = shares(seconds)

    def begin(self, label: str) -> None:
        """Begin anew, with what is done next."""
        self._restart()
        self.label = label
        if self._progress is not None and self._task is not None:
            from rich.markup import escape  # names of files hold brackets

            self._progress.remove_task(self._task)
            self._task = self._progress.add_task(escape(label), total=None, stages="")

    def note(self, text: str) -> None:
        """A remark of one line on standard error."""
        if not self.quiet:
            self.say(f"note: {text}")

    def say(self, text: str) -> None:
        """One line on standard error, ``quiet`` or not."""
        text = printable(text)
        if self._progress is not None:
            self._progress.console.print(f"vinr: {text}", markup=False, highlight=False, soft_wrap=True)
        else:
            print(f"vinr: {text}", file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
