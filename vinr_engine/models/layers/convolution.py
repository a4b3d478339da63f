"""3x3 convolutions with what surrounds them: a join before, a sum and an activation after.

On CPUs all of it is one op, `vinr_engine.ops.conv3x3`; elsewhere, and in graphs that leave for other runtimes, it is
PyTorch's own ones in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine import backends
from vinr_engine.ops.conv3x3 import CONV3X3, OP, conv3x3, conv3x3_into
from vinr_engine.ops.project_maps import project_maps

LEAST_PIXELS = 300  # of all pictures of a batch: on fewer, the weights' transform takes longer than it saves


def is_fused(x: Tensor) -> bool:
    """Whether maps of the size of x are convolved by `conv3x3`."""
    return bool(
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and (x.dtype == torch.float32 or torch.is_autocast_enabled("cpu"))
        and x.numel() >= LEAST_PIXELS * x.shape[1]
        and backends.chosen() in ("auto", "cpu")
        and OP in CONV3X3.torch_ops
        and not CONV3X3.refusal("cpu", (x,))
        and not torch.compiler.is_exporting()
        and not torch._C._get_tracing_state()
    )


def is_fused_inference(x: Tensor) -> bool:
    """Whether, besides, no gradient is wanted and no graph is made: ops without either may run."""
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling() and is_fused(x)


def convolve(
    conv: nn.Module, *maps: Tensor, slope: float = 1.0, add: Tensor | None = None, rounds: bool = False
) -> Tensor:
    """A 3x3 convolution of stride 1, with what surrounds it.

    Args:
        conv: its weight and bias.
        maps: [B, C_i, h, w], joined along channels.
        slope: what is not positive is multiplied by it; 1 for no activation.
        add: [B, O, h, w], added before the activation.
        rounds: whether autocast on a CPU rounds the operands of its products, which makes it 1.6x as fast. Where
            errors reach the result as they are, as those of a recurrent state's gates do, it should not.

    Returns:
        [B, O, h, w]
    """
    assert isinstance(conv, nn.Conv2d)
    return _convolve(maps, conv.weight, conv.bias, slope, add, rounds)


def share(
    conv: nn.Module, x: Tensor, side: int, slope: float = 1.0, add: Tensor | None = None, rounds: bool = False
) -> Tensor:
    """What x, as one side (0 or 1) of two joined inputs, adds to a convolution; the bias comes with side 0. Then as of
    `convolve`."""
    assert isinstance(conv, nn.Conv2d)
    return _convolve([x], conv.weight.chunk(2, 1)[side], conv.bias if side == 0 else None, slope, add, rounds)


def _convolve(
    maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None, slope: float, add: Tensor | None, rounds: bool = False
) -> Tensor:
    if is_fused(maps[0]):
        if rounds or not torch.is_autocast_enabled("cpu"):
            return conv3x3(maps, weight, bias, add, slope)
        with torch.autocast("cpu", enabled=False):
            return conv3x3([m.float() for m in maps], weight, bias, None if add is None else add.float(), slope)
    out = F.conv2d(maps[0] if len(maps) == 1 else torch.cat(list(maps), 1), weight, bias, padding=1)
    if add is not None:
        out = out.to(add.dtype).add_(add)
    if slope == 0:
        return F.relu(out, inplace=True)
    return out if slope == 1 else F.leaky_relu(out, slope, inplace=True)


def pointwise(conv: nn.Conv2d, *maps: Tensor) -> Tensor:
    """A 1x1 convolution of maps [B, C_i, h, w], joined; on CPUs never rounded.

    Returns:
        [B, O, h, w]
    """
    if not is_fused_inference(maps[0]):
        return conv(torch.cat(maps, 1))
    out = project_maps([m.float() for m in maps], conv.weight.flatten(1))
    return (out if conv.bias is None else out.add_(conv.bias)).permute(0, 3, 1, 2)


def new_maps(like: Tensor, *sizes: int) -> Tensor:
    """Uninitialised [B, C, h, w], channels-last, of the dtype of `like`, in memory that earlier results left: where
    `is_fused_inference`."""
    out: Tensor = torch.ops.vinr.new_maps(like, sizes)
    return out


def residual_blocks(x: Tensor, convs: Sequence[tuple[nn.Conv2d, nn.Conv2d]], out: Tensor | None = None) -> Tensor:
    """x + conv2(relu(conv1(x))), again and again, in two maps of memory, one of them `out`: where
    `is_fused_inference(x)`."""
    like = convs[0][0].weight
    branch = new_maps(like, *x.shape)
    if out is None:
        out = new_maps(like, *x.shape)
    for conv1, conv2 in convs:
        conv3x3_into(branch, [x], conv1.weight, conv1.bias, slope=0.0)
        conv3x3_into(out, [branch], conv2.weight, conv2.bias, add=x)
        x = out
    return x
