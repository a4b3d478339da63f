"""A network on overlapping tiles of a frame, where all that it keeps of whole frames does not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import gcd, lcm
from typing import Any

import torch
from torch import Tensor

from vinr_engine import memory
from vinr_engine.errors import SourceError
from vinr_engine.memory import Need
from vinr_engine.models.network import Network, Size, Times, times_tensor

RAMP = 16
"""Input pixels, about, over which one tile's picture passes into the next one's."""


@dataclass(frozen=True)
class Span:
    """One axis of a tile: it reads pixels `begin` to `end` of the frame, and its picture counts from `first` to
    `until`; at each, where the frame goes on, over a ramp that is half before it and half behind."""

    begin: int
    end: int
    first: int
    until: int
    length: int

    def shares(self, scale: Fraction, like: Tensor) -> Tensor:
        """[n]: how much each of its output pixels counts; with all other tiles' they add up to one."""
        count = int((self.end - self.begin) * scale)
        at = self.begin + (torch.arange(count, dtype=torch.float64) + 0.5) / float(scale)
        one = torch.ones_like(at)
        risen = ((at - self.first) / RAMP + 0.5).clamp(0, 1) if self.first > 0 else one
        fallen = ((at - self.until) / RAMP + 0.5).clamp(0, 1) if self.until < self.length else 1 - one
        return (risen - fallen).to(like)


