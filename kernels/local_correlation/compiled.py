"""What local_correlation launches, described so that it compiles with no GPU: the searches of FlowINR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vinr_engine.kernels.common.aot import Configuration
from vinr_engine.kernels.local_correlation import backward, forward
from vinr_engine.kernels.local_correlation.launch import backward_constants, forward_constants

SEARCHES = ((24, 3), (32, 3), (64, 4))  # channels and radius
_SIZES = dict.fromkeys(("pixels", "height", "width"), "i32")


def _describe(name: str, kernel: Any, pointers: tuple[str, ...], constants: dict[str, Any]) -> Configuration:
    warps = constants.pop("num_warps")
    return Configuration(
        name=f"local_correlation {name} of {constants['C']} channels", kernel=kernel,
        signature=dict.fromkeys(pointers, "*fp32") | _SIZES, constexprs=constants | {"LARGE": False}, num_warps=warps,
        num_stages=3, aligned=frozenset(pointers), training=name != "forward", matrix=False,
    )  # fmt: skip


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel; they are the same on every GPU."""
    for channels, radius in SEARCHES:
        pointers = ("first", "second", "times", "out")
        yield _describe("forward", forward.local_correlation, pointers, forward_constants(channels, radius))
        pointers = ("grad", "other", "times", "d_map")
        for second in (False, True):
            yield _describe(
                f"backward{' of the second map' if second else ''}", backward.local_correlation_backward, pointers,
                backward_constants(channels, radius) | {"SECOND": second},
            )  # fmt: skip
