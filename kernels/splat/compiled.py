"""What splat_sum and splat launch, described so that it compiles with no GPU: RGB, and the widths of their users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vinr_engine.kernels.common.aot import Configuration
from vinr_engine.kernels.splat import backward, forward
from vinr_engine.kernels.splat.launch import PLACES, constants

CHANNELS = (3, 64, 130)  # a picture, BF-STVSR with its next layer hoisted, and without


def _pointers(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), "*fp32")


def _describe(
    name: str, kernel: Any, pointers: dict[str, str], sizes: tuple[str, ...], constexprs: dict[str, Any]
) -> Configuration:
    return Configuration(
        name=f"splat {name}", kernel=kernel, signature=pointers | dict.fromkeys(sizes, "i32"),
        constexprs=constexprs | {"LARGE": False}, num_warps=4, num_stages=3, aligned=frozenset(pointers),
        training=name.startswith("backward"), matrix=False,
    )  # fmt: skip


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel; they are the same on every GPU."""
    sizes = ("height", "width")
    cells = {"flow": "*fp32", "cells": "*i32"}
    yield _describe("cells", forward.splat_cells, cells, ("sources", *sizes, "nowhere"), {"BLOCK": PLACES})
    tensors = _pointers("x flow weight out denominator count largest norm") | {"order": "*i64", "start": "*i32"}
    for channels in CHANNELS:
        for ending in ("", "add"):
            flags = dict(WEIGHTED=True, EXPONENTIAL=ending != "", ENDING=ending, COUNT=not ending, MAXIMUM=not ending)
            kind = "soft" if ending else "sum"
            yield _describe(
                f"forward {kind} of {channels} channels", forward.splat, tensors, ("pixels", *sizes),
                constants(channels) | flags,
            )  # fmt: skip
            gradients = _pointers("grad pull norm x flow weight d_x d_flow d_weight")
            wants = dict.fromkeys(("WEIGHTED", "WANTS_X", "WANTS_FLOW", "WANTS_WEIGHT"), True)
            yield _describe(
                f"backward {kind} of {channels} channels", backward.splat_backward, gradients,
                ("sources", *sizes), constants(channels) | wants | dict(EXPONENTIAL=ending != "", DIVIDED=ending != ""),
            )  # fmt: skip
        yield _describe(
            f"backward pull of {channels} channels", backward.splat_pull, _pointers("grad out norm pull"),
            ("pixels", "area"), constants(channels),
        )  # fmt: skip
