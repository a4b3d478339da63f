"""The network on overlapping tiles of a frame, for frames whose features do not fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor

from vinr_engine.errors import UsageError
from vinr_engine.models.network import Network, Size, Times, times_tensor

MARGIN = 32
"""Pixels that a tile sees at least beyond what is kept of it, where the frame goes on."""


@dataclass(frozen=True)
class Span:
    """One axis of a tile: it reads pixels `begin` to `end` of the frame and gives those from `first` to `until`."""

    begin: int
    end: int
    first: int
    until: int


def spans(length: int, tile: int, step: int) -> list[Span]:
    """Tiles of one length that cover an axis; `length`, `tile` and all that they give are multiples of `step`."""
    if length <= tile:
        return [Span(0, length, 0, length)]
    begins = [*range(0, length - tile, (tile - 2 * MARGIN) // step * step), length - tile]
    # neighbours meet in the middle of what both see
    seams = [(left + tile + right) // (2 * step) * step for left, right in pairwise(begins)]
    edges = [0, *seams, length]
    return [Span(b, b + tile, first, until) for b, (first, until) in zip(begins, pairwise(edges), strict=True)]


class Tiled(Network):
    """A network on tiles of at most `tile` pixels a side, one after another.

    To the network each tile is a frame of its own, so that its picture differs a little from that of the whole frame.
    `scale` is exact: tiles lie on whole output pixels. Raises UsageError for tiles too small to overlap.
    """

    def __init__(self, model: Network, tile: int, scale: Fraction) -> None:
        self.model, self.scale, self.name = model, scale, model.name
        self.step = scale.denominator
        self.tile = tile // self.step * self.step
        least = 2 * MARGIN + 2 * self.step
        if self.tile < least:
            raise UsageError(f"--tile must be at least {least} pixels at scale {float(scale):g}, got {tile}")

    @property
    def device(self) -> torch.device:
        """The network's."""
        return self.model.device

    def placed(self, device: torch.device, dtype: torch.dtype) -> Tiled:
        """See Network."""
        return Tiled(self.model.placed(device, dtype), self.tile, self.scale)

    def check(self, size: Size, times: Sequence[float | Fraction] | None, frames: Size | None = None) -> None:
        """See Network."""
        for tile in set() if frames is None else {(y.end - y.begin, x.end - x.begin) for y, x in self.boxes(*frames)}:
            self.model.check(self._enlarged(tile), times, tile)

    def boxes(self, h: int, w: int) -> list[tuple[Span, Span]]:
        """The tiles of a frame, down and across."""
        return list(product(spans(h, self.tile, self.step), spans(w, self.tile, self.step)))

    def _cut(self, frames: Tensor) -> list[Tensor]:
        """[..., h, w] -> what each tile reads of it."""
        boxes = self.boxes(*frames.shape[-2:])
        return [frames[..., y.begin : y.end, x.begin : x.end] for y, x in boxes]

    def _enlarged(self, tile: Size) -> Size:
        return int(tile[0] * self.scale), int(tile[1] * self.scale)

    def known(self, frame: Tensor, size: Size | None = None) -> list[Any]:
        """What the network knows of each tile."""
        parts = self._cut(frame)
        return [
            self.model.known(p, None if size is None else self._enlarged((p.shape[-2], p.shape[-1]))) for p in parts
        ]

    def encode_pair(self, first: list[Any], second: list[Any]) -> list[Any]:
        """The features of each tile."""
        return [self.model.encode_pair(a, b) for a, b in zip(first, second, strict=True)]

    def query(self, features: list[Any], frames: Tensor, times: Times, size: Size, *, shared: None = None) -> Tensor:
        """See Network; `size` is `scale` times the frames'. Nothing is shared: it would hold a picture of each tile."""
        s = self.scale
        times = times_tensor(times, 1, frames)
        pictures = frames.new_empty(1, len(times), 3, *size)
        boxes = self.boxes(*frames.shape[-2:])
        for of_tile, part, (y, x) in zip(features, self._cut(frames), boxes, strict=True):
            tile = self.model.query(of_tile, part, times, self._enlarged((y.end - y.begin, x.end - x.begin)))
            (top, bottom), (left, right) = ((int(a.first * s), int(a.until * s)) for a in (y, x))
            inside = tile[..., top - int(y.begin * s) :, left - int(x.begin * s) :]
            pictures[..., top:bottom, left:right] = inside[..., : bottom - top, : right - left]
        return pictures
