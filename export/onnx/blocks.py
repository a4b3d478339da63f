"""The query for processors: blocks of pixels in turn, so that what the layers make stays in a cache.

One operation while it is traced; lowering_blocks.py makes it standard nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from vinr_engine.export.onnx import residual
from vinr_engine.export.onnx.graphs import NETWORKS, Given, Query, scale_phases
from vinr_engine.ops.inr_query import OMEGA


@torch.library.custom_op("vinr_export::inr_query_by_blocks", mutates_args=())
def inr_query_by_blocks(
    maps: Tensor,
    colours: Tensor | None,
    times: Tensor,
    lr_size: Tensor,
    size: Tensor,
    unit: Tensor | None,
    parameters: Sequence[Tensor],
    depths: Sequence[int],
    HH: int,
    WW: int,
) -> tuple[Tensor, Tensor]:
    """`vinr::inr_query` of one pair, its flow times `unit` [4]: colour [1, T, 3, HH, WW], flow [1, T, 4, HH, WW].

    maps [1, h', w', M], colours [1, u h', u w', 8] or None, times [T], lr_size [2], size [2], which HH and WW repeat;
    parameters: weight [D, X] and bias [D] of each layer of each network in turn, depths: how many layers each has. Maps
    and parameters are those of the engine times the sines' frequency, where a sine follows.
    """
    networks = networks_of([p.float() for p in parameters], depths)
    if unit is not None:
        weight, bias = networks[1][-2:]
        networks[1] = [*networks[1][:-2], weight * unit[:, None], bias * unit]
    u = 1 if colours is None else colours.shape[1] // maps.shape[1]
    wide = None if colours is None else colours.float()
    lr = [int(n) for n in lr_size]
    return torch.ops.vinr.inr_query(maps.float(), wide, times[:, None], lr, [HH, WW], u, *networks, 1.0, "ieee")


@inr_query_by_blocks.register_fake
def _inr_query_by_blocks_fake(
    maps: Tensor,
    colours: Tensor | None,
    times: Tensor,
    lr_size: Tensor,
    size: Tensor,
    unit: Tensor | None,
    parameters: Sequence[Tensor],
    depths: Sequence[int],
    HH: int,
    WW: int,
) -> tuple[Tensor, Tensor]:
    T = times.shape[0]
    return times.new_empty(1, T, parameters[-1].shape[0], HH, WW), times.new_empty(1, T, 4, HH, WW)


def networks_of(parameters: Sequence[Any], depths: Sequence[int]) -> list[list[Any]]:
    """The layers of each network."""
    ends = [0, *accumulate(2 * depth for depth in depths)]
    return [list(parameters[a:b]) for a, b in pairwise(ends)]


class BlockQuery(Query):
    """The query by blocks. Of float16 graphs maps, colours, frames and weights are float16, all between float32."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        scale_phases(self)

    def decode(self, given: Given, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        HH, WW = size
        sides = given.size if given.size is not None else torch.tensor(size)
        unit = residual.flow_unit(given.lr_size, size) if self.residual else None
        parameters = [tensor for name in NETWORKS for tensor in self.layers_of(name)]
        read = OMEGA * given.maps.float(), given.colours, given.times, given.lr_size
        return inr_query_by_blocks(*read, sides, unit, parameters, self.depths, HH, WW)
