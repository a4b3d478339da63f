"""VideoINR's query as published: decode an HR feature, warp by its flow, decode colour. No hoisting, no fusion.

The mathematics is described in docs/network.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vinr_engine.reference.mlp import Layer, mlp
from vinr_engine.reference.sampling import AxisGrid, axis_grid, enlarge_colours, sample_bilinear

WARP_LIMIT = 1 - 1e-6  # normalised warp positions are clamped to +- this
PIXELS_AT_ONCE = 1 << 16  # rows of the output are decoded in blocks of about this many pixels, to bound memory


def _sample_grid(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """maps [B, C, H, W] read bilinearly at every (row, column) -> [B, R, W', C]."""
    B, R, n = maps.shape[0], len(rows), len(columns)
    y, x = rows.reshape(1, R, 1).expand(B, R, n), columns.reshape(1, 1, n).expand(B, R, n)
    return sample_bilinear(maps, y, x).permute(0, 2, 3, 1)


def _upsampled_position(position: Tensor, factor: int) -> Tensor:
    """The same place, in pixels of a map that is `factor` times finer."""
    return factor * (position + 0.5) - 0.5


def _warp_axis(index: Tensor, size: int, flow: Tensor) -> Tensor:
    """Normalised position of output pixels `index` moved by `flow` output pixels, on an axis of `size`, clamped."""
    if size == 1:
        return torch.full_like(flow, -1.0).clamp(-WARP_LIMIT, WARP_LIMIT)
    base = -1 + 2 * index.to(flow.dtype) / (size - 1)
    return (base + flow / ((size - 1) / 2)).clamp(-WARP_LIMIT, WARP_LIMIT)


def _read_warped(maps: Tensor, gy: Tensor, gx: Tensor, n_y: float, n_x: float) -> Tensor:
    """maps [B, C, H, W] at normalised gy, gx [B, R, W'], the axes n_y and n_x pixels long -> [B, R, W', C]."""
    y, x = ((gy + 1) * n_y - 1) / 2, ((gx + 1) * n_x - 1) / 2
    return sample_bilinear(maps, y, x).permute(0, 2, 3, 1)


def _time_plane(times: Tensor, rows: int, columns: int) -> Tensor:
    """times [B] -> [B, rows, columns, 1]"""
    return times.reshape(-1, 1, 1, 1).expand(-1, rows, columns, 1)


def _row_blocks(size: tuple[int, int]) -> list[slice]:
    step = max(1, PIXELS_AT_ONCE // max(1, size[1]))
    return [slice(first, min(first + step, size[0])) for first in range(0, size[0], step)]


def _hr_feature(
    E: Tensor, I: Tensor, times: Tensor, rows: AxisGrid, columns: AxisGrid, layers: Sequence[Layer]
) -> Tensor:
    """First network: nearest LR feature and colour, relative position, time -> HR feature [B, R, W', F]."""
    R, n = len(rows.nearest), len(columns.nearest)
    nearest = [m[:, :, rows.nearest][:, :, :, columns.nearest].permute(0, 2, 3, 1) for m in (E, I)]
    B = E.shape[0]
    rel_y = rows.relative.reshape(1, R, 1, 1).expand(B, R, n, 1)
    rel_x = columns.relative.reshape(1, 1, n, 1).expand(B, R, n, 1)
    return mlp(torch.cat([*nearest, rel_y, rel_x, _time_plane(times, R, n)], -1), layers)


def inr_query(
    features: Tensor,
    frames: Tensor,
    times: Tensor,
    lr_size: tuple[int, int],
    size: tuple[int, int],
    feat_layers: Sequence[Layer],
    flow_layers: Sequence[Layer],
    encode_layers: Sequence[Layer],
    frame_upsample: int = 4,
) -> tuple[Tensor, Tensor]:
    """See `vinr_engine.ops.inr_query`; arguments are taken as checked."""
    E, I, u = features, frames, frame_upsample
    (h, w), (HH, WW), dtype = lr_size, size, features.dtype
    upsampled = enlarge_colours(I, u)
    grid_y, grid_x = (axis_grid(n, m, dtype, E.device) for n, m in ((h, HH), (w, WW)))
    fine_x = _upsampled_position(grid_x.position, u)
    columns = torch.arange(WW, device=E.device).reshape(1, 1, WW)
    blocks = _row_blocks(size)
    images, flows = [], []
    for t in times:
        hr_rows = [_hr_feature(E, I, t, AxisGrid(*(v[b] for v in grid_y)), grid_x, feat_layers) for b in blocks]
        hr = torch.cat(hr_rows, 1).permute(0, 3, 1, 2)  # [B, F, HH, WW]
        image_rows, flow_rows = [], []
        for block, feature in zip(blocks, hr_rows, strict=True):
            rows = torch.arange(HH, device=E.device)[block].reshape(1, -1, 1)
            coarse_y, time = grid_y.position[block], _time_plane(t, rows.shape[1], WW)
            sampled_E = _sample_grid(E, coarse_y, grid_x.position)
            sampled_I = _sample_grid(upsampled, _upsampled_position(coarse_y, u), fine_x)
            flow = mlp(torch.cat([feature, sampled_E, sampled_I, time], -1), flow_layers)  # [B, R, WW, 4]
            warps = [(_warp_axis(rows, HH, flow[..., k + 1]), _warp_axis(columns, WW, flow[..., k])) for k in (0, 2)]
            warped = [
                _read_warped(m, gy, gx, *n)
                for m, n in ((hr, (HH, WW)), (E, (h, w)), (upsampled, (u * h, u * w)))
                for gy, gx in warps
            ]
            image_rows.append(mlp(torch.cat([*warped, time], -1), encode_layers).permute(0, 3, 1, 2))
            flow_rows.append(flow.permute(0, 3, 1, 2))
        images.append(torch.cat(image_rows, 2))
        flows.append(torch.cat(flow_rows, 2))
    if not images:
        B = E.shape[0]
        return E.new_empty(B, 0, encode_layers[-1][0].shape[0], HH, WW), E.new_empty(B, 0, 4, HH, WW)
    return torch.stack(images, 1), torch.stack(flows, 1)
