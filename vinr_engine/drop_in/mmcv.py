"""Deformable convolutions of mmcv.ops, on `vinr_engine.ops`: for projects without mmcv's compiled extension.

    from vinr_engine.drop_in.mmcv import DeformConv2d, DeformConv2dPack, deform_conv2d
    from vinr_engine.drop_in.mmcv import ModulatedDeformConv2d, ModulatedDeformConv2dPack, modulated_deform_conv2d

Constructor arguments and parameter names (`weight`, `bias`, `conv_offset.weight`, `conv_offset.bias`) are mmcv's, so
that checkpoints load. They run wherever `vinr_engine.ops.deform_conv2d` does. `deform_groups` may be given under its
older name too, `deformable_groups`. `im2col_step`, which says how mmcv divides batches, changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine import ops
from vinr_engine.ops.checks import check, check_rank

Size = int | tuple[int, int]


def _pair(value: Size) -> tuple[int, int]:
    y, x = (value, value) if isinstance(value, int) else value
    return y, x


def _check(op: str, input: Tensor, offset: Tensor, weight: Tensor, groups: int, deform_groups: int) -> None:
    """Groups, which the op derives from shapes. Raises ValueError."""
    for name, tensor, meaning in (
        ("input", input, "[B, C, H, W]"),
        ("offset", offset, "[B, 2*G*K, H, W]"),
        ("weight", weight, "[O, C/groups, kh, kw]"),
    ):
        check_rank(op, name, tensor, meaning)
    C, needed = input.shape[1], weight.shape[1] * groups
    check(needed == C, op, "input must have {} channels with weight {} and groups {}, got {}", needed,
          list(weight.shape), groups, list(input.shape))  # fmt: skip
    K = weight.shape[2] * weight.shape[3]
    channels = 2 * deform_groups * K
    check(offset.shape[1] == channels, op, "offset must have 2*G*K = {} channels with G = {} deform_groups and K = {} "
          "taps, got {}", channels, deform_groups, K, list(offset.shape))  # fmt: skip


def modulated_deform_conv2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """DCNv2: input [B, C, H_in, W_in], offset [B, 2*G*K, H, W], mask [B, G*K, H, W] -> [B, O, H, W].

    G is `deform_groups` and K the number of taps; offset holds (dy, dx) of each group and tap. See
    `vinr_engine.ops.deform_conv2d`. Raises ValueError where shapes do not fit.
    """
    _check("modulated_deform_conv2d", input, offset, weight, groups, deform_groups)
    return ops.deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    deform_groups: int = 1,
    bias: bool = False,
    im2col_step: int = 32,
) -> Tensor:
    """DCNv1, without a mask: input [B, C, H_in, W_in], offset [B, 2*G*K, H, W] -> [B, O, H, W].

    There is no bias, as in mmcv. Raises ValueError where shapes do not fit, or for a bias.
    """
    check(not bias, "deform_conv2d", "bias must be False, got {}", bias)
    _check("deform_conv2d", input, offset, weight, groups, deform_groups)
    return ops.deform_conv2d(input, offset, weight, None, stride, padding, dilation)


class _Deformable(nn.Module):
    """Geometry and weight, as all of mmcv's modules have them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Size,
        dilation: Size,
        groups: int,
        deform_groups: int,
        deformable_groups: int | None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if deformable_groups is not None:
            check(deform_groups in (1, deformable_groups), name, "deform_groups must be given under one name, got {} "
                  "and deformable_groups {}", deform_groups, deformable_groups)  # fmt: skip
            deform_groups = deformable_groups
        for what, parts in (("groups", groups), ("deform_groups", deform_groups)):
            check(parts > 0 and in_channels % parts == 0, name, "in_channels must be a multiple of {}, got {} and {}",
                  what, in_channels, parts)  # fmt: skip
        check(out_channels % groups == 0, name, "out_channels must be a multiple of groups, got {} and {}",
              out_channels, groups)  # fmt: skip
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        self.groups = groups
        self.deform_groups = deform_groups
        self.transposed = False  # mmcv's tools, which know modules by these, take it for a convolution
        self.output_padding = (0, 0)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))

    def _new_conv_offset(self, parts: int) -> nn.Conv2d:
        """A convolution of this geometry for `parts` numbers of each group and tap; of zeros, as mmcv begins with."""
        channels = parts * self.deform_groups * self.kernel_size[0] * self.kernel_size[1]
        pairs = self.kernel_size, self.stride, self.padding, self.dilation
        conv = nn.Conv2d(self.in_channels, channels, *pairs)
        for parameter in conv.parameters():
            nn.init.zeros_(parameter)
        return conv

    @property
    def _geometry(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        return self.stride, self.padding, self.dilation

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}, "
            f"deform_groups={self.deform_groups}"
        )