def spans(length: int, tile: int, step: int, reach: int) -> list[Span]:
    """Tiles that cover an axis, beginning at multiples of `step` and `tile` pixels long, but for the last; what counts
    of a tile lies at least `reach` from where it is cut. ValueError if tiles are too short for that."""
    if length <= tile:
        return [Span(0, length, 0, length, length)]
    if tile < least_tile(step, reach) or tile % step:
        raise ValueError(f"tiles must be multiples of {step} of at least {least_tile(step, reach)} pixels, got {tile}")
    stride = (tile - 2 * reach - RAMP) // step * step
    begins = list(range(0, length - tile + stride, stride))
    # neighbours meet in the middle of what both see
    seams = [right + (tile - stride) // 2 for right in begins[1:]]
    edges = zip(begins, [0, *seams], [*seams, length], strict=True)
    return [Span(begin, min(begin + tile, length), first, until, length) for begin, first, until in edges]


def least_tile(step: int, reach: int) -> int:
    """The shortest tile of which something counts."""
    return -(-(2 * reach + RAMP + step) // step) * step


def step_of(length: int, picture: int, grid: int = 1) -> int:
    """Pixels after which an axis of a frame lies on whole pixels of the picture again, and on the network's grid."""
    return lcm(length // gcd(length, picture), grid)


class Tiled(Network):
    """A network on tiles of a frame, one after another, for frames of one size and pictures of one size.

    To the network each tile is a frame of its own. What counts of it lies the network's `reach` from where it was cut,
    and passes into the next tile's over a ramp. Of the frames it keeps nothing but themselves: each query begins with
    them, and is best asked for `together` pictures. An axis whose lengths share no divisor is not cut.
    """

    def __init__(self, model: Network, tile: Size, frames: Size, size: Size, together: int = 1) -> None:
        self.together = together
        self.model, self.tile, self.frames, self.size, self.name = model, tile, frames, size, model.name
        self.reach, self.grid = model.reach, model.grid
        self.scales = tuple(Fraction(n, m) for n, m in zip(size, frames, strict=True))
        self.axes = [
            spans(length, side, step_of(length, picture, model.grid), self.reach)
            for length, picture, side in zip(frames, size, tile, strict=True)
        ]

    @property
    def device(self) -> torch.device:
        """The network's."""
        return self.model.device

    def placed(self, device: torch.device, dtype: torch.dtype) -> Tiled:
        """See Network."""
        return Tiled(self.model.placed(device, dtype), self.tile, self.frames, self.size, self.together)

    def need(self, frames: Size, size: Size) -> Need | None:
        """See Network: of the largest tile; its picture lies beside the whole one."""
        tile = (min(self.tile[0], frames[0]), min(self.tile[1], frames[1]))
        picture = self._enlarged(tile)
        own = self.model.need(tile, picture)
        return None if own is None else Need(0, 0, own.whole + 24 * picture[0] * picture[1])

    def check(self, size: Size, times: Sequence[float | Fraction] | None, frames: Size | None = None) -> None:
        """See Network."""
        for tile in {(y.end - y.begin, x.end - x.begin) for y, x in product(*self.axes)}:
            self.model.check(self._enlarged(tile), times, tile)

    def _enlarged(self, tile: Size) -> Size:
        y, x = self.scales
        return int(tile[0] * y), int(tile[1] * x)

    def encode_pair(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Both frames."""
        return first, second

    def query(self, features: Any, frames: Tensor, times: Times, size: Size, *, shared: None = None) -> Tensor:
        """See Network; `size` is the one given."""
        times = times_tensor(times, 1, frames)
        pictures = frames.new_zeros(1, len(times), 3, *size)
        for y, x in product(*self.axes):
            parts = [frame[..., y.begin : y.end, x.begin : x.end] for frame in features]
            tile = self._enlarged((y.end - y.begin, x.end - x.begin))
            known = [self.model.known(part, tile) for part in parts]
            of_pair = self.model.encode_pair(*known)
            pair = torch.stack(parts, 1)
            shared = self.model.shared(of_pair, pair, tile)
            down, across = (span.shares(scale, frames) for span, scale in zip((y, x), self.scales, strict=True))
            shares = down[:, None] * across
            top, left = int(y.begin * self.scales[0]), int(x.begin * self.scales[1])
            for picture, time in zip(pictures[0], times, strict=True):  # one by one: they hold the tile's maps
                found = self.model.query(of_pair, pair, time, tile, shared=shared)
                picture[:, top : top + tile[0], left : left + tile[1]] += found[0, 0] * shares
            del known, of_pair, shared
        return pictures


def tilings(model: Network, frames: Size, size: Size) -> Iterator[Tiled]:
    """A network on ever smaller tiles of frames: in strips of all columns, as long as they are no lower than wide tiles
    would be, then also in columns."""
    steps = [step_of(n, m, model.grid) for n, m in zip(frames, size, strict=True)]
    least = [min(n, least_tile(step, model.reach)) for n, step in zip(frames, steps, strict=True)]
    before, tile = None, list(frames)
    while True:
        axis = 0 if tile[0] > least[0] and (tile[0] >= tile[1] // 2 or tile[1] <= least[1]) else 1
        if tile[axis] <= least[axis]:
            return
        tile[axis] = max(least[axis], tile[axis] * 4 // 5 // steps[axis] * steps[axis])
        if (now := tuple(tile)) != before:
            before = now
            yield Tiled(model, (tile[0], tile[1]), frames, size)


def estimate(model: Network, frames: Size, size: Size, device: torch.device, double: bool = False) -> int | None:
    """Bytes that a run takes at most, in float64 if `double`; None where the network does not say what it needs."""
    need = model.need(frames, size)
    return None if need is None else memory.fixed(frames, size, device) + need.whole * (2 if double else 1)


def fitted(model: Network, frames: Size, size: Size, limit: int, device: torch.device, double: bool = False) -> Network:
    """The network, or it on tiles, the largest with which a run stays within `limit` bytes.

    What is left then goes to pictures that are made together. What it chooses follows from these arguments alone: a
    run that is taken up again within the same limit gives the same pictures. A network that does not say what it needs
    is left as it is. SourceError, naming the least that would do, where no tiles are small enough.
    """
    least = estimate(model, frames, size, device, double)
    if least is None or least <= limit:
        return model
    for tiled in tilings(model, frames, size):
        taken = estimate(tiled, frames, size, device, double)
        if taken is not None and taken <= limit:
            picture = (24 if double else 12) * size[0] * size[1]
            tiled.together += (limit - taken) // picture
            return tiled
        least = min(least, taken or least)
    raise SourceError(
        f"frames of {frames[1]}x{frames[0]} enlarged to {size[1]}x{size[0]} do not fit in {memory.text_of(limit)} of "
        f"memory: --memory {memory.text_of(least)} is the least that would do"
    )
