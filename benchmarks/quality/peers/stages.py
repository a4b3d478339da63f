"""The two stages of a peer pipeline: frames between frames, and larger frames.

Frames are float32 arrays [3, h, w] in [0, 1] in host memory, as this project's decoder gives them. A stage imports what
it needs, torch too, when it is made: a process that measures memory then holds what is used alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.float32]
"""[3, h, w] in [0, 1]."""
Times = Sequence[Fraction]
"""Of all frames of one window, from 0, its first kept frame, to 1, its last."""
FACTOR = 4
UNEVEN = 0.02
"""How far from its even place a frame's time may lie for a stage that cannot take times."""
INSTALL = "pip install --no-deps --group peers"


@dataclass(frozen=True)
class Need:
    """An optional package, and a file or folder of it, relative to where packages are installed."""

    distribution: str
    path: str
    install: str = INSTALL

    def find(self) -> Path | None:
        """Where the file is; None if it is not installed. The package is not imported."""
        try:
            found = Path(str(metadata.distribution(self.distribution).locate_file(self.path)))
        except metadata.PackageNotFoundError:
            return None
        return found if found.exists() else None

    def path_there(self) -> Path:
        """The same. Raises FileNotFoundError naming how to install it."""
        if (found := self.find()) is None:
            raise FileNotFoundError(f"{self.distribution} is not installed: {self.install}")
        return found


class Space(Protocol):
    """Enlarges single frames by FACTOR."""

    needs: ClassVar[tuple[Need, ...]]

    def __call__(self, frame: Frame) -> Frame: ...


class Time(Protocol):
    """Puts frames between frames."""

    needs: ClassVar[tuple[Need, ...]]

    def __call__(self, frames: Iterable[Frame], times: Iterable[Times]) -> Iterator[Frame]:
        """All frames in order: the given ones, which stay as they are, and those between.

        times: one for each pair of neighbours. Raises ValueError where there are not as many, or for no pair.
        """
        ...


def eight_bits(frame: npt.NDArray[np.floating[Any]]) -> Frame:
    """Clipped and rounded to what an 8-bit frame holds, as one program hands it on to the next."""
    return np.asarray(np.rint(np.clip(frame, 0, 1) * 255) / 255, np.float32)


def between(
    frames: Iterable[Frame], times: Iterable[Times], fill: Callable[[Frame, Frame, Times], Iterable[Frame]]
) -> Iterator[Frame]:
    """See Time. fill: of two neighbours and the times of their window, the frames between them."""
    source = iter(frames)
    last = first = next(source, None)
    for last, inside in zip(source, times, strict=True):
        assert first is not None
        yield first
        yield from fill(first, last, inside)
        first = last
    if last is None:
        raise ValueError("no frames")
    yield last


def even(times: Times) -> int:
    """How many steps a window has. Raises ValueError where they are not alike."""
    steps = len(times) - 1
    if any(abs(float(t) - n / steps) > UNEVEN for n, t in enumerate(times)):
        raise ValueError(f"frames must be evenly spaced in time, got {[float(t) for t in times]}")
    return steps
