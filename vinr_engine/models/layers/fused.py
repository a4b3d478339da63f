"""Residual blocks for inference on a CPU: activation and sum inside the convolutions, and no new memory for the sum.

The ops are oneDNN's convolutions with post-ops, which torch.compile emits too. Torch names them with an underscore:
what is not exactly the case that they are tested for takes the plain path.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_OPS: Any = tuple(
    getattr(torch.ops.mkldnn, name, None) for name in ("_convolution_pointwise", "_convolution_pointwise_")
)
_GEOMETRY: Any = ([1, 1], [1, 1], [1, 1], 1)  # padding, stride, dilation, groups


def can_run(x: Tensor, conv: nn.Conv2d) -> bool:
    """Whether `residual_block` serves for x and blocks whose convolutions are like `conv`."""
    return bool(
        not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and not torch._C._get_tracing_state()
        and not torch.is_autocast_enabled(x.device.type)
        and None not in _OPS
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and type(x) is Tensor
        and isinstance(conv.weight, nn.Parameter)
        and x.device.type == conv.weight.device.type == "cpu"
        and x.dtype == conv.weight.dtype == torch.float32
        and x.numel() > 0
    )


def residual_block(x: Tensor, conv1: nn.Conv2d, conv2: nn.Conv2d, inplace: bool) -> Tensor:
    """x + conv2(relu(conv1(x))), written over x if `inplace`."""
    pointwise, pointwise_ = _OPS
    branch = pointwise(x, conv1.weight, conv1.bias, *_GEOMETRY, "relu", [], "")
    add: Any = (conv2.weight, conv2.bias, *_GEOMETRY, "add", None, None, [], None)
    return pointwise_.binary(x, branch, *add) if inplace else pointwise.binary(branch, x, *add)
