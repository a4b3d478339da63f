"""What a residual network adds its colours to: frames moved by the flows, and blended."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bicubic(images: Tensor, size: tuple[int, int]) -> Tensor:
    """[..., 3, h, w] -> [..., 3, HH, WW], bicubic with a = -1/2, antialiased where it shrinks."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    flat = F.interpolate(images.flatten(0, -4), size, mode="bicubic", antialias=True)
    return flat.unflatten(0, images.shape[:-3])


def warp(image: Tensor, flow: Tensor, first_row: int = 0) -> Tensor:
    """image [N, C, H, W] read bilinearly at each pixel's centre moved by flow [N, 2, H, W], (x, y) in pixels.

    Positions outside read the nearest pixel at the edge. The flow may be of some rows, from `first_row` on.
    """
    H, W = image.shape[-2:]
    y, x = (torch.arange(n, dtype=flow.dtype, device=flow.device) for n in flow.shape[-2:])
    if first_row:
        y = y + first_row
    gx = (2 * (x + flow[:, 0]) + 1) / W - 1
    gy = (2 * (y[:, None] + flow[:, 1]) + 1) / H - 1
    return F.grid_sample(image, torch.stack([gx, gy], -1), padding_mode="border", align_corners=False)


def warped_blend(frames: Tensor, times: Tensor, flow: Tensor) -> Tensor:
    """(1 - t) times the first frame moved by flow A, and t times the second moved by flow B.

    Args:
        frames: [B, 2, 3, HH, WW].
        times: [T, B] in [0, 1].
        flow: [B, T, 4, HH, WW], A (x, y) and B (x, y) in pixels; with zeros this is a plain linear blend. A counts as
            zero at t = 0, and B at t = 1.

    Returns:
        [B, T, 3, HH, WW] in the dtype of `frames`.
    """
    T = times.shape[0]
    with torch.autocast(frames.device.type, enabled=False):
        t = times.to(frames.dtype).T[..., None, None, None]
        # At its own time a frame has not moved.
        flow = flow.to(frames.dtype) * torch.cat([(t > 0), (t > 0), (t < 1), (t < 1)], 2)
        first, second = (
            warp(
                frames[:, k, None].expand(-1, T, -1, -1, -1).flatten(0, 1),
                flow[:, :, 2 * k : 2 * k + 2].flatten(0, 1),
            ).unflatten(0, (-1, T))
            for k in (0, 1)
        )
        return (1 - t) * first + t * second
