"""The query on hoisted maps: launches of the two passes of `forward`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vinr_engine.kernels.common.launch import arithmetic, capability_of, launch_constants, new_scratch, programs
from vinr_engine.kernels.common.packing import Plan, Split, pack, padded, plan
from vinr_engine.kernels.common.runtime import passes_32_bits
from vinr_engine.kernels.common.tuning import OPTIONS
from vinr_engine.kernels.inr_query import forward

HR_BYTES = 1 << 28  # images are decoded together as long as their HR features take no more than this
HOISTED_MULTIPLE = 16  # vinr_engine.ops.hoisting pads each map to it


def layout(feat: Sequence[Tensor], flow: Sequence[Tensor], encode: Sequence[Tensor], colours: bool) -> Plan:
    """How the three networks' weights and biases are packed."""
    F, c = feat[-1].shape[0], 6 if colours else 0
    shapes = tuple(tuple(tuple(w.shape) for w in network[::2]) for network in (feat, flow, encode))
    splits = (Split((), leading=2, trailing=1), Split((F, c), trailing=1), Split((F, F, c, c), trailing=1))
    return plan(shapes, splits)


def map_channels(networks: Sequence[Sequence[Tensor]]) -> list[tuple[int, int, int]]:
    """(first channel, count, stride) of the maps of feat, flow, encode at A and at B."""
    counts = [-(-n[0].shape[0] // HOISTED_MULTIPLE) * HOISTED_MULTIPLE for n in networks]
    counts.append(counts[2])
    stride, first, out = sum(counts), 0, []
    for count in counts:
        out.append((first, count, stride))
        first += count
    return out


def inr_query(*call: Any) -> None:
    """The arguments of the torch op, and its results to fill: colour [B, T, O, HH, WW] and flow [B, T, 4, HH, WW]."""
    *arguments, image, flows = call
    if image.numel() == 0:
        return
    query = Query(*arguments)
    images = query.B * query.T
    together = max(1, min(images, HR_BYTES // query.hr_bytes))
    hr = query.new_hr(together)
    for first in range(0, images, together):
        count = min(together, images - first)
        query.decode(first, count, hr, flows)
        query.colour(first, count, hr, flows, image)


class Query:
    """Arguments of the torch op, as checked: converted and packed for both passes."""

    def __init__(
        self,
        maps: Tensor,
        colours: Tensor | None,
        times: Tensor,
        lr_size: Sequence[int],
        size: Sequence[int],
        frame_upsample: int,
        feat: Sequence[Tensor],
        flow: Sequence[Tensor],
        encode: Sequence[Tensor],
        omega: float,
        operands: str,
    ) -> None:
        self.networks, self.omega, self.operands = (feat, flow, encode), omega, operands
        self.dtype = arithmetic(operands)[0]
        self.maps = maps.detach().to(self.dtype).contiguous()
        self.colours = None if colours is None else colours.detach().to(self.dtype).contiguous()
        self.times = times.detach().float().contiguous()
        self.B, self.T, self.size = maps.shape[0], times.shape[0], tuple(size)
        self.sizes = (self.B, self.T, *maps.shape[1:3], *lr_size, *size, frame_upsample)
        self.plan = layout(feat, flow, encode, colours is not None)
        passes = {"decode": self.plan.networks[:2], "colour": self.plan.networks[2:]}
        self.constants = {
            which: launch_constants(which, networks, colours is not None, operands, omega, capability_of(maps.device))
            for which, networks in passes.items()
        }
        short = omega if self.constants["decode"]["SHORT"] else None
        self.matrices, self.vectors = pack(self.plan, [*feat, *flow, *encode], self.dtype, maps.device, short)
        self.channels = map_channels((feat, flow, encode))
        self.outputs = encode[-1].shape[0]
        self.features = padded(feat[-1].shape[0])
        self.hr_bytes = size[0] * size[1] * self.features * self.dtype.itemsize
        self.programs = programs(maps.device)

    def new_hr(self, images: int) -> Tensor:
        return self.maps.new_empty(images, *self.size, self.features)

    def _arguments(self, which: str) -> tuple[Tensor, ...]:
        colours = self.maps if self.colours is None else self.colours
        return (
            self.maps,
            colours,
            self.times,
            self.matrices,
            self.vectors,
            new_scratch(self.constants[which], self.maps),
        )

    def _large(self, *tensors: Tensor | None) -> bool:
        h, w = self.sizes[4:6]
        indices = max(2 * self.size[0] * h, 2 * self.size[1] * w)
        return indices >= 2**31 or passes_32_bits(self.maps, self.colours, *tensors)

    def decode(self, first: int, count: int, hr: Tensor, flows: Tensor) -> None:
        feat, flow, _ = self.plan.networks
        forward.decode[(self.programs,)](
            *self._arguments("decode"), hr, flows, first, count, *self.sizes, FEAT=feat, FLOW=flow,
            FEAT_MAP=self.channels[0], FLOW_MAP=self.channels[1], COLOURS=self.colours is not None,
            LARGE=self._large(hr, flows), **self.constants["decode"], **OPTIONS,
        )  # fmt: skip

    def colour(self, first: int, count: int, hr: Tensor, flows: Tensor, image: Tensor) -> None:
        forward.colour[(self.programs,)](
            *self._arguments("colour"), hr, flows, image, first, count, *self.sizes, ENCODE=self.plan.networks[2],
            F=self.features, MAP_A=self.channels[2], MAP_B=self.channels[3], OUTPUTS=self.outputs,
            COLOURS=self.colours is not None, LARGE=self._large(hr, flows, image),
            **self.constants["colour"], **OPTIONS,
        )  # fmt: skip
