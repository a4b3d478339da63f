"""What phase_linear launches, described so that it compiles with no GPU: the last layer of FlowINR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vinr_engine.kernels.common.aot import Configuration
from vinr_engine.kernels.phase_linear import backward, forward
from vinr_engine.kernels.phase_linear.launch import STEP, WIDEST, constants

CHANNELS, COLOURS = 48, 3
SCALES = {"2": (2, 1), "9/4": (9, 4), "4": (4, 1)}  # phases and pixels of a cell, along either axis


def _describe(
    name: str, kernel: Any, pointers: tuple[str, ...], sizes: tuple[str, ...], scale: str, blocks: dict[str, Any]
) -> Configuration:
    phases, pixels = SCALES[scale]
    ones = {"pixels_y": 1, "pixels_x": 1} if pixels == 1 else {}
    every = ("cells", "rows", "columns", "pixels_y", "pixels_x", "phases_y", "phases_x", *sizes)
    shared = constants((phases, phases), (pixels, pixels), COLOURS, CHANNELS)
    return Configuration(
        name=f"phase_linear {name} at scale {scale}", kernel=kernel,
        signature=dict.fromkeys(pointers, "*fp32") | {n: "i32" for n in every if n not in ones},
        constexprs=shared | ones | blocks | {"LARGE": False}, num_warps=4, num_stages=3,
        aligned=frozenset((*pointers, "columns")), training=name != "forward", matrix=False,
    )  # fmt: skip


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel; they are the same on every GPU."""
    for scale, (phases, pixels) in SCALES.items():
        outputs = COLOURS * (-(-phases // pixels)) ** 2
        wide = {"OUTPUTS": max(STEP, 1 << (outputs - 1).bit_length())}
        yield _describe(
            "forward", forward.phase_linear, ("maps", "weights", "base", "out"), (), scale,
            wide | {"BASE": True, "BLOCK": WIDEST},
        )  # fmt: skip
        yield _describe(
            "backward of the maps", backward.phase_linear_backward_maps, ("grad", "weights", "d_maps"), (), scale,
            {"BLOCK": WIDEST, "CHANNELS": WIDEST},
        )  # fmt: skip
        yield _describe(
            "backward of the weights", backward.phase_linear_backward_weights, ("grad", "maps", "partial"), ("tiles",),
            scale, wide | {"CHANNELS": WIDEST},
        )  # fmt: skip
