"""The network on overlapping tiles of a frame, for frames whose features do not fit in memory."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor, nn

from vinr_engine.errors import UsageError
from vinr_engine.evaluation.protocol import decimal

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


class Tiled(nn.Module):
    """A network with VideoINR's methods that runs it on tiles of at most `tile` pixels a side, one after another.

    The features of all tiles are joined along the batch. To the network each tile is a frame of its own, so that its
    picture differs a little from that of the whole frame. `scale` is exact: tiles lie on whole output pixels.
    Raises UsageError for tiles too small to overlap.
    """

    def __init__(self, model: Any, tile: int, scale: Fraction) -> None:
        super().__init__()
        self.model, self.scale = model, scale
        self.step = scale.denominator
        self.tile = tile // self.step * self.step
        least = 2 * MARGIN + 2 * self.step
        if self.tile < least:
            raise UsageError(f"--tile must be at least {least} pixels at scale {decimal(scale)}, got {tile}")

    def boxes(self, h: int, w: int) -> list[tuple[Span, Span]]:
        """The tiles of a frame, down and across."""
        return list(product(spans(h, self.tile, self.step), spans(w, self.tile, self.step)))

    def pyramid(self, frame: Tensor) -> list[Any]:
        """The pyramid of each tile of a frame [1, 3, h, w]."""
        boxes = self.boxes(*frame.shape[-2:])
        return [self.model.pyramid(frame[..., y.begin : y.end, x.begin : x.end]) for y, x in boxes]

    def encode_pyramids(self, first: list[Any], second: list[Any]) -> Tensor:
        """Features [tiles, ...]."""
        return torch.cat([self.model.encode_pyramids(a, b) for a, b in zip(first, second, strict=True)])

    def query(self, features: Tensor, frames: Tensor, times: Any, size: tuple[int, int]) -> Tensor:
        """frames [1, 2, 3, h, w] -> [1, T, 3, H, W]; see VideoINR.query. `size` is `scale` times the frames'."""
        s = self.scale
        pictures = frames.new_empty(1, len(times), 3, *size)
        for n, (y, x) in enumerate(self.boxes(*frames.shape[-2:])):
            shape = (int((y.end - y.begin) * s), int((x.end - x.begin) * s))
            part = frames[..., y.begin : y.end, x.begin : x.end]
            tile = self.model.query(features[n : n + 1], part, times, size=shape)
            (top, bottom), (left, right) = ((int(a.first * s), int(a.until * s)) for a in (y, x))
            inside = tile[..., top - int(y.begin * s) :, left - int(x.begin * s) :]
            pictures[..., top:bottom, left:right] = inside[..., : bottom - top, : right - left]
        return pictures
