"""The query of LIIF, for projects that have its features and its MLP and want the query faster."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.ops.checks import check, check_layers, check_rank, check_shape
from vinr_engine.ops.sampled_mlp import sampled_mlp
from vinr_engine.reference.mlp import Layer

OP = "liif_query"
_EDGE = 1 - 1e-6


def layers_of(imnet: nn.Module | Sequence[Layer]) -> list[Layer]:
    """(weight, bias) of each layer of a module of Linear layers with a ReLU between them; pairs as they are."""
    if not isinstance(imnet, nn.Module):
        return [(weight, bias) for weight, bias in imnet]
    leaves = [m for m in imnet.modules() if not any(True for _ in m.children())]
    alternate = len(leaves) % 2 == 1 and all(
        isinstance(m, nn.ReLU if i % 2 else nn.Linear) for i, m in enumerate(leaves)
    )
    check(alternate, OP, "imnet must be Linear layers with a ReLU between them, got {}", leaves)
    linear = [m for m in leaves if isinstance(m, nn.Linear)]
    return [(m.weight, m.weight.new_zeros(m.out_features) if m.bias is None else m.bias) for m in linear]


def neighbour(coordinate: Tensor, n: int, sign: int) -> tuple[Tensor, Tensor]:
    """On an axis of n pixels: the pixel nearest to the shifted coordinate, and the distance from it in half pixels."""
    shift = sign / n + 1e-6 if sign else 0.0
    index = ((coordinate.detach() + shift).clamp(-_EDGE, _EDGE).add(1).mul(n / 2)).floor()
    return index, (coordinate + 1) * n - (2 * index + 1)


def liif_query(
    features: Tensor,
    imnet: nn.Module | Sequence[Layer],
    size: tuple[int, int] | None = None,
    *,
    coordinates: Tensor | None = None,
    cells: Tensor | None = None,
    feat_unfold: bool = True,
    local_ensemble: bool = True,
    cell_decode: bool = True,
) -> Tensor:
    """Colours that LIIF's MLP gives at an output size, or at single coordinates.

    The feature part of the first layer is applied before features are read, as a 3x3 convolution (`feat_unfold`) or a
    1x1 one, which is exact; the rest is `vinr_engine.ops.sampled_mlp`. No unfolded feature is ever stored.

    Args:
        features: [B, C, h, w], the encoder's output.
        imnet: the MLP, from 9 C (`feat_unfold`; else C) + 2 (relative y, x) + 2 (`cell_decode`: cell height, width)
            inputs: a module of Linear and ReLU in turn, or (weight, bias) of each layer.
        size: (HH, WW) of an output that covers the features' extent; or
        coordinates: [B, Q, 2], (y, x) in [-1, 1], with
        cells: [B, Q, 2], height and width of each query's pixel in the same unit, as (2 / HH, 2 / WW); needed where
            `cell_decode` is on, unread elsewhere.
        feat_unfold: the MLP sees the 3x3 neighbourhood of a feature, channel-major, zeros outside.
        local_ensemble: four neighbours, weighted by the areas opposite to them; else the nearest feature alone.
        cell_decode: the MLP sees the cell.

    Returns:
        [B, HH, WW, out] for a size, [B, Q, out] for coordinates.

    Differentiable in features, imnet, coordinates and cells. Neighbours are found in float64.

    Raises:
        ValueError: shapes that do not fit, a module of other layers, both or neither of size and coordinates.

    Source: Chen et al., "Learning Continuous Image Representation with Local Implicit Image Function", CVPR 2021.
    """
    check_rank(OP, "features", features, "[B, C, h, w]")
    B, C, h, w = features.shape
    layers = layers_of(imnet)
    check(len(layers) > 0, OP, "imnet needs a layer")
    taps = 9 if feat_unfold else 1
    outputs = check_layers(OP, "imnet", layers, taps * C + (4 if cell_decode else 2))
    check((size is None) != (coordinates is None), OP, "either size or coordinates must be given")
    (weight, bias), *rest = layers
    map_weight, relative_weight, cell_weight = weight.split([taps * C, 2, weight.shape[1] - taps * C - 2], 1)

    signs = (-1, 1) if local_ensemble else (0,)
    if size is not None:
        check(min(size) > 0, OP, "size must be positive, got {}", size)
        axes = [(torch.arange(n, device=features.device).double() * 2 + 1) / n - 1 for n in size]
        neighbours = [[neighbour(axis, n, s) for s in signs] for axis, n in zip(axes, (h, w), strict=True)]
        near_y, near_x = ([torch.stack(t) for t in zip(*axis, strict=True)] for axis in neighbours)
        pairs = [  # index and distance: [1, signs, signs, HH, WW]
            torch.broadcast_tensors(y[None, :, None, :, None], x[None, None, :, None, :])
            for y, x in zip(near_y, near_x, strict=True)
        ]
        queries = size[0] * size[1]
        cell = torch.tensor([2 * h / size[0], 2 * w / size[1]], dtype=weight.dtype, device=weight.device)
        bias = bias + cell_weight @ cell if cell_decode else bias
    else:
        assert coordinates is not None
        check_rank(OP, "coordinates", coordinates, "[B, Q, 2]")
        queries = coordinates.shape[1]
        check_shape(OP, "coordinates", coordinates, "[B, Q, 2]", (B, queries, 2))
        near_y, near_x = (
            [torch.stack(t, 1) for t in zip(*(neighbour(axis.double(), n, s) for s in signs), strict=True)]
            for axis, n in zip(coordinates.unbind(-1), (h, w), strict=True)
        )
        pairs = [  # [B, signs, signs, Q]
            torch.broadcast_tensors(y[:, :, None], x[:, None, :]) for y, x in zip(near_y, near_x, strict=True)
        ]
    k = len(signs) ** 2
    index, relative = (torch.stack(pair, -1).flatten(1, 2).flatten(2, -2) for pair in pairs)  # [B or 1, k, queries, 2]

    x, x_weight = relative.to(weight.dtype), relative_weight
    if coordinates is not None and cell_decode:
        check(cells is not None, OP, "cell_decode needs cells beside coordinates")
        assert cells is not None
        check_shape(OP, "cells", cells, "[B, Q, 2]", (B, queries, 2))
        scaled = cells.to(weight.dtype) * torch.tensor([h, w], dtype=weight.dtype, device=weight.device)
        x = torch.cat([x, scaled[:, None].expand(-1, k, -1, -1)], -1)
        x_weight = torch.cat([relative_weight, cell_weight], 1)

    kernel = map_weight.reshape(-1, C, 3, 3) if feat_unfold else map_weight.reshape(-1, C, 1, 1)
    channels_last = torch.channels_last
    maps = F.conv2d(
        features.contiguous(memory_format=channels_last),
        kernel.contiguous(memory_format=channels_last),
        padding=1 if feat_unfold else 0,
    )
    out = sampled_mlp(
        [maps],
        [index.to(weight.dtype).expand(B, -1, -1, -1).flatten(1, 2)],
        rest,
        x=x.expand(B, -1, -1, -1).flatten(1, 2),
        x_weight=x_weight,
        bias=bias,
        modes=["nearest"],
        activation="relu",
    ).view(B, k, queries, outputs)
    area = relative.prod(-1, keepdim=True).abs() + 1e-9
    share = (area / area.sum(1, keepdim=True)).flip(1).to(out.dtype)  # of the neighbour opposite to each
    mixed = (out * share).sum(1)
    return mixed.view(B, *size, outputs) if size is not None else mixed
