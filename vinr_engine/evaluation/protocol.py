"""The choices of an evaluation, and the named sets of them. docs/evaluation.md says where each comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from vinr_engine.errors import UsageError
from vinr_engine.evaluation.metrics import Variant, variants

MAX_SCALE = 32
MAX_KEEP = 256
SUBSETS = ("all", "kept", "between", "centre")
"""Frames that means are taken over; centre: a window's first, middle and last."""
NAMES = ("vinr", "videoinr")


@dataclass(frozen=True)
class Protocol:
    """How frames are lost, restored and measured.

    A window is `keep` + 1 consecutive frames: the network gets the first and the last, shrunk by `scale`, and gives
    all of them. `disjoint` windows share no frame; others share the kept one between them. `still`: a frame is
    paired with itself. `exact_input`: shrunk
    frames are not rounded to 8 bits. `bicubic`: the kernel of the baselines, "torch" (a = -3/4) or "matlab" (-1/2).
    The rest chooses one of the table's variants: channels, 8 bits or not, pixels of border left out, whether each
    window's last frame counts, and whether the mean is over frames or first over each clip's.
    """

    name: str = "vinr"
    scale: Fraction = Fraction(4)
    keep: int = 2
    disjoint: bool = False
    still: bool = False
    exact_input: bool = False
    bicubic: str = "torch"
    channels: str = "Y"
    quantised: bool = True
    border: int = 0
    last: bool = False
    over: str = "clips"
    cropped: int | None = None  # the border of the cropped variants: the scale, rounded up, if None

    @property
    def variant(self) -> Variant:
        """What is compared for the headline figures."""
        return Variant(self.channels, self.quantised, self.border)

    def variants(self) -> list[Variant]:
        """Everything that is compared for the table of variants."""
        cropped = math.ceil(self.scale) if self.cropped is None else self.cropped
        return variants((0, self.border, cropped))

    def describe(self) -> str:
        """One line."""
        windows = "windows share no frame" if self.disjoint else "windows share the kept frames"
        frames = "paired with itself" if self.still else f"1 of {self.keep} frames kept ({windows})"
        return (
            f"protocol {self.name}: shrunk by {decimal(self.scale)}, {frames}; "
            f"{'Y of BT.601' if self.channels == 'Y' else 'RGB'}, {'8 bits' if self.quantised else 'not rounded'}, "
            f"border {self.border}, last frame of a window {'counted' if self.last else 'not counted'}, "
            f"mean over {self.over}"
        )


def decimal(value: Fraction) -> str:
    """4, 2.5 or 10/3."""
    text = f"{float(value):g}"
    return text if Fraction(text) == value else str(value)


def scale(value: str | float | Fraction) -> Fraction:
    """A factor to shrink by: 4, 2.5 or 10/3. UsageError."""
    try:
        exact = Fraction(str(value).strip()).limit_denominator(1000)
    except (ValueError, ZeroDivisionError, OverflowError):
        exact = Fraction(0)
    if not 1 <= exact <= MAX_SCALE:
        raise UsageError(f"--scale must be a number from 1 to {MAX_SCALE}, got {str(value)!r}")
    return exact


def keep(value: str | int) -> int:
    """Of how many frames one is kept. UsageError."""
    text = str(value).strip()
    if not text.isascii() or not text.isdigit() or not 2 <= int(text) <= MAX_KEEP:
        raise UsageError(f"--keep must be a whole number from 2 to {MAX_KEEP}, got {str(value)!r}")
    return int(text)


def named(name: str, layout: str) -> Protocol:
    """The protocol of that name for clips of that layout (see clips.LAYOUTS). UsageError."""
    if name not in NAMES:
        raise UsageError(f"--protocol must be one of {', '.join(NAMES)}, got {name!r}")
    if name == "vinr":
        return Protocol(keep=8 if layout in ("gopro", "adobe240") else 2)
    # Vid4 has too few frames for windows of nine: every second one is dropped there
    return Protocol(name, keep=2 if layout == "vid4" else 8, disjoint=layout != "vid4", bicubic="matlab", last=True)
