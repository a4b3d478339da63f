"""Lines and tables on a terminal: by rich where it is installed, else as plain text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol, TextIO

GAP = 2  # columns between those of a plain table
WIDTH = 160  # of a table that goes to a file


class Screen(Protocol):
    """style: "red", "dim" or none."""

    def line(self, text: str, style: str = "") -> None: ...

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()) -> None:
        """styles: one for each row, or none."""


class Plain:
    """On `file`, or on what stdout is when something is written."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file

    def line(self, text: str, style: str = "") -> None:
        print(text, file=self.file or sys.stdout, flush=True)

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()) -> None:
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        self.line(title)
        for cells in (head, *rows):
            padded = (cell.ljust(width + GAP) for cell, width in zip(cells, widths, strict=True))
            self.line("".join(padded).rstrip())


class Rich:
    """In colours where the terminal has them. Raises ImportError without rich."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console()
        if not self.console.is_terminal:  # a file has no width
            self.console.width = WIDTH

    def line(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style or None, soft_wrap=True, markup=False, highlight=False)

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()) -> None:
        from rich.table import Table
        from rich.text import Text

        out = Table(title=Text(title), title_justify="left", title_style="bold", box=None)
        for name in head:
            out.add_column(name, overflow="fold")
        for i, cells in enumerate(rows):
            out.add_row(*map(Text, cells), style=styles[i] if i < len(styles) and styles[i] else None)
        self.console.print(out)


def screen() -> Screen:
    """The best there is."""
    try:
        return Rich()
    except ImportError:
        return Plain()
