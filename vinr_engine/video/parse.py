"""Text arguments to exact values: rates, times, sizes, scales.

Every function raises UsageError, with the accepted forms in its message.
"""

from __future__ import annotations

import math
import numbers
import operator
import re
from fractions import Fraction

from vinr_engine.errors import UsageError

MAX_SIDE = 16384
"""Longest output side in pixels: the limit of H.264 and VP9 encoders."""
MAX_TIME = 1024
"""Most output frames for one input interval."""
MAX_RATE = 10000
"""Highest output rate in frames per second."""


def rate(value: str | int | float | Fraction, name: str = "--fps") -> Fraction:
    """Frames per second as an exact fraction.

    ``60`` and ``24000/1001`` are taken as they stand. A decimal within 0.006 of n * 1000/1001 is the
    broadcast rate that it abbreviates (23.976 and 23.98 are 24000/1001, 29.97 is 30000/1001); other decimals are exact.
    """
    wanted = f"{name} must be a positive rate such as 60, 24000/1001 or 29.97, got {str(value)!r}"
    text = str(value).strip()
    try:
        exact = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(wanted) from None
    if exact <= 0:
        raise UsageError(wanted)
    if exact > MAX_RATE:
        raise UsageError(f"{name} is {text}, the highest rate is {MAX_RATE} frames a second")
    if "/" in text or exact.denominator == 1:
        if exact.denominator > 1_000_000 or exact.numerator > 2_000_000_000:
            raise UsageError(f"{name} {text} is a fraction too fine for a video file")
        return exact
    broadcast = Fraction(round(exact * Fraction(1001, 1000)) * 1000, 1001)
    if broadcast > 0 and abs(broadcast - exact) < Fraction(6, 1000) and exact > 10:
        return broadcast
    nearest = exact.limit_denominator(1_000_000)
    if nearest == 0:
        raise UsageError(f"{name} is {text}, which is too low a rate for a video file")
    return nearest


_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)")


def seconds(value: str | int | float | Fraction, name: str) -> Fraction:
    """A point in time: seconds (``12.5``) or ``[HH:]MM:SS[.fff]``, as an exact fraction of seconds."""
    match = _CLOCK.fullmatch(str(value).strip())
    wanted = f"{name} must be seconds (12.5) or [HH:]MM:SS[.fff], got {str(value)!r}"
    if isinstance(value, Fraction) and value >= 0:
        return value
    if match is None:
        raise UsageError(wanted)
    hours, minutes, rest = match.groups()
    part = Fraction(rest if not rest.startswith(".") else "0" + rest)
    if (minutes is not None and part >= 60) or (hours is not None and int(minutes) >= 60):
        raise UsageError(wanted)
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + part


def scale(value: float) -> float:
    """The enlargement in space: any positive finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UsageError(f"--space must be a positive number, got {value!r}") from None
    if not math.isfinite(number) or number <= 0:
        raise UsageError(f"--space must be a positive number, got {value}")
    return number


def multiplier(value: int | float) -> int:
    """The enlargement in time: a whole number from 1 to MAX_TIME."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or value % 1 != 0:
        raise UsageError(f"--time must be a whole number, got {value} (for other rates use --fps)")
    if not 1 <= value <= MAX_TIME:
        raise UsageError(f"--time must be from 1 to {MAX_TIME}, got {value}")
    return int(value)


def size(value: str | tuple[int, int], name: str = "--size") -> tuple[int, int]:
    """Width and height in pixels from ``1280x720`` or a pair."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,9})\s*[xX×]\s*(\d{1,9})\s*", value)
        if match is None:
            raise UsageError(f"{name} must be WIDTHxHEIGHT such as 1280x720, got {value!r}")
        width, height = int(match[1]), int(match[2])
    else:
        try:
            width, height = (operator.index(v) for v in value)
        except (TypeError, ValueError):
            raise UsageError(f"{name} must be a pair (width, height) of whole numbers, got {value!r}") from None
    check_size(width, height, f"{name} {width}x{height}")
    return width, height


def check_size(width: int, height: int, what: str) -> None:
    """UsageError unless 1 <= width, height <= MAX_SIDE."""
    if width < 1 or height < 1:
        raise UsageError(f"{what} leaves no picture: {width}x{height} pixels")
    if max(width, height) > MAX_SIDE:
        raise UsageError(f"{what} is too large: {width}x{height} pixels, at most {MAX_SIDE} a side")


def enlarged(width: int, height: int, space: float, even: bool) -> tuple[int, int]:
    """Input size times ``space``, rounded to whole pixels, or to even numbers where the pixel format needs them."""
    sides = []
    for side in (width, height):
        wanted = side * space
        if wanted > 4 * MAX_SIDE:
            raise UsageError(
                f"--space {space:g} is too large for {width}x{height} input: at most {MAX_SIDE} pixels a side"
            )
        whole = max(2, 2 * math.floor(wanted / 2 + 0.5)) if even and wanted >= 1 else math.floor(wanted + 0.5)
        sides.append(whole)
    check_size(sides[0], sides[1], f"--space {space:g} of {width}x{height}")
    return sides[0], sides[1]
