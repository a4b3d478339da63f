"""LIIF's query as the paper writes it: unfolded features, four neighbours, an MLP for each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vinr_engine.reference.mlp import Layer, mlp


def liif_query(
    features: Tensor,
    layers: Sequence[Layer],
    coordinates: Tensor,
    cells: Tensor,
    feat_unfold: bool = True,
    local_ensemble: bool = True,
    cell_decode: bool = True,
) -> Tensor:
    """`coordinates` and `cells` [B, Q, 2] -> [B, Q, out]; see `vinr_engine.drop_in.liif.liif_query`."""
    B, C, h, w = features.shape
    if feat_unfold:
        features = F.unfold(features, 3, padding=1).view(B, 9 * C, h, w)
    size = coordinates.new_tensor([h, w])
    signs = (-1, 1) if local_ensemble else (0,)
    outputs, areas = [], []
    for sign in itertools.product(signs, signs):
        shift = coordinates.new_tensor(sign) / size + (1e-6 if local_ensemble else 0)
        shifted = (coordinates + shift).clamp(-1 + 1e-6, 1 - 1e-6)
        centre = (2 * ((shifted.detach() + 1) * size / 2).floor() + 1) / size - 1
        read = F.grid_sample(features, centre.flip(-1).unsqueeze(1), mode="nearest", align_corners=False)
        relative = (coordinates - centre) * size
        parts = [read[:, :, 0].transpose(1, 2), relative, *([cells * size] if cell_decode else [])]
        outputs.append(mlp(torch.cat(parts, -1), layers, "relu"))
        areas.append(relative.prod(-1, keepdim=True).abs() + 1e-9)
    total = sum(areas, torch.zeros_like(areas[0]))
    return sum(
        (out * area / total for out, area in zip(outputs, reversed(areas), strict=True)), torch.zeros_like(total)
    )
