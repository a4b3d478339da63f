"""What deform_attention launches, described so that it compiles with no GPU: the sizes of V3 and RVRT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vinr_engine.kernels.common.aot import Configuration
from vinr_engine.kernels.deform_attention import backward, forward
from vinr_engine.kernels.deform_attention.launch import BACKWARD_WARPS, FORWARD_WARPS, constants

SIZES = ((180, 12, 12), (144, 12, 12))  # channels, heads and groups


def _describe(
    name: str, channels: int, kernel: Any, warps: int, pointers: tuple[str, ...], numbers: tuple[str, ...],
    fixed: dict[str, Any],
) -> Configuration:  # fmt: skip
    return Configuration(
        name=f"deform_attention {name} of {channels} channels", kernel=kernel,
        signature=dict.fromkeys(pointers, "*fp32") | dict.fromkeys(("height", "width"), "i32")
        | dict.fromkeys(numbers, "fp32"), constexprs=fixed | {"LARGE": False}, num_warps=warps, num_stages=3,
        aligned=frozenset(pointers), training=name != "forward", matrix=False,
    )  # fmt: skip


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel; they are the same on every GPU."""
    for channels, heads, groups in SIZES:
        fixed = constants(2, channels, heads, groups, (3, 3), (1, 1))
        read = ("q", "kv", "offset")
        yield _describe(
            "forward", channels, forward.deform_attention, FORWARD_WARPS, (*read, "out"), ("scale",), fixed
        )  # fmt: skip
        pointers = ("grad", *read, "d_q", "d_kv", "d_offset", "steps")
        yield _describe(
            "backward", channels, backward.deform_attention_backward, BACKWARD_WARPS, pointers,
            ("scale", "keys_factor"), fixed | {"WANTS_KV": True, "WANTS_OFFSET": True, "FIXED": False},
        )  # fmt: skip
