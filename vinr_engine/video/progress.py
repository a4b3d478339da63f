"""Progress for people: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """A bar on standard error while it is a terminal; ``quiet`` silences notes as well."""

    def __init__(self, quiet: bool = False, label: str = "upscale") -> None:
        self.quiet = quiet
        self.label = label
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        if sys.stderr.isatty() and not self.quiet:
            from .columns import bar  # rich takes 50 ms to load, and most programs that call this one have no terminal

            self._progress = bar()
            self._progress.start()
            self._task = self._progress.add_task(self.label, total=None)
        return self

    def update(self, done: int, total: int | None) -> None:
        """``done`` output frames of about ``total``."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=None if total is None else max(done, total))

    def begin(self, label: str) -> None:
        """Begin anew, with what is done next."""
        if self._progress is not None and self._task is not None:
            from rich.markup import escape  # names of files hold brackets

            self._progress.remove_task(self._task)
            self._task = self._progress.add_task(escape(label), total=None)

    def note(self, text: str) -> None:
        """A remark of one line on standard error."""
        if not self.quiet:
            self.say(f"note: {text}")

    def say(self, text: str) -> None:
        """One line on standard error, ``quiet`` or not."""
        if self._progress is not None:
            self._progress.console.print(f"vinr: {text}", markup=False, highlight=False, soft_wrap=True)
        else:
            print(f"vinr: {text}", file=sys.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
