"""Tables in Markdown, and the sections of texts that are written by a command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Empty without rows."""
    lines = [list(row) for row in rows]
    cells = [list(head), ["---"] * len(head), *lines] if lines else []
    return "".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |\n" for row in cells)


def replaced(text: str, new: str, markers: tuple[str, str], name: str = "the README") -> str:
    """`text` with what stands between the markers replaced. Raises ValueError without exactly one pair of them."""
    begin, end = markers
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{name} must hold one line {begin} and after it one line {end}")
    before, rest = text.split(begin)
    return f"{before}{begin}\n\n{new.strip()}\n\n{end}{rest.split(end)[1]}"
