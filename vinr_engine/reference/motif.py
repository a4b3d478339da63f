"""MoTIF's query as published, and its motion features from flow that any network estimated. No hoisting, no fusion.

Source: Chen et al., "MoTIF: Learning Motion Trajectories with Local Implicit Neural Functions for Continuous Space-Time
Video Super-Resolution", ICCV 2023. Parameters go by the checkpoint's names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vinr_engine.reference.bf_stvsr import FLOW_UNIT, Answer, Grid, Parameters, combine, siren_layers
from vinr_engine.reference.mlp import mlp

PAIRS = ((0, 0), (0, 1), (1, 0), (1, 1))
SLOPE = 0.1


def motif_motion_input(frames: Tensor, flow: Tensor) -> Tensor:
    """What the motion encoder sees.

    frames [B, 2, 3, h, w] in [0, 1]; flow [a, b, B, 2, HH, WW] from frame a to frame b as (x, y), in pixels of its own
    size, zeros where a is b -> [a, B, 14, h, w]: for b = 0 and 1, flow / 20 (2), three reliabilities, a and b.
    """
    h, w = frames.shape[-2:]
    scale = h / flow.shape[-2]  # of both axes
    small = {(a, b): scale * F.interpolate(flow[a, b], (h, w), mode="bilinear", align_corners=False) for a, b in PAIRS}
    for k in (0, 1):
        small[k, k] = torch.zeros_like(small[k, k])
    inputs = []
    for a in (0, 1):
        parts = []
        for b in (0, 1):
            f, back = small[a, b], small[b, a]
            photo = (frames[:, a] - _warp(frames[:, b], f)).abs().mean(1, keepdim=True)
            agreement = (f - _warp(-back, f)).abs().mean(1, keepdim=True) / 10
            variance = (_smoothed(f**2) - _smoothed(f) ** 2).clamp(min=1e-9).sqrt().mean(1, keepdim=True)
            ends = [torch.full_like(photo, end) for end in (a, b)]
            parts += [f / FLOW_UNIT, photo, agreement, variance, *ends]
        inputs.append(torch.cat(parts, 1))
    return torch.stack(inputs)


def _warp(maps: Tensor, flow: Tensor) -> Tensor:
    """Maps read at (j + f_x) (w - 1) / w, rows alike: the factor is the published network's."""
    h, w = maps.shape[-2:]
    y = torch.arange(h, device=maps.device, dtype=maps.dtype)[:, None] + flow[:, 1]
    x = torch.arange(w, device=maps.device, dtype=maps.dtype) + flow[:, 0]
    grid = torch.stack([2 * x / w - 1, 2 * y / h - 1], -1)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _smoothed(maps: Tensor) -> Tensor:
    """Under [1 2 1; 2 4 2; 1 2 1] / 16, edges reflected."""
    line = maps.new_tensor([0.25, 0.5, 0.25])
    padded = F.pad(maps, (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded.flatten(0, 1)[:, None], (line[:, None] * line)[None, None]).view_as(maps)


def motif_motion_features(parameters: Parameters, seen: Tensor) -> Tensor:
    """What `motif_motion_input` gave -> [a, B, 64, h, w]."""

    def conv(x: Tensor, name: str, groups: int = 1) -> Tensor:
        weight, bias = (parameters[f"flow_process.{name}.{kind}"] for kind in ("weight", "bias"))
        return F.conv2d(x, weight, bias, padding=1, groups=groups)

    x = conv(conv(seen.flatten(0, 1), "0", 2), "1", 2)
    x = F.leaky_relu(x, SLOPE)
    for i in range(3, 8):
        x = x + conv(F.leaky_relu(conv(x, f"{i}.layers.0"), SLOPE), f"{i}.layers.2")
    x = F.pad(F.leaky_relu(x, SLOPE), (1, 1, 1, 1), mode="reflect")
    x = F.conv2d(x, parameters["flow_process.9.weight"], parameters["flow_process.9.bias"])
    return x.unflatten(0, (2, -1))


def motif_query(
    parameters: Parameters, features: Tensor, motion: Tensor, times: Tensor, size: tuple[int, int]
) -> Answer:
    """features [B, 3, 64, h, w], motion features [a, B, 64, h, w], times [N, B] in [0, 1] -> pictures of `size`."""
    grid = Grid((features.shape[-2], features.shape[-1]), size, features)
    moved, texture = [], []
    for a in (0, 1):
        relative = grid.relative.expand(len(features), -1, -1, -1)
        near = grid.read(motion[a])
        at = [t[:, None, None, None].expand(-1, *size, 1) for t in times]
        layers = siren_layers(parameters, "flow_imnet")
        moved.append(torch.stack([mlp(torch.cat([near, t, relative], -1), layers) for t in at], 1))
        seen = torch.cat([grid.read(features[:, 2 * a]), relative], -1)
        texture.append(mlp(seen, siren_layers(parameters, "imnet")))
    return combine(parameters, torch.stack(moved), texture, features, times, grid)
