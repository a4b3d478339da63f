"""Pictures in: one interface over video files and numbered images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

from .colour import Array, Colour


@dataclass(frozen=True)
class Faults:
    """Input frames that were not as they should be, each counted once.

    ``repaired``: their times or sizes were put right; ``held``: they could not be read, and the frame before stands in
    for them; ``dropped``: they are left out.
    """

    repaired: int = 0
    held: int = 0
    dropped: int = 0

    def __add__(self, other: Faults) -> Faults:
        return Faults(self.repaired + other.repaired, self.held + other.held, self.dropped + other.dropped)


@dataclass(frozen=True)
class Picture:
    """One input frame: ``time`` (from the clip's start) and ``duration`` in seconds, ``rgb`` [3, h, w] in [0, 1].

    ``faults``: its own, and those since the frame before; of the last one also those that follow. ``notes``: remarks of
    one line on them. ``unkept``: by name, what it carries that no output keeps.
    """

    time: Fraction
    duration: Fraction
    rgb: Array
    faults: Faults = field(default_factory=Faults)
    notes: tuple[str, ...] = ()
    unkept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Light:
    """HDR10's metadata of a clip: the display that it was made on (SMPTE ST 2086), and how bright it gets (CTA-861.3).

    ``primaries``: CIE 1931 x and y of red, green, blue and white; ``luminance``: least and most, in cd/m2; ``content``:
    most of a pixel (MaxCLL) and of a frame's mean (MaxFALL), in cd/m2. None for what is not known.
    """

    primaries: tuple[tuple[Fraction, Fraction], ...] | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    content: tuple[int, int] | None = None


@dataclass(frozen=True)
class SourceInfo:
    """What is known before the pictures are read.

    ``width`` and ``height`` are upright, after any rotation tag. ``aspect`` is the sample aspect ratio. ``bits`` and
    ``chroma`` (subsampling across, down; None for RGB) describe the stored pictures; ``count`` is an estimate;
    ``rate`` is None where timestamps alone say when a picture is shown. ``light``: of HDR10. ``profile``: an ICC
    profile. ``scene``: linear light, of which 1 is white, gave the pictures' values by `light.coded`. ``still``: it is
    one image, and no clip; ``exif`` is its EXIF. ``plays``: how often an animation is shown, 0 for endlessly; None for
    what is none. ``unkept``: by name, what the first frames carry that no output keeps.
    """

    width: int
    height: int
    aspect: Fraction | None
    colour: Colour
    bits: int
    chroma: tuple[int, int] | None
    rate: Fraction | None
    tick: Fraction
    count: int | None
    notes: tuple[str, ...] = ()
    light: Light | None = None
    profile: bytes | None = None
    scene: bool = False
    still: bool = False
    exif: bytes | None = None
    plays: int | None = None
    unkept: tuple[str, ...] = ()


class Source(Protocol):
    """An opened input."""

    info: SourceInfo

    def pictures(self, since: Fraction | None = None) -> Iterator[Picture]:
        """The pictures in order of time, times strictly rising, all of one size. Errors: SourceError.

        ``since``: those before are left out, and need not be decoded.
        """
        ...

    def close(self) -> None:
        """Release the files."""
        ...


class OpenSource(Source, AbstractContextManager["OpenSource"]):
    """A source that closes at the end of a with block."""

    def __exit__(self, *exc: object) -> None:
        self.close()
