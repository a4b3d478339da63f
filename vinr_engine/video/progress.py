"""Progress for people: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Speed(ProgressColumn):
    """Output frames per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.2f} frames/s")


class Bar:
    """A bar on standard error while it is a terminal; ``quiet`` silences notes as well."""

    def __init__(self, quiet: bool = False, label: str = "upscale") -> None:
        self.quiet = quiet
        self.label = label
        self._progress: Progress | None = None
        self._task: object = None

    def __enter__(self) -> Bar:
        console = Console(stderr=True)
        if console.is_terminal and not self.quiet:
            self._progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"), _Speed(),
                TextColumn("left"), TimeRemainingColumn(), console=console, transient=True,
            )  # fmt: skip
            self._progress.start()
            self._task = self._progress.add_task(self.label, total=None)
        return self

    def update(self, done: int, total: int | None) -> None:
        """``done`` output frames of about ``total``."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=None if total is None else max(done, total))  # type: ignore[arg-type]

    def note(self, text: str) -> None:
        """A remark of one line on standard error."""
        if self.quiet:
            return
        if self._progress is not None:
            self._progress.console.print(f"vinr: note: {text}", markup=False, highlight=False, soft_wrap=True)
        else:
            print(f"vinr: note: {text}", file=sys.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
