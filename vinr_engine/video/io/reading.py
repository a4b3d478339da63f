"""How an input is to be read: numbers alone, which load nothing."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

STOP, SKIP, HOLD = "stop", "skip", "hold"
"""What becomes of frames that cannot be read."""
IMAGES_FPS = 25
"""Rate of images where none is given."""


@dataclass(frozen=True)
class Reading:
    """The part from ``start`` until ``end``, in seconds; ``rate`` for inputs that have none, None for the default.

    ``on_error``: STOP, SKIP or HOLD; ``deinterlace``: see Job.
    """

    rate: Fraction | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    on_error: str = HOLD
    deinterlace: bool = True