def _offsets(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """What the convolution gives, in float32 under autocast: bfloat16 would be exact to 1/64 pixel only."""
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        out: Tensor = conv(x)
        return out
    with torch.autocast(device, enabled=False):
        out = conv(x.to(conv.weight.dtype))
        return out


def _rename(state_dict: dict[str, Any], prefix: str) -> None:
    for name in ("weight", "bias"):
        new, old = f"{prefix}conv_offset.{name}", f"{prefix[:-1]}_offset.{name}"
        if new not in state_dict and old in state_dict:
            state_dict[new] = state_dict.pop(old)


def with_new_names(network: nn.Module, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint of before mmcv 1.0 under the names that `network.load_state_dict` looks for.

    There the convolution that makes the offsets of a pack named `conv2` stands beside it, as `conv2_offset`. Other
    entries stay as they are; so does a newer checkpoint.
    """
    renamed = dict(state_dict)
    for name, module in network.named_modules():
        if isinstance(module, _WithOffsets):
            _rename(renamed, f"{name}." if name else "")
    return renamed


class _WithOffsets(_Deformable):
    """Those whose offsets come from a convolution of their own, `conv_offset`."""

    _version = 2

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *others: Any
    ) -> None:
        """Loaders that show a module the whole checkpoint, as mmengine's does, need no `with_new_names`."""
        if (local_metadata.get("version") or 1) < 2:
            _rename(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)


class DeformConv2d(_Deformable):
    """Deformable convolution (DCNv1); offsets are an argument of `forward`. It has no bias, as in mmcv."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = False,
        im2col_step: int = 32,
        *,
        deformable_groups: int | None = None,
    ) -> None:
        sizes = in_channels, out_channels, kernel_size, stride, padding, dilation
        super().__init__(*sizes, groups, deform_groups, deformable_groups)
        check(not bias, type(self).__name__, "bias must be False, got {}", bias)
        self.im2col_step = im2col_step
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """x [B, C, H_in, W_in], offset [B, 2*G*K, H, W] -> [B, O, H, W]. An x smaller than the kernel is taken too: it
        and the offsets get zeros below and to the right, which the result loses again."""
        missing = [max(k - n, 0) for k, n in zip(self.kernel_size, x.shape[2:], strict=True)]
        if any(missing):
            x, offset = (F.pad(t, (0, missing[1], 0, missing[0])) for t in (x, offset))
        out = deform_conv2d(x, offset, self.weight, *self._geometry, self.groups, self.deform_groups)
        return out[:, :, : out.shape[2] - missing[0], : out.shape[3] - missing[1]]


class DeformConv2dPack(_WithOffsets, DeformConv2d):
    """`DeformConv2d` whose offsets come from its input."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conv_offset = self._new_conv_offset(2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """x [B, C, H_in, W_in] -> [B, O, H, W]"""
        offset = _offsets(self.conv_offset, x)
        return deform_conv2d(x, offset, self.weight, *self._geometry, self.groups, self.deform_groups)


class ModulatedDeformConv2d(_Deformable):
    """Modulated deformable convolution (DCNv2); offsets and masks are arguments of `forward`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool | str = True,
        *,
        deformable_groups: int | None = None,
    ) -> None:
        sizes = in_channels, out_channels, kernel_size, stride, padding, dilation
        super().__init__(*sizes, groups, deform_groups, deformable_groups)
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.init_weights()

    def init_weights(self) -> None:
        bound = 1 / math.sqrt(self.in_channels * self.kernel_size[0] * self.kernel_size[1])
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """x [B, C, H_in, W_in], offset [B, 2*G*K, H, W], mask [B, G*K, H, W] -> [B, O, H, W]"""
        groups = self.groups, self.deform_groups
        return modulated_deform_conv2d(x, offset, mask, self.weight, self.bias, *self._geometry, *groups)


class ModulatedDeformConv2dPack(_WithOffsets, ModulatedDeformConv2d):
    """`ModulatedDeformConv2d` whose offsets, and masks before a sigmoid, come from its input."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conv_offset = self._new_conv_offset(3)

    def init_weights(self) -> None:
        super().init_weights()
        if hasattr(self, "conv_offset"):
            for parameter in self.conv_offset.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """x [B, C, H_in, W_in] -> [B, O, H, W]"""
        offset_mask = _offsets(self.conv_offset, x)
        return ops.deform_conv2d_packed(x, offset_mask, self.weight, self.bias, *self._geometry)
