"""What sampled_mlp launches, described so that it compiles with no GPU: LIIF's network, and a wide one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from vinr_engine.kernels.common.aot import POINTERS, Configuration
from vinr_engine.kernels.common.launch import OPERANDS
from vinr_engine.kernels.common.packing import Split, plan
from vinr_engine.kernels.sampled_mlp import forward
from vinr_engine.kernels.sampled_mlp.launch import mlp_constants

OMEGA = 30.0
LIIF = (256, 256, 256, 256, 3)  # widths of the published LIIF's network, behind a hoisted first layer
WIDE = (256, 256, 64)  # of one without x, whose launch differs for want of shared memory


def _forward(operands: str, capability: int) -> Iterator[Configuration]:
    for activation in ("relu", "sine"):
        yield _mlp(f"{operands}, {activation}", LIIF, 4, activation, operands, capability)


def _mlp(name: str, widths: Sequence[int], X: int, activation: str, operands: str, capability: int) -> Configuration:
    pointer = POINTERS.get(operands, "*fp32")
    shapes = tuple((b, a) for a, b in itertools.pairwise((X, *widths)))
    (layers,) = plan((shapes,), (Split((X,)),)).networks
    shared = mlp_constants(layers, operands, activation, OMEGA, capability)
    warps = shared.pop("num_warps")
    pointers: dict[str, str | tuple[str, ...]] = dict(
        maps=(pointer,), positions=("*fp32",), x="*fp32", x_matrices="*fp32", matrices=pointer, vectors="*fp32",
        scratch=pointer, out=pointer,
    )  # fmt: skip
    return Configuration(
        name=f"sampled_mlp forward {name}",
        kernel=forward.sampled_mlp,
        signature=pointers | dict(heights=("i32",), widths=("i32",), rows="i32", points="i32"),
        constexprs=shared
        | dict(LAYERS=layers, WIDTH=widths[0], X=X, OUTPUTS=widths[-1], NEAREST=(False,), LARGE=False),
        num_warps=warps,
        num_stages=shared["STAGES"],
        aligned=frozenset(pointers),
        matrix=operands != "ieee",
    )


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel in every precision, as it is launched on a GPU of this compute capability."""
    for operands in (*OPERANDS, "tf32", "tf32x3", "ieee"):
        yield from _forward(operands, capability)
    yield _mlp("any width float16", WIDE, 0, "sine", "float16", capability)
