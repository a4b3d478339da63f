"""What bspline_head launches, described so that it compiles with no GPU: the motion of BF-STVSR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vinr_engine.kernels.bspline_head import backward, forward
from vinr_engine.kernels.bspline_head.launch import constants
from vinr_engine.kernels.common.aot import Configuration

SPLINES, OUTPUTS = 64, 3
_READ = ("coef", "knot", "dilation", "t")
_SIZES = ("times", "batch", "tiles", "pixels", "coef_image", "coef_pixel", "knot_image", "knot_pixel")


def _describe(name: str, kernel: Any, pointers: tuple[str, ...], **more: bool) -> Configuration:
    shared = constants(SPLINES, OUTPUTS)
    warps = shared.pop("num_warps")
    return Configuration(
        name=f"bspline_head {name} of {SPLINES} splines", kernel=kernel,
        signature=dict.fromkeys(pointers, "*fp32") | dict.fromkeys(_SIZES, "i32"), constexprs=shared | more,
        num_warps=warps, num_stages=3, aligned=frozenset((*pointers, *_SIZES[4:])), training=name != "forward",
        matrix=False,
    )  # fmt: skip


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel; they are the same on every GPU."""
    yield _describe("forward", forward.bspline_head, (*_READ, "weight", "bias", "out"), BIAS=True)
    yield _describe(
        "backward", backward.bspline_head_backward,
        ("grad", *_READ, "weight", "d_coef", "d_knot", "d_dilation", "d_t"), COEF=True, KNOT=True,
    )  # fmt: skip
    yield _describe(
        "backward of the weight", backward.bspline_head_backward_weight, ("grad", *_READ, "d_weight")
    )  # fmt: skip
