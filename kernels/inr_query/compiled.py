"""What inr_query launches, described so that it compiles with no GPU.

The published widths, and the wider ones whose launches differ for want of shared memory, called "any width".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from vinr_engine.kernels.common.aot import POINTERS, Configuration
from vinr_engine.kernels.common.launch import OPERANDS, launch_constants
from vinr_engine.kernels.common.packing import padded
from vinr_engine.kernels.inr_query import forward
from vinr_engine.kernels.inr_query.launch import layout, map_channels

OMEGA = 30.0
FEATURES, HIDDEN = 64, ((64, 64, 256), (64, 64, 256), (64, 64, 256, 256))
# Features and hidden layers of queries.
WIDE_QUERIES = (
    (64, ((256, 256), (256, 256), (64, 64))),  # decode: two stages of weights are 104 KB
    (192, ((64,), (64,), (64, 64))),  # colour: what it reads of 128 pixels is 128 KB
)
_SIZES = tuple(forward.SIZES)


def networks(
    upsampled: bool, features: int = FEATURES, hidden_widths: Sequence[Sequence[int]] = HIDDEN
) -> list[list[torch.Tensor]]:
    """Weight and bias of each layer of a query's networks, behind hoisted maps; of no memory."""
    c = 6 if upsampled else 0
    inputs = 3, features + c + 1, 2 * (features + c) + 1
    outputs = features, 4, 3
    found = []
    for first, hidden, last in zip(inputs, hidden_widths, outputs, strict=True):
        pairs = itertools.pairwise((first, *hidden, last))
        found.append([t for a, b in pairs for t in (torch.empty(b, a, device="meta"), torch.empty(b, device="meta"))])
    return found


def _query_passes(operands: str, capability: int) -> Iterator[Configuration]:
    for upsampled, large in ((True, False), (False, False), (True, True)):
        note = f"{'' if upsampled else ', no upsampling'}{', 64-bit offsets' if large else ''}"
        yield from _query_pair(operands, capability, note, networks(upsampled), upsampled, large)


def _query_pair(
    operands: str, capability: int, note: str, nets: list[list[torch.Tensor]], upsampled: bool = True,
    large: bool = False, kind: str = "",
) -> Iterator[Configuration]:  # fmt: skip
    pointer = POINTERS.get(operands, "*fp32")
    pointers = dict.fromkeys(("maps", "colours", "matrices", "scratch", "hr"), pointer)
    pointers |= dict.fromkeys(("times", "vectors", "flow"), "*fp32")
    feat, flow, encode = layout(nets[0], nets[1], nets[2], upsampled).networks
    maps, features = map_channels(nets), padded(nets[0][-1].shape[0])
    passes: Sequence[tuple[str, Any, dict[str, str], dict[str, Any]]] = (
        ("decode", forward.decode, {}, dict(FEAT=feat, FLOW=flow, FEAT_MAP=maps[0], FLOW_MAP=maps[1])),
        ("colour", forward.colour, {"out": "*fp32"},
         dict(ENCODE=encode, F=features, MAP_A=maps[2], MAP_B=maps[3], OUTPUTS=3)),
    )  # fmt: skip
    for which, kernel, more, constants in passes:
        run = (feat, flow) if which == "decode" else (encode,)
        shared = launch_constants(which, run, upsampled, operands, OMEGA, capability)
        warps = shared.pop("num_warps")
        yield Configuration(
            name=f"inr_query {which} {kind}{operands}{note}",
            kernel=kernel,
            signature=pointers | more | dict.fromkeys(_SIZES, "i32"),
            constexprs=shared | constants | {"COLOURS": upsampled, "LARGE": large},
            num_warps=warps,
            num_stages=shared["STAGES"],
            aligned=frozenset(pointers | more),
            matrix=operands != "ieee",
        )


def _wide(capability: int) -> Iterator[Configuration]:
    operands = "float16"
    for (features, hidden), which in zip(WIDE_QUERIES, ("decode", "colour"), strict=True):
        pair = _query_pair(operands, capability, "", networks(True, features, hidden), kind="any width ")
        yield from (c for c in pair if which in c.name)


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel in every precision, as it is launched on a GPU of this compute capability."""
    for operands in (*OPERANDS, "tf32", "tf32x3", "ieee"):
        yield from _query_passes(operands, capability)
    yield from _wide(capability)
