"""What deform_conv2d launches, described so that it compiles with no GPU: 64 channels in 8 groups, as published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vinr_engine.kernels.common.aot import Configuration
from vinr_engine.kernels.deform_conv2d import backward as backward_kernels
from vinr_engine.kernels.deform_conv2d import forward as kernels
from vinr_engine.kernels.deform_conv2d.launch import LOGIT, constants, weight_constants

CHANNELS = 64
OFFSET_GROUPS = 8
WEIGHT = (64, CHANNELS, 3, 3)
# Name -> Triton's type, bytes, precisions of products.
PRECISIONS = {
    "float16": ("*fp16", 2, ("ieee",)),
    "bfloat16": ("*bf16", 2, ("ieee",)),
    "float32": ("*fp32", 4, ("tf32", "tf32x3", "ieee")),
}
_SIZES = ("H", "W", "OH", "OW", "pixels", "size_class")
_PLACES = tuple(f"{tensor}_{axis}" for tensor in ("off", "mask") for axis in "bcyx")
# Channels-last tensors of 64 channels; offset_mask has 216, so that its strides are multiples of 8 alone.
_ALIGNED = {"in_b", "in_y", "in_x", "out_b", "out_y", "out_x", "grad_b", "grad_y", "grad_x", "sum_b", "sum_y", "sum_x"}


def _describe(
    name: str, kernel: Any, launch: Any, pointers: dict[str, str], strides: tuple[str, ...], constexprs: dict[str, Any],
    training: bool, matrix: bool,
) -> Configuration:  # fmt: skip
    given = {k: v for k, v in launch.kwargs.items() if k.startswith("BLOCK")}
    pointers_and_sizes = pointers | dict.fromkeys((*_SIZES, *_PLACES, *strides), "i32")
    ones = {n: 1 for n in ("off_c", "mask_c", "to_c", "to_mask_c", "grad_o", "out_o") if n in kernel.arg_names}
    return Configuration(
        name=f"{name}, {given['BLOCK_P']} pixels, {launch.num_warps} warps, {launch.num_stages} stages",
        kernel=kernel,
        signature={n: t for n, t in pointers_and_sizes.items() if n not in ones},
        constexprs=constexprs | given | ones,
        num_warps=launch.num_warps,
        num_stages=launch.num_stages,
        aligned=frozenset(_ALIGNED | set(pointers) - {"mask", "grad_mask"}),
        training=training,
        matrix=matrix,
    )


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """Every kernel in every precision and launch configuration, for offsets and mask logits in one tensor.

    They are the same on every GPU; the autotuner chooses.
    """
    geometry = (1, 1), (1, 1), (1, 1)
    for dtype, (pointer, itemsize, precisions) in PRECISIONS.items():
        for precision in precisions:
            shared = constants(CHANNELS, OFFSET_GROUPS, WEIGHT, itemsize, LOGIT, False, *geometry, precision)
            label = dtype if itemsize == 2 else f"{dtype} {precision}"
            yield from _passes(label, pointer, shared, matrix=precision != "ieee" or itemsize == 2)


def _passes(label: str, pointer: str, shared: dict[str, Any], matrix: bool) -> Iterator[Configuration]:
    reads = dict.fromkeys(("input", "offset", "mask"), pointer)
    for launch in kernels.prune_forward(kernels.CONFIGURATIONS, {}, **shared):
        yield _describe(
            f"deform_conv2d forward {label}", kernels.forward, launch,
            reads | dict.fromkeys(("weight", "bias", "output"), pointer),
            ("in_b", "in_y", "in_x", "out_b", "out_o", "out_y", "out_x"), shared | {"BIAS": True}, False, matrix,
        )  # fmt: skip
    grad = ("grad_b", "grad_o", "grad_y", "grad_x", "in_b", "in_y", "in_x")
    for launch in kernels.prune(backward_kernels.WEIGHT, {}, **shared):
        yield _describe(
            f"deform_conv2d backward_weight {label}", backward_kernels.backward_weight, launch,
            reads | {"grad": pointer, "partial": "*fp32"}, (*grad, "span", "slab_size"), weight_constants(shared),
            True, matrix,
        )  # fmt: skip
    to = tuple(f"{p}_{axis}" for p in ("to", "to_mask") for axis in ("part", *"bcyx"))
    wanted = {"RUN": min(shared["SHARE"], shared["BLOCK_S"]), "INPUT": True, "OFFSET": True}
    ways = [(launch, False) for launch in kernels.prune(backward_kernels.SAMPLES, {}, **shared)]
    for launch, fixed in (*ways, (backward_kernels.SAMPLES[0], True)):
        yield _describe(
            f"deform_conv2d backward_samples {label}{' deterministic' if fixed else ''}",
            backward_kernels.backward_samples, launch,
            reads | dict.fromkeys(("grad", "weight", "grad_offset", "grad_mask"), pointer)
            | {"grad_input": "*i64" if fixed else "*fp32", "scale": "*fp32"},
            (*grad, *to, "sum_b", "sum_y", "sum_x"), shared | wanted | {"FIXED": fixed}, True, matrix,
        )  # fmt: skip
