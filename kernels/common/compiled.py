"""What the gradients of inr_query and sampled_mlp share and launch, described so that it compiles with no GPU.

Sizes are those of VideoINR's third network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from vinr_engine.kernels.common import mlp_backward, sample_rows
from vinr_engine.kernels.common.aot import Configuration
from vinr_engine.kernels.common.gradients import ROWS, backward_constants, chunk_of
from vinr_engine.kernels.common.packing import Split, plan

OMEGA = 30.0
HIDDEN = (64, 64, 256, 256)


def _training(precision: str) -> Iterator[Configuration]:
    shapes = tuple((b, a) for a, b in itertools.pairwise((141, *HIDDEN, 3)))
    layers = plan((shapes,), (Split((141,)),))
    rows = dict.fromkeys(("grad", "sums", "x", "d_sums", "d_x", "d_matrices", "d_vectors", "scratch"), "*fp32")
    constants = backward_constants(layers, 141, 64, 3, True, True, True, "sine", OMEGA, precision)
    yield Configuration(
        name=f"mlp_backward {precision}", kernel=mlp_backward.mlp_backward,
        signature=rows | {"matrices": "*fp32", "vectors": "*fp32", "rows": "i32"}, constexprs=constants, num_warps=4,
        num_stages=2, aligned=frozenset((*rows, "matrices", "vectors")), training=True, matrix=precision != "ieee",
    )  # fmt: skip


def _scatter() -> Iterator[Configuration]:
    sizes = dict.fromkeys(("rows", "points", "first", "repeat", "height", "width"), "i32")
    shared = dict(FROM=(64, 64, 256), LARGE=False, M=ROWS, C=chunk_of(64), NEAREST=False)
    yield Configuration(
        "sample_rows", sample_rows.sample_rows, dict.fromkeys(("maps", "positions", "out"), "*fp32") | sizes,
        shared | dict(OUT=(0, 64), ADD=True), 4, 2, frozenset(("maps", "positions", "out")), True, False,
    )  # fmt: skip
    pointers = dict.fromkeys(("d_rows", "maps", "positions", "d_positions", "scale"), "*fp32")
    for fixed in (False, True):
        yield Configuration(
            f"sample_rows_backward{', deterministic' if fixed else ''}", sample_rows.sample_rows_backward,
            pointers | {"d_maps": "*i64" if fixed else "*fp32"} | sizes,
            shared | dict(D=(0, 64), WANTS_MAPS=True, WANTS_POSITIONS=True, FIXED=fixed), 4, 2,
            frozenset((*pointers, "d_maps")), True, False,
        )  # fmt: skip


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel in every precision, as it is launched on a GPU of this compute capability."""
    for precision in ("tf32", "tf32x3", "ieee"):
        yield from _training(precision)
    yield from _scatter()
