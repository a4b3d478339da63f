"""What inr_query and sampled_mlp launch, described so that it compiles with no GPU.

The published widths, and the wider ones whose launches differ for want of shared memory, called "any width".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from vinr_engine.kernels import _mlp_backward, _query, _sample_rows, _sampled_mlp
from vinr_engine.kernels._compile import Configuration
from vinr_engine.kernels._gradients import ROWS, backward_constants, chunk_of
from vinr_engine.kernels._launch import OPERANDS, launch_constants
from vinr_engine.kernels._packing import Split, padded, plan
from vinr_engine.kernels.inr_query import layout, map_channels
from vinr_engine.kernels.sampled_mlp import mlp_constants

OMEGA = 30.0
FEATURES, HIDDEN = 64, ((64, 64, 256), (64, 64, 256), (64, 64, 256, 256))
# Features and hidden layers of queries, and widths of a sampled MLP without x.
WIDE_QUERIES = (
    (64, ((256, 256), (256, 256), (64, 64))),  # decode: two stages of weights are 104 KB
    (192, ((64,), (64,), (64, 64))),  # colour: what it reads of 128 pixels is 128 KB
)
WIDE_MLP = (256, 256, 64)
LIIF = (256, 256, 256, 256, 3)  # widths of the published LIIF's network, behind a hoisted first layer
_TYPES = {"float16": "*fp16", "bfloat16": "*bf16"}
_SIZES = tuple(_query.SIZES)


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
    pointer = _TYPES.get(operands, "*fp32")
    pointers = dict.fromkeys(("maps", "colours", "matrices", "scratch", "hr"), pointer)
    pointers |= dict.fromkeys(("times", "vectors", "flow"), "*fp32")
    feat, flow, encode = layout(*nets, upsampled).networks
    maps, features = map_channels(nets), padded(nets[0][-1].shape[0])
    passes: Sequence[tuple[str, Any, dict[str, str], dict[str, Any]]] = (
        ("decode", _query.decode, {}, dict(FEAT=feat, FLOW=flow, FEAT_MAP=maps[0], FLOW_MAP=maps[1])),
        ("colour", _query.colour, {"out": "*fp32"},
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


def _sampled_mlp_forward(operands: str, capability: int) -> Iterator[Configuration]:
    for activation in ("relu", "sine"):
        yield _mlp(f"{operands}, {activation}", LIIF, 4, activation, operands, capability)


def _mlp(name: str, widths: Sequence[int], X: int, activation: str, operands: str, capability: int) -> Configuration:
    pointer = _TYPES.get(operands, "*fp32")
    shapes = tuple((b, a) for a, b in itertools.pairwise((X, *widths)))
    (layers,) = plan((shapes,), (Split((X,)),)).networks
    shared = mlp_constants(layers, operands, activation, OMEGA, capability)
    warps = shared.pop("num_warps")
    pointers = dict(maps=(pointer,), positions=("*fp32",), x="*fp32", x_matrices="*fp32", matrices=pointer,
                    vectors="*fp32", scratch=pointer, out=pointer)  # fmt: skip
    return Configuration(
        name=f"sampled_mlp forward {name}",
        kernel=_sampled_mlp.sampled_mlp,
        signature=pointers | dict(heights=("i32",), widths=("i32",), rows="i32", points="i32"),
        constexprs=shared
        | dict(LAYERS=layers, WIDTH=widths[0], X=X, OUTPUTS=widths[-1], NEAREST=(False,), LARGE=False),
        num_warps=warps,
        num_stages=shared["STAGES"],
        aligned=frozenset(pointers),
        matrix=operands != "ieee",
    )


def _wide(capability: int) -> Iterator[Configuration]:
    operands = "float16"
    for (features, hidden), which in zip(WIDE_QUERIES, ("decode", "colour"), strict=True):
        pair = _query_pair(operands, capability, "", networks(True, features, hidden), kind="any width ")
        yield from (c for c in pair if which in c.name)
    yield _mlp(f"any width {operands}", WIDE_MLP, 0, "sine", operands, capability)


def _training(precision: str) -> Iterator[Configuration]:
    shapes = tuple((b, a) for a, b in itertools.pairwise((141, *HIDDEN[2], 3)))
    layers = plan((shapes,), (Split((141,)),))
    rows = dict.fromkeys(("grad", "sums", "x", "d_sums", "d_x", "d_matrices", "d_vectors", "scratch"), "*fp32")
    constants = backward_constants(layers, 141, 64, 3, True, True, True, "sine", OMEGA, precision)
    yield Configuration(
        name=f"mlp_backward {precision}", kernel=_mlp_backward.mlp_backward,
        signature=rows | {"matrices": "*fp32", "vectors": "*fp32", "rows": "i32"}, constexprs=constants, num_warps=4,
        num_stages=2, aligned=frozenset((*rows, "matrices", "vectors")), training=True, matrix=precision != "ieee",
    )  # fmt: skip


def _scatter() -> Iterator[Configuration]:
    sizes = dict.fromkeys(("rows", "points", "first", "repeat", "height", "width"), "i32")
    shared = dict(FROM=(64, 64, 256), LARGE=False, M=ROWS, C=chunk_of(64), NEAREST=False)
    yield Configuration(
        "sample_rows", _sample_rows.sample_rows, dict.fromkeys(("maps", "positions", "out"), "*fp32") | sizes,
        shared | dict(OUT=(0, 64), ADD=True), 4, 2, frozenset(("maps", "positions", "out")), True, False,
    )  # fmt: skip
    pointers = dict.fromkeys(("d_rows", "maps", "positions", "d_positions", "scale"), "*fp32")
    for fixed in (False, True):
        yield Configuration(
            f"sample_rows_backward{', deterministic' if fixed else ''}", _sample_rows.sample_rows_backward,
            pointers | {"d_maps": "*i64" if fixed else "*fp32"} | sizes,
            shared | dict(D=(0, 64), WANTS_MAPS=True, WANTS_POSITIONS=True, FIXED=fixed), 4, 2,
            frozenset((*pointers, "d_maps")), True, False,
        )  # fmt: skip


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel in every precision, as it is launched on a GPU of this compute capability."""
    for operands in (*OPERANDS, "tf32", "tf32x3", "ieee"):
        yield from _query_passes(operands, capability)
        yield from _sampled_mlp_forward(operands, capability)
    yield from _wide(capability)
    for precision in ("tf32", "tf32x3", "ieee"):
        yield from _training(precision)
    yield from _scatter()
