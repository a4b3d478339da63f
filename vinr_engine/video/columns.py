"""What the bar of `progress` shows, by rich."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

PERIOD = 300.0
"""Seconds over which speed is measured: large frames take many each."""

WIDE, NARROW, NARROWEST = 140, 75, 40
"""Columns of a terminal that also has room for the stages; of one that lacks it for the bar and the speed; and, below
that, for what is done and the time that is left alone."""


class _Speed(ProgressColumn):
    """Output frames per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g} frames/s")


def bar() -> Progress:
    """On standard error; it vanishes at the end."""
    console = Console(stderr=True)
    width = console.width
    label = TextColumn(
        "{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=max(7, width // 3))
    )
    columns: list[ProgressColumn] = [MofNCompleteColumn(table_column=Column(no_wrap=True))]
    if width >= NARROW:
        columns = [label, BarColumn(), *columns, _text("frames"), _Speed(table_column=Column(no_wrap=True))]
    elif width >= NARROWEST:
        columns = [label, *columns]
    columns += [_text("left"), TimeRemainingColumn(compact=width < NARROW, table_column=Column(no_wrap=True))]
    if width >= WIDE:
        columns.append(TextColumn("{task.fields[stages]}", style="dim"))
    return Progress(*columns, console=console, transient=True, speed_estimate_period=PERIOD)


def _text(word: str) -> TextColumn:
    return TextColumn(word, table_column=Column(no_wrap=True))
