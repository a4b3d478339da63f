"""The query for processors: blocks of pixels in turn, so that what the layers make stays in a cache.

One operation while it is traced; lowering_blocks.py makes it standard nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from vinr_engine.export import residual
from vinr_engine.export.graphs import NETWORKS, Given, Query, scale_phases

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
    """`vinr::inr_query`, its flow times `unit` [4]; HH and WW repeat `size`.

    parameters: weight and bias of each layer of each network in turn. These and the maps make phases: no frequency is
    left to multiply by.
    """
    networks = networks_of([p.float() for p in parameters], depths)
    if unit is not None:
        weight, bias = networks[1][-2:]
        networks[1] = [*networks[1][:-2], weight * unit[:, None], bias * unit]
    u = 1 if colours is None else colours.shape[1] // maps.shape[1]
    wide = None if colours is None else colours.float()
    lr = [int(n) for n in lr_size]
    return torch.ops.vinr.inr_query(maps.float(), wide, times[:, None], lr, [HH, WW], u, *networks, 1.0, False)


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
    ends = [0, *(2 * sum(depths[: i + 1]) for i in range(len(depths)))]
    return [list(parameters[a:b]) for a, b in pairwise(ends)]


class BlockQuery(Query):
    """The query by blocks. Of float16 graphs its inputs and weights are float16, all else float32."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        scale_phases(self)

    def decode(self, given: Given, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        HH, WW = size
        sides = given.size if given.size is not None else torch.tensor(size)
        unit = residual.flow_unit(given.lr_size, size) if self.residual else None
        parameters = [self.get_buffer(f"{n}_{i}") for n, d in zip(NETWORKS, self.depths) for i in range(2 * d)]  # noqa: B905
        read = OMEGA * given.maps.float(), given.colours, given.times, given.lr_size
        return inr_query_by_blocks(*read, sides, unit, parameters, self.depths, HH, WW)
