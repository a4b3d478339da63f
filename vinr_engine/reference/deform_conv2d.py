"""Modulated deformable convolution (Zhu et al., "Deformable ConvNets v2", CVPR 2019) in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from vinr_engine.reference.sampling import sample_bilinear


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """See `vinr_engine.ops.deform_conv2d`; arguments are taken as checked."""
    B, C, H, W = input.shape
    O, _, kh, kw = weight.shape
    K = kh * kw
    oh, ow = offset.shape[-2:]
    G = offset.shape[1] // (2 * K)
    coordinates = torch.float64 if offset.dtype == torch.float64 else torch.float32
    row, column = (
        torch.arange(n, device=input.device, dtype=coordinates) * s - p
        for n, s, p in zip((oh, ow), stride, padding, strict=True)
    )
    tap_y, tap_x = (
        torch.arange(k, device=input.device, dtype=coordinates) * d for k, d in zip((kh, kw), dilation, strict=True)
    )
    offset = offset.reshape(B * G, K, 2, oh, ow).to(coordinates)
    y = offset[:, :, 0] + tap_y.repeat_interleave(kw).reshape(K, 1, 1) + row.reshape(oh, 1)  # [B*G, K, oh, ow]
    x = offset[:, :, 1] + tap_x.repeat(kh).reshape(K, 1, 1) + column
    columns = sample_bilinear(input.reshape(B * G, C // G, H, W), y, x)  # [B*G, C/G, K, oh, ow]
    if mask is not None:
        columns = columns * mask.reshape(B * G, 1, K, oh, ow).to(columns.dtype)
    groups = C // weight.shape[1]
    columns = columns.reshape(B, groups, C // groups * K, oh * ow)
    out = torch.einsum("gok,bgkp->bgop", weight.reshape(groups, O // groups, -1), columns).reshape(B, O, oh, ow)
    return out if bias is None else out + bias.reshape(1, O, 1, 1)


def deform_conv2d_packed(
    input: Tensor,
    offset_mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> Tensor:
    """See `vinr_engine.ops.deform_conv2d_packed`; arguments are taken as checked."""
    offsets = offset_mask.shape[1] // 3 * 2
    offset, logits = offset_mask[:, :offsets], offset_mask[:, offsets:]
    return deform_conv2d(input, offset, weight, bias, stride, padding, dilation, logits.sigmoid())
