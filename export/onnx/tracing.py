"""Operations that a graph is traced with as they are; lowering.py has the nodes of each.

torch.export would work out every shape inside them, and again when it takes them apart for ONNX, which has a node for
each: most of the time of an export with sizes left open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


def operation(fake: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Makes a function an operation of graphs; `fake` gives empty outputs for the same arguments."""

    def register(function: Callable[..., Any]) -> Any:
        made = torch.library.custom_op(f"vinr_export::{function.__name__}", function, mutates_args=())
        made.register_fake(fake)
        return made

    return register


def _same_shape(input: Tensor, *_: Any) -> Tensor:
    return input.new_empty(input.shape)


def _empty_conv2d(input: Tensor, weight: Tensor, bias: Tensor | None, stride: int, _: int) -> Tensor:
    return input.new_empty(input.shape[0], weight.shape[0], *(n // stride for n in input.shape[2:]))


@operation(_empty_conv2d)
def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """`F.conv2d` that keeps the size, but for a stride, of which sides must be multiples."""
    return F.conv2d(input, weight, bias, stride, padding)


@operation(_same_shape)
def average(input: Tensor, height: int, width: int) -> Tensor:
    """The mean over height x width pixels around each, both odd; at the edges over those there are."""
    return F.avg_pool2d(input, (height, width), 1, (height // 2, width // 2), count_include_pad=False)


@operation(_same_shape)
def leaky_relu(input: Tensor, slope: float) -> Tensor:
    return F.leaky_relu(input, slope)


@operation(lambda input, height, width: input.new_empty(*input.shape[:2], height, width))
def resize(input: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, pixel centres at whole numbers and a half, edges repeated."""
    return F.interpolate(input, (height, width), mode="bilinear", align_corners=False)


@operation(lambda input: input.new_empty(*input.shape[:2], *(2 * n for n in input.shape[2:])))
def doubled(input: Tensor) -> Tensor:
    """`resize` to twice the size."""
    return F.interpolate(input, scale_factor=2, mode="bilinear", align_corners=False)


@operation(lambda maps, grid, *_: maps.new_empty(*maps.shape[:2], *grid.shape[1:3]))
def sample(maps: Tensor, grid: Tensor, outside: str = "zeros") -> Tensor:
    """GridSample of ONNX: maps [B, C, H, W] and a grid [B, H', W', 2] (x, y) that may differ in dtype.

    Bilinear, align_corners=False; `outside` is "zeros" or "border". A float16 grid could not tell the pixels of a large
    map apart.
    """
    return F.grid_sample(maps.to(grid.dtype), grid, "bilinear", outside, align_corners=False).to(maps.dtype)


@operation(lambda phases, parameters: phases.new_empty(phases.shape[0], parameters[-1].shape[0], *phases.shape[2:]))
def layers(phases: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The layers of a query network after the first, which gave `phases` [N, X, H, W]: [N, D, H, W].

    parameters: weight [D, X] and bias [D] of each in turn, in the dtype of phases. Sines are of float32.
    """
    z = phases.permute(0, 2, 3, 1)
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        z = F.linear(torch.sin(z.float()).to(weight.dtype), weight, bias)
    return z.permute(0, 3, 1, 2).contiguous()


@operation(lambda weight, input: input.new_empty(input.shape[0], weight.shape[0], input.shape[2]))
def mix(weight: Tensor, input: Tensor) -> Tensor:
    """A layer without bias at every position: weight [D, X], input [N, X, P] -> [N, D, P]."""
    return torch.matmul(weight, input)


def _scattered(start: Tensor, to: Tensor, rows: Tensor, reduce: str) -> Tensor:
    """Rows beyond the last of `start` are left out: one more takes them."""
    with_one_more = torch.cat([start, start.new_zeros(1, start.shape[1])])
    index = to.clamp(max=len(start))[:, None].expand(-1, start.shape[1])
    return with_one_more.scatter_reduce(0, index, rows, reduce)[:-1].clone()


@operation(lambda start, *_: start.new_empty(start.shape))
def scatter_sum(start: Tensor, to: Tensor, rows: Tensor) -> Tensor:
    """start [N, C], with rows [M, C] added where `to` [M] says, N for nowhere."""
    return _scattered(start, to, rows, "sum")


@operation(lambda start, *_: start.new_empty(start.shape))
def scatter_most(start: Tensor, to: Tensor, rows: Tensor) -> Tensor:
    """The larger of start [N, C] and all rows [M, C] where `to` [M] puts them, N for nowhere."""
    return _scattered(start, to, rows, "amax")


def _empty_query(maps: Tensor, colours: Any, times: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    *_, flow_widths, encode_widths, _, HH, WW = rest
    image, flow = (times.new_empty(1, times.shape[0], widths[-1], HH, WW) for widths in (encode_widths, flow_widths))
    return image, flow


@operation(_empty_query)
def inr_query(
    maps: Tensor,
    colours: Tensor | None,
    times: Tensor,
    lr_size: Tensor,
    size: Tensor,
    parameters: Sequence[Tensor],
    feat_widths: Sequence[int],
    flow_widths: Sequence[int],
    encode_widths: Sequence[int],
    omega: float,
    HH: int,
    WW: int,
) -> tuple[Tensor, Tensor]:
    """`vinr::inr_query` of one pair: colour [1, T, 3, HH, WW] and flow [1, T, 4, HH, WW], float32.

    Sizes are tensors too, so that a graph may compute them: lr_size [2], and size [2], which HH and WW repeat.
    maps [1, h', w', M], colours [1, u h', u w', 8] or None, times [T]; parameters: weight [D, X] and bias [D] of each
    layer of each network in turn, or one flat tensor of them all; widths: of a network's input and of its layers.
    """
    flat = torch.cat([p.float().flatten() for p in parameters])
    networks: list[list[Tensor]] = []
    for widths in (feat_widths, flow_widths, encode_widths):
        networks.append([])
        for a, b in pairwise(widths):
            weight, bias, flat = flat.split([a * b, b, len(flat) - a * b - b])
            networks[-1] += [weight.view(b, a), bias]
    u = 1 if colours is None else colours.shape[1] // maps.shape[1]
    wide, lr = None if colours is None else colours.float(), [int(n) for n in lr_size]
    return torch.ops.vinr.inr_query(maps.float(), wide, times[:, None], lr, [HH, WW], u, *networks, omega, "ieee")


def _conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    stride, padding, dilation = (_same(n) for n in (stride, padding, dilation))
    kernel = _same(weight.shape[2:])
    if None in (stride, padding) or dilation != 1 or groups != 1 or kernel != 2 * padding + 1:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return conv2d(input, weight, bias, stride, padding)


def _same(numbers: Any) -> Any:
    """The number that a sequence repeats, or the number itself; None where they differ."""
    if not isinstance(numbers, Sequence):
        return numbers
    return numbers[0] if len(set(numbers)) == 1 else None


def _interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    **options: Any,
) -> Tensor:  # fmt: skip
    if mode != "bilinear" or align_corners or any(options.values()):
        return F.interpolate(input, size, scale_factor, mode, align_corners, **options)
    if scale_factor == 2:
        return doubled(input)
    height, width = (scale_factor * n for n in input.shape[2:]) if size is None else size
    return resize(input, height, width)


def _avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    if stride != 1 or count_include_pad or tuple(2 * n + 1 for n in padding) != tuple(kernel_size):
        return F.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad)
    return average(input, *kernel_size)


def _grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    assert mode == "bilinear"
    assert not align_corners
    return sample(input, grid, padding_mode)


FUNCTIONS: dict[Any, Callable[..., Tensor]] = {
    F.avg_pool2d: _avg_pool2d,
    F.conv2d: _conv2d,
    F.grid_sample: _grid_sample,
    F.interpolate: _interpolate,
    F.leaky_relu: lambda input, negative_slope=0.01, inplace=False: leaky_relu(input, negative_slope),
    F.relu: lambda input, inplace=False: torch.relu(input),
    Tensor.add_: torch.add,
}


class Coarse(TorchFunctionMode):
    """Inside it, functions of torch are traced as the operations above, and none works in place.

    For networks that use what an operation in place returns, and not its argument.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return FUNCTIONS.get(func, func)(*args, **(kwargs or {}))
