"""Numbers as text."""

from __future__ import annotations

NOTE = 200  # characters of a message at most


def duration(seconds: float | None) -> str:
    """Three digits, in the unit that suits."""
    if seconds is None:
        return ""
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1, 1e3, "ms")):
        if seconds < limit:
            return f"{digits(seconds * factor)} {unit}"
    return f"{digits(seconds)} s"


def digits(value: float | None, suffix: str = "") -> str:
    """Three digits, never an exponent; empty for None."""
    if value is None:
        return ""
    places = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{places}f}{suffix}"


def first_line(error: BaseException) -> str:
    """A message for a table's cell; what a backend says needs no name before it."""
    text = (str(error).strip().splitlines() or [""])[0][:NOTE]
    name = type(error).__name__
    return text if name == "BackendError" else f"{name}: {text}"
