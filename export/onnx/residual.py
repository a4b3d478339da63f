"""What a residual network's query adds its colours to: both frames enlarged, moved by the flows, and blended.

As `vinr_engine.models.layers.warped_blend`, with sizes that are known when the graph runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vinr_engine.export.onnx.tracing import sample
from vinr_engine.models.videoinr.initialise import FLOW_UNIT
from vinr_engine.models.videoinr.network import DETAIL_UPSAMPLE


def bicubic_weights(n: Tensor, padded: int, n_out: int) -> Tensor:
    """[n_out, padded] float32: the share of each of `padded` pixels, of which the first n count, in each output pixel.

    Bicubic with a = -1/2, the kernel widened where it shrinks, weights renormalised at the edges. The same as nodes
    Resize with antialiasing, which TensorRT and OpenVINO lack, come in both directions from one product of matrices.
    """
    # distances in units of 1 / (2 n_out) input pixels, exact
    pixel, centre = (2 * torch.arange(padded) + 1) * n_out, (2 * torch.arange(n_out) + 1) * n
    widened = (n.float() / n_out).clamp(min=1)
    d = (pixel - centre[:, None]).abs().float() / (2 * n_out * widened)
    near, far = (1.5 * d - 2.5) * d * d + 1, -0.5 * (((d - 5) * d + 8) * d - 4)
    inside = torch.arange(padded) < n
    weights = torch.where(d < 1, near, far) * ((d < 2) & inside)
    return weights / weights.sum(1, keepdim=True)


def enlarged(frames: Tensor, detail: Tensor, lr_size: Tensor, size: tuple[int, int]) -> Tensor:
    """`VideoINR.enlarge` of padded frames [1, 2, 3, h', w'] and what `VideoINR.detail` gave: [2, 3, HH, WW]."""
    result = []
    for images, factor in ((frames, 1), (detail, DETAIL_UPSAMPLE)):
        y, x = (bicubic_weights(lr_size[k] * factor, images.shape[3 + k], size[k]) for k in (0, 1))
        result.append(torch.matmul(torch.matmul(y, images[0].float()), x.t()))
    return result[0] + result[1]


def flow_unit(lr_size: Tensor, size: tuple[int, int]) -> Tensor:
    """[4] float32: what a residual network's flow is multiplied by to be in output pixels (A x, y, B x, y)."""
    y, x = (FLOW_UNIT * size[k] / lr_size[k].float() for k in (0, 1))
    return torch.stack([x, y, x, y])


def warped_blend(frames: Tensor, times: Tensor, flow: Tensor) -> Tensor:
    """frames [2, 3, HH, WW], times [T], flow [T, 4, HH, WW] in output pixels -> [T, 3, HH, WW], all float32."""
    T, _, HH, WW = flow.shape
    y, x = torch.arange(HH, dtype=torch.float32)[:, None], torch.arange(WW, dtype=torch.float32)
    t = times.reshape(T, 1, 1, 1)
    moves = (t > 0).float(), (t < 1).float()  # at its own time a frame has not moved
    parts = []
    for k, share in enumerate((1 - t, t)):
        moved = flow[:, 2 * k : 2 * k + 2] * moves[k]
        gx, gy = (2 * (x + moved[:, 0]) + 1) / WW - 1, (2 * (y + moved[:, 1]) + 1) / HH - 1
        grid = torch.stack([gx, gy], -1).reshape(1, T * HH, WW, 2)  # of the one picture, for all times
        read = sample(frames[k : k + 1], grid, "border")
        parts.append(share * read.reshape(3, T, HH, WW).transpose(0, 1))
    return parts[0] + parts[1]
