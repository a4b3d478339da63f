"""Pictures in: one interface over video files and numbered images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from .colour import Array, Colour


@dataclass(frozen=True)
class Picture:
    """One input frame: ``time`` (from the clip's start) and ``duration`` in seconds, ``rgb`` [3, h, w] in [0, 1]."""

    time: Fraction
    duration: Fraction
    rgb: Array


@dataclass(frozen=True)
class SourceInfo:
    """What is known before the pictures are read.

    ``width`` and ``height`` are upright, after any rotation tag. ``aspect`` is the sample aspect ratio. ``bits`` and
    ``chroma`` (subsampling across, down; None for RGB) describe the stored pictures; ``count`` is an estimate;
    ``rate`` is None where timestamps alone say when a picture is shown.
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
