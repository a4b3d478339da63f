"""BF-STVSR's query as published: motion by B-splines in time, texture by a Fourier basis, both at output size, splatted
from both frames. No hoisting, no fusion.

Source: Kim et al., "BF-STVSR: B-Splines and Fourier-Best Friends for High Fidelity Spatial-Temporal Video
Super-Resolution", CVPR 2025. MoTIF (`motif.py`) shares how its pictures are put together. Parameters go by the
checkpoint's names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vinr_engine.reference.bspline_head import cubic_bspline
from vinr_engine.reference.mlp import Layer, mlp
from vinr_engine.reference.nearest import nearest_index, relative_position
from vinr_engine.reference.splat import splat_sum

Parameters = Mapping[str, Tensor]
FLOW_UNIT = 20.0  # input rows, which the motion network's flow counts in
MOST_TAPS = 16.0  # the count of taps is divided by it


class Answer(NamedTuple):
    """What a query makes.

    rgb: [B, N, 3, HH, WW], not clamped to [0, 1].
    motion: [direction, B, N, HH, WW, 3]: flow (x, y) and the metric, as the motion network gives them.
    extra: [B, N, 3, HH, WW]: largest weight, count of taps / 16, mean weight.
    splatted: [B, N, channels, HH, WW], what was splatted, divided by the weights.
    """

    rgb: Tensor
    motion: Tensor
    extra: Tensor
    splatted: Tensor


def siren_layers(parameters: Parameters, prefix: str) -> list[Layer]:
    """(weight, bias) of `PREFIX.net.I.linear`, ..., `PREFIX.net.L`."""
    count = len({n.split(".")[2] for n in parameters if n.startswith(f"{prefix}.net.")})
    names = [f"{prefix}.net.{i}" + (".linear" if i < count - 1 else "") for i in range(count)]
    return [(parameters[f"{n}.weight"], parameters[f"{n}.bias"]) for n in names]


class Grid:
    """Which input pixel each output pixel reads, and where in it that lies."""

    def __init__(self, lr_size: tuple[int, int], size: tuple[int, int], like: Tensor) -> None:
        self.rows, self.columns = (nearest_index(out, n).to(like.device) for out, n in zip(size, lr_size, strict=True))
        y, x = (relative_position(out, n).to(like) for out, n in zip(size, lr_size, strict=True))
        self.relative = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)  # [HH, WW, 2]

    def read(self, maps: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, HH, WW, C]"""
        return maps[:, :, self.rows][..., self.columns].permute(0, 2, 3, 1)


def bf_query(parameters: Parameters, features: Tensor, times: Tensor, size: tuple[int, int]) -> Answer:
    """features [B, 3, 64, h, w], times [N, B] in [0, 1] -> pictures of `size` (HH, WW)."""
    grid = Grid((features.shape[-2], features.shape[-1]), size, features)
    directions = (features[:, 0], features[:, 2])
    motion, texture = [], []
    dilation = parameters["flow_imnet.t_dilation.weight"][:, 0] * parameters["flow_imnet.t_res"]
    for direction, maps in enumerate(directions):
        near = grid.read(maps)
        relative = grid.relative.expand(len(near), -1, -1, -1)
        coef, knot = mlp(torch.cat([near, relative], -1), siren_layers(parameters, "flow_imnet")).chunk(2, -1)
        t = (times if direction == 0 else 1 - times)[:, :, None, None, None]
        splines = coef * cubic_bspline(dilation * (t - knot))
        head = parameters["flow_imnet.final_linear.weight"], parameters["flow_imnet.final_linear.bias"]
        motion.append(F.linear(splines, *head).transpose(0, 1))
        texture.append(_texture(parameters, near, grid.relative))
    return combine(parameters, torch.stack(motion), texture, features, times, grid)


def _texture(parameters: Parameters, near: Tensor, relative: Tensor) -> Tensor:
    """[B, HH, WW, 64], all of it at output size."""
    amplitude, frequency = mlp(near, siren_layers(parameters, "imnet")).permute(0, 3, 1, 2).chunk(2, 1)

    def conv(x: Tensor, name: str) -> Tensor:
        out = F.conv2d(x, parameters[f"imnet.{name}.weight"], parameters[f"imnet.{name}.bias"], padding=1)
        return out.permute(0, 2, 3, 1)

    amplitude, frequency = conv(amplitude, "coef"), conv(frequency, "freq")
    theta = math.pi * (frequency.unflatten(-1, (-1, 2)) * relative[:, :, None]).sum(-1)
    z = amplitude * torch.cat([theta.cos(), theta.sin()], -1)
    return F.linear(z, parameters["imnet.final_linear.weight"], parameters["imnet.final_linear.bias"])


def combine(
    parameters: Parameters,
    motion: Tensor,
    texture: list[Tensor],
    features: Tensor,
    times: Tensor,
    grid: Grid,
) -> Answer:
    """Splat both directions' values to each time, and decode colour.

    motion [direction, B, N, HH, WW, 3], texture of each direction [B, HH, WW, 64].
    """
    HH, WW = grid.relative.shape[:2]
    unit = FLOW_UNIT * HH / features.shape[-2]  # of both axes
    near = [grid.read(features[:, k]) for k in (0, 2)]
    between = grid.read(features[:, 1])
    pictures, extras, averages = [], [], []
    for n, t in enumerate(times):
        sums = []
        for direction in range(2):
            m = motion[direction, :, n]
            values = torch.cat([texture[direction], m[..., :2].detach(), near[direction]], -1).permute(0, 3, 1, 2)
            flow = (m[..., :2] * unit).permute(0, 3, 1, 2)
            metric = parameters["alpha"] * m[..., 2].clamp(min=0)
            sums.append(splat_sum(values, flow, metric.exp()[:, None], count=True, maximum=True))
        numerator, total, count, largest = _of_both(*sums)
        total = torch.where(total == 0, torch.ones_like(total), total)
        average = numerator / total
        # 1 marks pixels on which nothing landed, also where it is the sum of weights.
        mean = torch.where(total == 1, torch.zeros_like(total), total) / count.clamp(min=1)
        extra = torch.cat([largest, count / MOST_TAPS, mean], 1)
        at = t[:, None, None, None].expand(-1, HH, WW, 1)
        inputs = [average.permute(0, 2, 3, 1), extra.permute(0, 2, 3, 1), between, at]
        rgb = mlp(torch.cat(inputs, -1), siren_layers(parameters, "synth_net"))
        pictures.append(rgb.permute(0, 3, 1, 2))
        extras.append(extra)
        averages.append(average)
    return Answer(torch.stack(pictures, 1), motion, torch.stack(extras, 1), torch.stack(averages, 1))


def _of_both(one: tuple[Tensor | None, ...], other: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    """The sums of both directions' sums, and the larger of their largest weights."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return *(a + b for a, b in pairs[:3]), torch.maximum(*pairs[3])
