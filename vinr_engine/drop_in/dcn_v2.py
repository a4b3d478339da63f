"""Modules of the DCNv2 extension, on `vinr_engine.ops`: for projects whose extension no longer compiles.

    from vinr_engine.drop_in.dcn_v2 import DCN, DCN_sep, DCNv2, dcn_v2_conv

Constructor arguments and parameter names (`weight`, `bias`, `conv_offset_mask`) are the extension's, so that
checkpoints load. They run wherever `vinr_engine.ops.deform_conv2d` does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vinr_engine.ops import deform_conv2d, deform_conv2d_packed
from vinr_engine.ops.checks import check

Size = int | tuple[int, int]


def _pair(value: Size) -> tuple[int, int]:
    y, x = (value, value) if isinstance(value, int) else value
    return y, x


def dcn_v2_conv(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    deformable_groups: int = 1,
) -> Tensor:
    """input [B, C, H_in, W_in], offset [B, 2*G*K, H, W], mask [B, G*K, H, W] -> [B, O, H, W].

    G is `deformable_groups` and K the number of taps; for the rest see `vinr_engine.ops.deform_conv2d`.
    Raises ValueError where shapes do not fit.
    """
    K = weight.shape[-2] * weight.shape[-1]
    channels = 2 * deformable_groups * K
    check(
        offset.dim() == 4 and offset.shape[1] == channels,
        "dcn_v2_conv",
        "offset must have 2*G*K = {} channels with G = {} deformable groups and K = {} taps, got {}",
        channels,
        deformable_groups,
        K,
        list(offset.shape),
    )
    return deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)


class DCNv2(nn.Module):
    """Modulated deformable convolution; offsets and masks are arguments of `forward`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Size,
        dilation: Size = 1,
        deformable_groups: int = 1,
    ) -> None:
        super().__init__()
        check(
            deformable_groups > 0 and in_channels % deformable_groups == 0,
            type(self).__name__,
            "in_channels must be a multiple of deformable_groups, got {} and {}",
            in_channels,
            deformable_groups,
        )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        self.deformable_groups = deformable_groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """input [B, C, H_in, W_in], offset [B, 2*G*K, H, W], mask [B, G*K, H, W] -> [B, O, H, W]"""
        pairs = self.stride, self.padding, self.dilation
        return dcn_v2_conv(input, offset, mask, self.weight, self.bias, *pairs, self.deformable_groups)


class _WithOffsets(DCNv2):
    """Computes offsets and mask logits by a convolution with the geometry of the deformable one."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Size,
        dilation: Size = 1,
        deformable_groups: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, deformable_groups)
        self.conv_offset_mask = nn.Conv2d(
            in_channels,
            3 * deformable_groups * self.kernel_size[0] * self.kernel_size[1],
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
        )
        self.init_offset()

    def init_offset(self) -> None:
        """Zeros: the regular grid, and every mask 1/2."""
        nn.init.zeros_(self.conv_offset_mask.weight)
        if self.conv_offset_mask.bias is not None:
            nn.init.zeros_(self.conv_offset_mask.bias)

    def _sample(self, input: Tensor, guide: Tensor) -> Tensor:
        device = input.device.type
        if torch.is_autocast_enabled(device):
            # Offsets in bfloat16 would be exact to 1/64 pixel only.
            with torch.autocast(device, enabled=False):
                offset_mask = self.conv_offset_mask(guide.to(self.conv_offset_mask.weight.dtype))
        else:
            offset_mask = self.conv_offset_mask(guide)
        pairs = self.stride, self.padding, self.dilation
        return deform_conv2d_packed(input, offset_mask, self.weight, self.bias, *pairs)


class DCN(_WithOffsets):
    """Deformable convolution whose offsets and masks come from its own input."""

    def forward(self, input: Tensor) -> Tensor:  # type: ignore[override]
        """input [B, C, H_in, W_in] -> [B, O, H, W]"""
        return self._sample(input, input)


class DCN_sep(_WithOffsets):  # noqa: N801, the extension's name
    """Deformable convolution whose offsets and masks come from a second input."""

    def forward(self, input: Tensor, fea: Tensor) -> Tensor:  # type: ignore[override]
        """input [B, C, H_in, W_in], fea [B, C, H_in, W_in] -> [B, O, H, W]"""
        return self._sample(input, fea)
