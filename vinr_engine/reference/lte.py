"""LTE's query as the paper writes it: four neighbours, each with sampled amplitudes and frequencies, sines, an MLP."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vinr_engine.reference.mlp import Layer, mlp


def lte_query(
    features: Tensor,
    coef: Layer,
    freq: Layer,
    phase: Tensor,
    layers: Sequence[Layer],
    coordinates: Tensor,
    cells: Tensor,
    image: Tensor | None = None,
    order: str = "pairs",
) -> Tensor:
    """`coordinates` and `cells` [B, Q, 2] -> [B, Q, out]; see `vinr_engine.drop_in.lte.lte_query`.

    coef, freq: weights [D, C, 3, 3] and biases of convolutions; phase [D / 2, 2]; layers from D inputs. order: "pairs"
    of LTE, "halves" of LTE-fast.
    """
    maps = [F.conv2d(features, weight, bias, padding=1) for weight, bias in (coef, freq)]
    size = coordinates.new_tensor(features.shape[-2:])
    phases = F.linear(cells * size, phase)
    outputs, areas = [], []
    for sign in itertools.product((-1, 1), (-1, 1)):
        shifted = (coordinates + coordinates.new_tensor(sign) / size + 1e-6).clamp(-1 + 1e-6, 1 - 1e-6)
        centre = (2 * ((shifted.detach() + 1) * size / 2).floor() + 1) / size - 1
        grid = centre.flip(-1).unsqueeze(1)
        a, f = (F.grid_sample(m, grid, mode="nearest", align_corners=False)[:, :, 0].transpose(1, 2) for m in maps)
        relative = (coordinates - centre) * size
        f_y, f_x = (f[..., ::2], f[..., 1::2]) if order == "pairs" else f.chunk(2, -1)
        theta = math.pi * (f_y * relative[..., :1] + f_x * relative[..., 1:] + phases)
        outputs.append(mlp(a * torch.cat([theta.cos(), theta.sin()], -1), layers, "relu"))
        areas.append(relative.prod(-1, keepdim=True).abs() + 1e-9)
    total = sum(areas, torch.zeros_like(areas[0]))
    out = sum((out * area / total for out, area in zip(outputs, reversed(areas), strict=True)), torch.zeros_like(total))
    if image is None:
        return out
    at = coordinates.flip(-1).unsqueeze(1)
    skip = F.grid_sample(image, at, mode="bilinear", padding_mode="border", align_corners=False)
    return out + skip[:, :, 0].transpose(1, 2)


def lte_fast_query(
    features: Tensor,
    coef: Layer,
    freq: Layer,
    phase: Tensor,
    layers: Sequence[Layer],
    coordinates: Tensor,
    cells: Tensor,
    image: Tensor | None = None,
) -> Tensor:
    """A grid of `coordinates` [B, HH, WW, 2] and a cell for each picture, [B, 2] -> [B, out, HH, WW].

    The weights of `layers` are those of 1x1 convolutions, [out, in, 1, 1].
    """
    B, H, W = coordinates.shape[:3]
    points, each = coordinates.flatten(1, 2), cells[:, None].expand(-1, H * W, -1)
    flat = [(weight.flatten(1), bias) for weight, bias in layers]
    out = lte_query(features, coef, freq, phase, flat, points, each, image, "halves")
    return out.transpose(1, 2).reshape(B, -1, H, W)
