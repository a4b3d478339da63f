"""Moves the part of the query's first layers that sees only sampled maps before the sampling, which is exact.

Sampling is linear, so it commutes with a linear layer: W sample(M) = sample(W M). The maps are projected once, at low
resolution, for all times and for all output pixels that share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vinr_engine.ops.project_maps import project_maps, torch_product
from vinr_engine.reference.mlp import Layer
from vinr_engine.reference.sampling import enlarge_colours

WIDTH_MULTIPLE = 16  # csrc/common/widths.h pads every width to this


class Hoisted(NamedTuple):
    """Arguments of the op `vinr::inr_query`.

    maps: projected maps [B, h', w', widths], those of feat, flow, encode at A and at B side by side, and the upsampled
        colours [B, u h', u w', 8], or None where u is 1 and the maps hold them.
    networks: weight and bias of each layer in turn, for feat, flow and encode, without the hoisted columns.
    """

    maps: tuple[Tensor, Tensor | None]
    networks: tuple[list[Tensor], list[Tensor], list[Tensor]]


def _padded_rows(weight: Tensor) -> Tensor:
    return F.pad(weight, (0, 0, 0, -weight.shape[0] % WIDTH_MULTIPLE))


def _flat(first: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
    return [first, layers[0][1], *(tensor for layer in layers[1:] for tensor in layer)]


def hoist(
    features: Tensor,
    frames: Tensor,
    feat_layers: Sequence[Layer],
    flow_layers: Sequence[Layer],
    encode_layers: Sequence[Layer],
    frame_upsample: int,
    fixed_order: bool = False,
) -> Hoisted:
    """Project `features` and `frames`; the arguments are those of `inr_query`.

    With `fixed_order`, by the cpu backend's op: the same numbers and gradients whatever the number of threads.
    """
    stack = [*(features.unbind(1) if features.dim() == 5 else [features]), frames]
    C, HR = sum(part.shape[1] for part in stack[:-1]), feat_layers[-1][0].shape[0]
    feat, flow, encode = (layers[0][0] for layers in (feat_layers, flow_layers, encode_layers))
    feat_map, feat_x = feat.split([C + 6, 3], 1)
    flow_hr, flow_map, flow_colour, flow_t = flow.split([HR, C, 6, 1], 1)
    encode_hr, encode_a, encode_b, colour_a, colour_b, encode_t = encode.split([2 * HR, C, C, 6, 6, 1], 1)
    colours = None
    if frame_upsample == 1:  # read at the same positions as the features
        flow_map = torch.cat([flow_map, flow_colour], 1)
        encode_a, encode_b = torch.cat([encode_a, colour_a], 1), torch.cat([encode_b, colour_b], 1)
        flow_x, encode_x = torch.cat([flow_hr, flow_t], 1), torch.cat([encode_hr, encode_t], 1)
    else:
        flow_map, encode_a, encode_b = (F.pad(w, (0, 6)) for w in (flow_map, encode_a, encode_b))
        flow_x = torch.cat([flow_hr, flow_colour, flow_t], 1)
        encode_x = torch.cat([encode_hr, colour_a, colour_b, encode_t], 1)
        eight = F.pad(frames, (0, 0, 0, 0, 0, 2)).contiguous(memory_format=torch.channels_last)
        colours = enlarge_colours(eight, frame_upsample).permute(0, 2, 3, 1).contiguous()
    weight = torch.cat([_padded_rows(w) for w in (feat_map, flow_map, encode_a, encode_b)])
    maps = (project_maps if fixed_order else torch_product)(stack, weight)
    networks = (_flat(feat_x, feat_layers), _flat(flow_x, flow_layers), _flat(encode_x, encode_layers))
    return Hoisted((maps, colours), networks)
