"""This project's own forms: its network, and what every network must beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .stages import FACTOR, Frame, Need, Times, between

if TYPE_CHECKING:
    from vinr_engine.video.enlarge import Pair


class Bicubic:
    """`vinr evaluate`'s enlargement. See stages.Space."""

    needs: ClassVar[tuple[Need, ...]] = ()

    def __init__(self) -> None:
        import torch

        from vinr_engine.evaluation.protocol import Protocol
        from vinr_engine.evaluation.restore import bicubic

        self._enlarge = lambda low, size: bicubic(torch.from_numpy(low), size, Protocol()).numpy()

    def __call__(self, frame: Frame) -> Frame:
        return self._enlarge(frame, (frame.shape[1] * FACTOR, frame.shape[2] * FACTOR))


class Blend:
    """(1 - t) A + t B. See stages.Time."""

    needs: ClassVar[tuple[Need, ...]] = ()

    def __call__(self, frames: Iterable[Frame], times: Iterable[Times]) -> Iterator[Frame]:
        return between(frames, times, lambda a, b, inside: (a + np.float32(t) * (b - a) for t in inside[1:-1]))


class Ours:
    """The network of a checkpoint, the package's own for None, as `vinr upscale` runs it on a CPU."""

    def __init__(self, weights: Path | None, dtype: str) -> None:
        """Raises vinr_engine.errors.WeightsError."""
        from vinr_engine.video.enlarge import load

        self._model, self._dtype = load(weights), dtype

    def __call__(self, frames: Iterable[Frame], times: Iterable[Times]) -> Iterator[Frame]:
        """All pictures, the kept ones too with a neighbour in view: see stages.Time."""
        import torch

        from vinr_engine import backends
        from vinr_engine.video.enlarge import Enlarger, check_backend

        backend = check_backend("auto")

        def picture(pair: Pair, t: Fraction) -> Frame:
            # Entered for each picture: left open, they would hold where the pictures go, too.
            with torch.inference_mode(), backends.backend(backend):
                return pair.at(t)

        source = iter(frames)
        if (first := next(source, None)) is None:
            raise ValueError("no frames")
        size = first.shape[1] * FACTOR, first.shape[2] * FACTOR
        enlarger = Enlarger(self._model, size, torch.device("cpu"), self._dtype)
        slot = enlarger.slot(first)
        pair, end = enlarger.pair(slot, slot), Fraction(1)
        for frame, inside in zip(source, times, strict=True):
            before, slot = slot, enlarger.slot(frame)
            pair, end = enlarger.pair(before, slot), inside[-1]
            for t in inside[:-1]:
                yield picture(pair, t)
        yield picture(pair, end)
