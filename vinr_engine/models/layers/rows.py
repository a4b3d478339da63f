"""Layers whose rows come in bands, from the top of a map to its end, so that no whole map lies between two layers.

Each layer keeps the last rows that it will read again: nothing is computed twice, and what comes out is what the whole
map gives, but for rounding. Bands stay in the caches, and their memory does not grow with the map. For inference.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vinr_engine.models.layers.blocks import ResidualBlocks
from vinr_engine.models.layers.convolution import convolve, is_fused_inference, new_maps
from vinr_engine.ops.conv3x3 import conv3x3_into


def take_bands() -> bool:
    """Whether no gradient is wanted, and no graph made: rows may be written one after another."""
    return not (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch.compiler.is_exporting()
        or torch._C._get_tracing_state()
    )


def new_buffer(like: Tensor, channels: int, rows: int, width: int) -> Tensor:
    """[1, channels, rows, width], uninitialised and channels-last."""
    if is_fused_inference(like):
        return new_maps(like, 1, channels, rows, width)
    return like.new_empty(1, rows, width, channels).permute(0, 3, 1, 2)


def convolve_rows(
    conv: nn.Module,
    x: Tensor,
    first: int,
    out: Tensor,
    slope: float = 1.0,
    add: Tensor | None = None,
    rounds: bool = False,
) -> None:
    """Rows of `convolve`, as many as `out` and `add` have from row `first` of x on, into `out`, which may be `add`."""
    assert isinstance(conv, nn.Conv2d)
    if is_fused_inference(x):
        rounded = torch.is_autocast_enabled("cpu") and rounds
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            conv3x3_into(out, [x], conv.weight, conv.bias, add, slope, first)
        return
    found = convolve(conv, x)[:, :, first : first + out.shape[2]]
    if add is not None:
        found = found.to(add.dtype) + add
    out.copy_(found if slope == 1 else torch.where(found > 0, found, slope * found))


class Neighbours:
    """The rows of a map that a layer which reads `radius` rows above and below needs once more.

    New rows are written into `room`, behind those kept; `advance` gives them all, and says which results they allow.
    """

    def __init__(self, radius: int, height: int) -> None:
        self.radius, self.height = radius, height
        self.seen = 0  # rows of the map that came
        self.done = 0  # rows of the result that they allowed
        self._kept: Tensor | None = None

    @property
    def top(self) -> int:
        """The first row kept."""
        return max(0, self.done - self.radius)

    def room(self, buffer: Tensor, rows: int) -> Tensor:
        """Where in `buffer` the next rows of the map go."""
        before = self.seen - self.top
        if self._kept is not None and before:
            buffer[:, :, :before] = self._kept
        return buffer[:, :, before : before + rows]

    def advance(self, buffer: Tensor, rows: int) -> tuple[Tensor, int, int]:
        """After `rows` more: the rows of the map there are, and which of the result, first and last, can be had now;
        both count from the first row there is."""
        top, first = self.top, self.done
        self.seen += rows
        self.done = self.height if self.seen == self.height else max(first, self.seen - self.radius)
        window = buffer[:, :, : self.seen - top]
        self._kept = window[:, :, self.top - top :].clone()
        return window, first - top, self.done - top


class ResidualRows:
    """A chain of residual blocks, as `ResidualBlocks`, for rows that come in bands."""

    def __init__(self, blocks: ResidualBlocks, height: int, after: Neighbours) -> None:
        """`after` is what reads the result."""
        self.convs = blocks.convs()
        self._first, self._second = ([Neighbours(1, height) for _ in self.convs] for _ in range(2))
        self._after = after

    @property
    def entry(self) -> Neighbours:
        """Where rows go in."""
        return self._first[0] if self._first else self._after

    @property
    def delay(self) -> int:
        """Rows by which results are behind."""
        return 2 * len(self.convs)

    def __call__(self, x: Tensor, rows: int, spare: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
        """`rows` new rows in the room of `entry` in x -> the buffer, x or one of `spare`, in whose room of `after` the
        results lie, and how many they are."""
        middle, out = spare
        followers = [*self._first[1:], self._after]
        for (conv1, conv2), one, two, following in zip(self.convs, self._first, self._second, followers, strict=True):
            if rows == 0:
                return x, 0
            top, begin = one.top, two.done
            window, first, last = one.advance(x, rows)
            if last > first:
                convolve_rows(conv1, window, first, two.room(middle, last - first), slope=0.0, rounds=True)
            inner, start, stop = two.advance(middle, last - first)
            rows = stop - start
            if rows > 0:
                own = window[:, :, begin - top : begin - top + rows]
                convolve_rows(conv2, inner, start, following.room(out, rows), add=own, rounds=True)
            x, out = out, x
        return x, rows
