"""Which backends this machine has, and which one the user asked for; `ops.op` chooses by them.

`auto` takes the first backend of `ORDER` that can run the op on the tensors at hand; `reference`, plain torch, always
can, and the log says once why nothing else could. A backend asked for by name runs or raises, saying why. The choice is
process-wide: by `with backend("cpu"):`, or by the variable VINR_BACKEND when the ops are imported.

Triton's interpreter, see `vinr_engine.kernels.common.runtime`, runs where "triton" is asked for by name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from vinr_engine import cuda
from vinr_engine.extension import EXTENSION, Extension
from vinr_engine.kernels.common import runtime as triton_runtime

ORDER = ("cpu", "triton", "cuda", "reference")
NAMES = ("auto", *ORDER)
# How GPUs multiply float32: as float32, as three products of tf32 parts (nearly as exact), or as one product of numbers
# rounded to tf32 (10 bits after the point).
PRECISIONS = ("ieee", "tf32x3", "tf32")
LOW_PRECISION = (torch.float16, torch.bfloat16)
_LOG = logging.getLogger("vinr_engine")


class BackendError(RuntimeError):
    """A backend that was asked for by name cannot run the op on these tensors."""


class CompilerError(BackendError):
    """A backend's compiler made no kernel: nothing ran. `auto` does without that backend for that op from then on."""


# A plain global: torch.compile guards on it, where a ContextVar would break its graph.
_chosen = "auto"
_input_precision = "tf32x3"
said: set[str] = set()


@dataclass(frozen=True)
class Status:
    """One line of `report()`: whether a backend can run here at all, and if not, why."""

    name: str
    available: bool
    reason: str


def validated(name: str) -> str:
    """`name`, if it is of NAMES; else ValueError."""
    if name not in NAMES:
        raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(NAMES)}")
    return name


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Run every op inside the block on `name`: "auto", "cpu", "triton", "cuda" or "reference".

    Raises ValueError for an unknown name; inside, an op that `name` cannot run raises BackendError.
    """
    global _chosen
    before, _chosen = _chosen, validated(name)
    try:
        yield
    finally:
        _chosen = before


def chosen() -> str:
    """The name in force."""
    return _chosen


@contextmanager
def input_precision(name: str) -> Iterator[None]:
    """Multiply float32 tensors by "ieee", "tf32x3" (the default) or "tf32" inside the block, on a GPU.

    It counts for ops called inside the block and for their gradients, on the triton and the cuda backend; the latter
    has one way for the first two: three products of tf32 parts in `deform_conv2d`, float32 in the query. PyTorch's own
    products, such as the plain convolutions of the network, go by PyTorch's own switches. Raises ValueError for an
    unknown name.
    """
    global _input_precision
    if name not in PRECISIONS:
        raise ValueError(f"unknown input precision {name!r}: choose one of {', '.join(PRECISIONS)}")
    before, _input_precision = _input_precision, name
    try:
        yield
    finally:
        _input_precision = before


def chosen_input_precision() -> str:
    """The precision in force."""
    return _input_precision


def chosen_operands(dtype: torch.dtype) -> str:
    """What products of tensors of `dtype` multiply, the argument `operands` of every op.

    "float16" or "bfloat16", sums being float32, or for other dtypes the precision in force. A device that lacks one
    takes the next more exact one: CPUs know no tf32 and no float16, most of them no bfloat16.
    """
    return str(dtype).removeprefix("torch.") if dtype in LOW_PRECISION else _input_precision


def _unknown_variant() -> str:
    """Why VINR_CPU, the instruction set asked for, cannot be used; empty if it can."""
    try:
        torch.ops.vinr.cpu_variant()
    except RuntimeError as error:
        return "VINR_CPU=" + str(error).splitlines()[0].rpartition("VINR_CPU=")[2]
    return ""


def unavailable(name: str) -> str:
    """Why backend `name` cannot run on this machine at all; empty if it can."""
    if name == "cpu":
        return EXTENSION.error
    if name == "triton":
        return triton_runtime.unavailable()
    if name == "cuda":
        return cuda.unavailable()
    return ""


def report() -> list[Status]:
    """One status for each backend, in the order in which `auto` tries them."""
    reasons = {name: unavailable(name) for name in ORDER}
    reasons["cpu"] = reasons["cpu"] or _unknown_variant()
    return [Status(name, not reason, reason) for name, reason in reasons.items()]


def extension() -> Extension:
    """The loaded C++ extension, or why there is none."""
    return EXTENSION


def say_once(message: str) -> None:
    """Log a warning, unless it was logged before."""
    if message not in said:
        said.add(message)
        _LOG.warning(message)


# A wrong name raises where an op first asks for it, so that the command line can say so in one line.
_chosen = os.environ.get("VINR_BACKEND") or "auto"
