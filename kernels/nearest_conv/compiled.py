"""What nearest_conv launches, described so that it compiles with no GPU: 64 channels, as BF-STVSR has, at scale 4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vinr_engine.kernels.common.aot import Configuration
from vinr_engine.kernels.nearest_conv import backward, forward
from vinr_engine.kernels.nearest_conv.launch import constants

CHANNELS, MOST = 64, 5


def _describe(
    name: str, kernel: Any, floats: tuple[str, ...], tables: tuple[str, ...], sizes: tuple[str, ...], **more: int
) -> Configuration:
    shared = constants(CHANNELS)
    warps = shared.pop("num_warps")
    pointers = dict.fromkeys(floats, "*fp32") | dict.fromkeys(tables, "*i64")
    counts = ("pixels", "row_count", "column_count", "image_places", "height", "width", *sizes)
    return Configuration(
        name=f"nearest_conv {name} of {CHANNELS} channels", kernel=kernel,
        signature=pointers | dict.fromkeys(counts, "i32"), constexprs=shared | more, num_warps=warps, num_stages=3,
        aligned=frozenset(pointers), training=name != "forward", matrix=False,
    )  # fmt: skip


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel; they are the same on every GPU."""
    tables = ("rows", "columns")
    yield _describe("forward", forward.nearest_conv_add, ("products", "out"), tables, ("places",))
    yield _describe(
        "backward", backward.nearest_conv_gather, ("grad", "d_products"), (*tables, "first_row", "first_column"), (),
        MOST_ROWS=MOST, MOST_COLUMNS=MOST,
    )  # fmt: skip
