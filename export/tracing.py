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


@torch.library.custom_op("vinr_export::conv2d", mutates_args=())
def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """`F.conv2d` that keeps the size, but for a stride, of which sides must be multiples."""
    return F.conv2d(input, weight, bias, stride, padding)


@conv2d.register_fake
def _conv2d_fake(input: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    B, _, H, W = input.shape
    return input.new_empty(B, weight.shape[0], H // stride, W // stride)


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


@torch.library.custom_op("vinr_export::dense", mutates_args=())
def dense(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A layer at every position, the last dimension its channels: input [P, X], weight [D, X], bias [D] -> [P, D]."""
    return F.linear(input, weight, bias)


@dense.register_fake
def _dense_fake(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return input.new_empty(input.shape[0], weight.shape[0])


@torch.library.custom_op("vinr_export::mix", mutates_args=())
def mix(weight: Tensor, input: Tensor) -> Tensor:
    """The same with channels before positions: weight [D, X], input [N, X, P] -> [N, D, P]."""
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


def _interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    **options: Any,
) -> Tensor:  # fmt: skip
    if mode != "bilinear" or align_corners or any(options.values()):
        return F.interpolate(input, size, scale_factor, mode, align_corners, **options)
    height, width = (scale_factor * n for n in input.shape[2:]) if size is None else size
    return resize(input, height, width)


def _leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return leaky_relu(input, negative_slope)


def _relu(input: Tensor, inplace: bool = False) -> Tensor:
    return torch.relu(input)


FUNCTIONS: dict[Any, Callable[..., Tensor]] = {
    F.conv2d: _conv2d,
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
