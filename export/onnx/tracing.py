"""Operations that a graph is traced with as they are.

torch.export would work out every shape inside them, and again when it takes them apart for ONNX, which has a node for
each: most of the time of an export with sizes left open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vinr_engine.export.onnx.sampling import sample


@torch.library.custom_op("vinr_export::conv2d", mutates_args=())
def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """`F.conv2d` that keeps the size, but for a stride, of which sides must be multiples."""
    return F.conv2d(input, weight, bias, stride, padding)


@conv2d.register_fake
def _conv2d_fake(input: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    B, _, H, W = input.shape
    return input.new_empty(B, weight.shape[0], H // stride, W // stride)


@torch.library.custom_op("vinr_export::average", mutates_args=())
def average(input: Tensor, height: int, width: int) -> Tensor:
    """The mean over height x width pixels around each, both odd; at the edges over those there are."""
    return F.avg_pool2d(input, (height, width), 1, (height // 2, width // 2), count_include_pad=False)


@average.register_fake
def _average_fake(input: Tensor, height: int, width: int) -> Tensor:
    return input.new_empty(input.shape)


@torch.library.custom_op("vinr_export::leaky_relu", mutates_args=())
def leaky_relu(input: Tensor, slope: float) -> Tensor:
    """`F.leaky_relu`"""
    return F.leaky_relu(input, slope)


@leaky_relu.register_fake
def _leaky_relu_fake(input: Tensor, slope: float) -> Tensor:
    return input.new_empty(input.shape)


@torch.library.custom_op("vinr_export::resize", mutates_args=())
def resize(input: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, pixel centres at whole numbers and a half, edges repeated."""
    return F.interpolate(input, (height, width), mode="bilinear", align_corners=False)


@resize.register_fake
def _resize_fake(input: Tensor, height: int, width: int) -> Tensor:
    return input.new_empty(input.shape[0], input.shape[1], height, width)


@torch.library.custom_op("vinr_export::layers", mutates_args=())
def layers(phases: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The layers of a query network after the first, which gave `phases` [N, X, H, W]: [N, D, H, W].

    parameters: weight [D, X] and bias [D] of each in turn, in the dtype of phases. Sines are of float32.
    """
    z = phases.permute(0, 2, 3, 1)
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        z = F.linear(torch.sin(z.float()).to(weight.dtype), weight, bias)
    return z.permute(0, 3, 1, 2).contiguous()


@layers.register_fake
def _layers_fake(phases: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    N, _, H, W = phases.shape
    return phases.new_empty(N, parameters[-1].shape[0], H, W)


@torch.library.custom_op("vinr_export::mix", mutates_args=())
def mix(weight: Tensor, input: Tensor) -> Tensor:
    """A layer without bias at every position: weight [D, X], input [N, X, P] -> [N, D, P]."""
    return torch.matmul(weight, input)


@mix.register_fake
def _mix_fake(weight: Tensor, input: Tensor) -> Tensor:
    return input.new_empty(input.shape[0], weight.shape[0], input.shape[2])


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


@torch.library.custom_op("vinr_export::doubled", mutates_args=())
def doubled(input: Tensor) -> Tensor:
    """`resize` to twice the size."""
    return F.interpolate(input, scale_factor=2, mode="bilinear", align_corners=False)


@doubled.register_fake
def _doubled_fake(input: Tensor) -> Tensor:
    B, C, H, W = input.shape
    return input.new_empty(B, C, 2 * H, 2 * W)


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


def _leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return leaky_relu(input, negative_slope)


def _relu(input: Tensor, inplace: bool = False) -> Tensor:
    return torch.relu(input)


FUNCTIONS: dict[Any, Callable[..., Tensor]] = {
    F.avg_pool2d: _avg_pool2d,
    F.conv2d: _conv2d,
    F.grid_sample: _grid_sample,
    F.interpolate: _interpolate,
    F.leaky_relu: _leaky_relu,
    F.relu: _relu,
    Tensor.add_: torch.add,
}


class Coarse(TorchFunctionMode):
    """Inside it, functions of torch are traced as the operations above, and none works in place.

    For networks that use what an operation in place returns, and not its argument.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return FUNCTIONS.get(func, func)(*args, **(kwargs or {}))
