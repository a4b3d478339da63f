"""What fourier_mlp launches, described so that it compiles with no GPU: LTE's network, and a texture of one layer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from vinr_engine.kernels.common.aot import POINTERS, Configuration
from vinr_engine.kernels.common.gradients import ROWS, chunk_of
from vinr_engine.kernels.common.launch import OPERANDS
from vinr_engine.kernels.common.packing import padded
from vinr_engine.kernels.fourier_mlp import forward, rows
from vinr_engine.kernels.fourier_mlp.launch import layout, mlp_constants

LTE = (256, 256, 256, 256, 3)  # widths of the published network, the sines' first
TEXTURE = (64, 64)

SIZES = dict.fromkeys(("rows", "points", "pixels", "coef_batch", "coef_row", "freq_batch", "freq_row"), "i32")
ALIGNED_SIZES = ("coef_batch", "coef_row", "freq_batch", "freq_row")


def _rows(half: int, k: int, cells: int) -> tuple[dict[str, str], dict[str, Any]]:
    pointers = dict(coef="*fp32", freq="*fp32", index="*i64", relative="*fp32", phase="*fp32", cell="*fp32")
    return pointers, dict(HALF=half, NEIGHBOURS=k, CELLS=cells, CELL_PER_POINT=False)


def _mlp(name: str, widths: Sequence[int], k: int, cells: int, operands: str) -> Configuration:
    pointer = POINTERS.get(operands, "*fp32")
    _, layers = layout([(b, a) for a, b in itertools.pairwise(widths)])
    constants = mlp_constants(layers, operands)
    warps = constants.pop("num_warps")
    pointers, read = _rows(widths[0] // 2, k, cells)
    pointers |= dict(coef=pointer, matrices=pointer, vectors="*fp32", scratch=pointer, out="*fp32")
    return Configuration(
        name=f"fourier_mlp forward {name}{operands}",
        kernel=forward.fourier_mlp,
        signature=pointers | SIZES,
        constexprs=read | constants | dict(LAYERS=layers, PADDED_HALF=padded(widths[0] // 2), OUTPUTS=widths[-1]),
        num_warps=warps,
        num_stages=1,
        aligned=frozenset((*pointers, *ALIGNED_SIZES)),
        matrix=operands != "ieee",
    )


def _training() -> Iterator[Configuration]:
    pointers, read = _rows(128, 4, 2)
    shared = read | dict(M=ROWS, C=chunk_of(128))
    yield Configuration(
        "fourier_rows", rows.fourier_rows, pointers | dict(out="*fp32") | SIZES, shared, 4, 2,
        frozenset((*pointers, "out", *ALIGNED_SIZES)), True, False,
    )  # fmt: skip
    more = dict.fromkeys(("d", "d_theta", "d_relative"), "*fp32")
    yield Configuration(
        "fourier_rows_backward", rows.fourier_rows_backward, pointers | more | SIZES,
        shared | dict(WANTS_RELATIVE=True), 4, 2, frozenset((*pointers, *more, *ALIGNED_SIZES)), True, False,
    )  # fmt: skip


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel in every precision, as it is launched on a GPU of this compute capability."""
    for operands in (*OPERANDS, "tf32", "tf32x3", "ieee"):
        yield _mlp("", LTE, 4, 2, operands)
    yield _mlp("texture, ", TEXTURE, 1, 0, "float16")
    yield from _training()
