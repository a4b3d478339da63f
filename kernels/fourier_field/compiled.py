"""What fourier_field launches, described so that it compiles with no GPU: the fields of V3 and of Thera."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vinr_engine.kernels.common.aot import Configuration
from vinr_engine.kernels.fourier_field import backward, forward
from vinr_engine.kernels.fourier_field.launch import backward_constants, forward_constants

FIELDS = ((512, 3), (512, 2), (32, 2))  # sines, and axes of their frequencies
_FORWARD = ("amplitude", "phase", "frequencies", "damping", "offsets", "offset_y", "offset_x", "out")
_BACKWARD = (
    "grad", "amplitude", "phase", "frequencies", "damping", "offsets", "offset_y", "offset_x", "d_amplitude", "d_phase",
    "d_field", "d_offsets",
)  # fmt: skip
_FORWARD_WHOLE, _BACKWARD_WHOLE = ("near_y", "near_x"), ("first_y", "first_x")
_SIZES = ("height", "width", "rows", "columns")


def _describe(
    name: str, kernel: Any, pointers: tuple[str, ...], whole: tuple[str, ...], sizes: tuple[str, ...],
    constants: dict[str, Any],
) -> Configuration:  # fmt: skip
    warps = constants.pop("num_warps")
    signature = (
        dict.fromkeys(pointers, "*fp32")
        | {"frames": "*i64"}
        | dict.fromkeys(whole, "*i32")
        | dict.fromkeys(sizes, "i32")
    )
    return Configuration(
        name=f"fourier_field {name} of {constants['D']} sines by {constants['AXES']} axes", kernel=kernel,
        signature=signature, constexprs=constants | {"LARGE": False}, num_warps=warps, num_stages=3,
        aligned=frozenset((*pointers, "frames", *whole)), training=name != "forward", matrix=False,
    )  # fmt: skip


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel; they are the same on every GPU."""
    for functions, axes in FIELDS:
        yield _describe(
            "forward", forward.fourier_field, _FORWARD, _FORWARD_WHOLE, ("outputs", *_SIZES),
            forward_constants(functions, 3, axes),
        )  # fmt: skip
        yield _describe(
            "backward", backward.fourier_field_backward, _BACKWARD, _BACKWARD_WHOLE,
            ("pixels", *_SIZES, "images", "high", "wide"), backward_constants(functions, 3, axes),
        )  # fmt: skip
