"""What the bar of `progress` shows, by rich."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

PERIOD = 300.0
"""Seconds over which speed is measured: large frames take many each."""

WIDE = 140
"""Columns of a terminal that also has room for the stages."""


class _Speed(ProgressColumn):
    """Output frames per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g} frames/s")


def bar() -> Progress:
    """On standard error; it vanishes at the end."""
    console = Console(stderr=True)
    stages = [TextColumn("{task.fields[stages]}", style="dim")] if console.width >= WIDE else []
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"), _Speed(),
        TextColumn("left"), TimeRemainingColumn(), *stages, console=console, transient=True,
        speed_estimate_period=PERIOD,
    )  # fmt: skip
