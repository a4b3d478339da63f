"""Which backend may run an op, and which one does.

`auto` takes the first backend of `ORDER` that can run the op on the tensors at hand; `reference`, plain torch, always
can, and the log says once why nothing else could. A backend asked for by name runs or raises, saying why. The choice is
process-wide: by `with backend("cpu"):`, or by the variable VINR_BACKEND when the package is imported.

Triton's interpreter, see `vinr_engine.kernels.common.runtime`, runs where "triton" is asked for by name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import TypeVar

import torch

from vinr_engine import _cuda
from vinr_engine._extension import EXTENSION, Extension
from vinr_engine.kernels.common import runtime as triton_runtime

ORDER = ("cpu", "triton", "cuda", "reference")
NAMES = ("auto", *ORDER)
# How GPUs multiply float32: as float32, as three products of tf32 parts (nearly as exact), or as one product of numbers
# rounded to tf32 (10 bits after the point).
PRECISIONS = ("ieee", "tf32x3", "tf32")
TRITON_WIDTH = 512  # widest layer of a network whose activations a tile of pixels holds in registers
_LOG = logging.getLogger("vinr_engine")
Result = TypeVar("Result")


class BackendError(RuntimeError):
    """A backend that was asked for by name cannot run the op on these tensors."""


class CompilerError(BackendError):
    """A backend's compiler made no kernel: nothing ran. `auto` does without that backend for that op from then on."""


# A plain global: torch.compile guards on it, where a ContextVar would break its graph.
_chosen = "auto"
_input_precision = "tf32x3"
_said: set[str] = set()
# (backend, op, whether only with gradients) -> why `auto` does without it.
_given_up: dict[tuple[str, str, bool], str] = {}


@dataclass(frozen=True)
class Status:
    """One line of `report()`: whether a backend can run here at all, and if not, why."""

    name: str
    available: bool
    reason: str


def _validated(name: str) -> str:
    if name not in NAMES:
        raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(NAMES)}")
    return name


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Run every op inside the block on `name`: "auto", "cpu", "triton", "cuda" or "reference".

    Raises ValueError for an unknown name; inside, an op that `name` cannot run raises BackendError.
    """
    global _chosen
    before, _chosen = _chosen, _validated(name)
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
    """What the triton backend's networks multiply for tensors of `dtype`: the precision in force, or a 16-bit dtype."""
    return _input_precision if dtype == torch.float32 else str(dtype).removeprefix("torch.")


def _unknown_variant() -> str:
    """Why VINR_CPU, the instruction set asked for, cannot be used; empty if it can."""
    try:
        torch.ops.vinr.cpu_variant()
    except RuntimeError as error:
        return "VINR_CPU=" + str(error).splitlines()[0].rpartition("VINR_CPU=")[2]
    return ""


def _unavailable(name: str) -> str:
    """Why backend `name` cannot run on this machine at all; empty if it can."""
    if name == "cpu":
        return EXTENSION.error
    if name == "triton":
        return triton_runtime.unavailable()
    if name == "cuda":
        return _cuda.unavailable()
    return ""


def report() -> list[Status]:
    """One status for each backend, in the order in which `auto` tries them."""
    reasons = {name: _unavailable(name) for name in ORDER}
    reasons["cpu"] = reasons["cpu"] or _unknown_variant()
    return [Status(name, not reason, reason) for name, reason in reasons.items()]


def extension() -> Extension:
    """The loaded C++ extension, or why there is none."""
    return EXTENSION


def _refusal(name: str, op: str, tensors: tuple[torch.Tensor | None, ...]) -> str:
    """Why backend `name` cannot run `op` on `tensors`; empty if it can."""
    if name == "reference":
        return ""
    if reason := _unavailable(name):
        return reason
    if op not in OPS_OF[name]:
        return f"it has no {op}"
    return OPS_OF[name][op](*tensors)


def _cpu_deform_conv2d(*tensors: torch.Tensor | None) -> str:
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device.type not in ("cpu", "meta"):
            return f"it takes CPU tensors, got one on {tensor.device}"
        if not tensor.is_floating_point():
            return f"it takes floating-point tensors, got {tensor.dtype}"
    return ""


def _cpu_inr_query(*tensors: torch.Tensor | None) -> str:
    if torch.is_grad_enabled() and tensors[2] is not None and tensors[2].requires_grad:
        return "it has no gradient of times"
    return _cpu_deform_conv2d(*tensors)


def _cpu_sampled_mlp(*tensors: torch.Tensor | None) -> str:
    for tensor in tensors:
        if tensor is not None and tensor.dtype not in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            return f"it takes float32, float64, bfloat16 and float16 tensors, got {tensor.dtype}"
    return _cpu_deform_conv2d(*tensors)


def _triton_sampled_mlp(*tensors: torch.Tensor | None) -> str:
    for tensor in tensors:
        if tensor is not None and tensor.dim() == 2 and max(tensor.shape) > TRITON_WIDTH:
            return f"it takes layers of up to {TRITON_WIDTH} inputs and outputs, got {list(tensor.shape)}"
    return triton_runtime.refusal(*tensors)


def _version_of_triton() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in metadata.version("triton").split(".")[:2])
    except (metadata.PackageNotFoundError, ValueError):
        return ()


_TRITON_VERSION = _version_of_triton()


def _miscompiled_query(tensor: torch.Tensor | None) -> str:
    """Why Triton's kernels of the query must not run on the GPU of `tensor`, whatever their compiler says.

    For compute capability 10.x Triton 3.6 makes them of a few instructions that write nothing, in 16 bits, and reports
    no error: `benchmarks.static --also` sees it, 3.9's are whole.
    """
    if tensor is None or tensor.device.type != "cuda" or not () < _TRITON_VERSION < (3, 9):
        return ""
    if torch.cuda.get_device_capability(tensor.device)[0] != 10:
        return ""
    return "Triton before 3.9 makes empty kernels of it for compute capability 10.x: install a newer one"


def _triton_inr_query(*tensors: torch.Tensor | None) -> str:
    features, _, times, *weights = tensors
    if reason := _miscompiled_query(features):
        return reason
    if torch.is_grad_enabled() and times is not None and times.requires_grad:
        return "it has no gradient of times"
    for weight in weights:
        if weight is not None and weight.shape[0] > TRITON_WIDTH:
            return f"it takes layers of up to {TRITON_WIDTH} outputs, got {weight.shape[0]}"
    return triton_runtime.refusal(*tensors)


# Backend -> op -> a function of the op's tensors that says why the backend cannot run it; empty if it can.
OPS_OF: dict[str, dict[str, Callable[..., str]]] = {
    "cpu": {
        "deform_conv2d": _cpu_deform_conv2d,
        "deform_conv2d_packed": _cpu_deform_conv2d,
        "inr_query": _cpu_inr_query,
        "sampled_mlp": _cpu_sampled_mlp,
    },
    "triton": {
        "deform_conv2d": triton_runtime.deform_conv2d_refusal,
        "deform_conv2d_packed": triton_runtime.deform_conv2d_refusal,
        "inr_query": _triton_inr_query,
        "sampled_mlp": _triton_sampled_mlp,
    },
    "cuda": {
        "deform_conv2d": _cuda.refusal,
        "deform_conv2d_packed": _cuda.refusal,
        "inr_query": _cuda.inr_query_refusal,
    },
}


def can_run(name: str, op: str, *tensors: torch.Tensor | None, raise_error: bool = False) -> bool:
    """Whether backend `name` can run `op` on `tensors`. With `raise_error`, BackendError says why it cannot."""
    reason = _refusal(_validated(name), op, tensors)
    if reason and raise_error:
        raise BackendError(f"{op}: backend {name!r} cannot run: {reason}")
    return not reason


def give_up(name: str, op: str, gradients: bool, reason: str) -> CompilerError:
    """Let `auto` do without backend `name` for `op`, or for its gradients alone; the error to raise."""
    _given_up[name, op, gradients] = reason
    what = f"the gradients of {op}" if gradients else op
    return CompilerError(f"{op}: backend {name!r} has no kernel for {what} here: {reason}")


def _has_given_up(name: str, op: str, tensors: tuple[torch.Tensor | None, ...]) -> str:
    """Why `auto` does without backend `name`; empty if it does not."""
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    return _given_up.get((name, op, False)) or (_given_up.get((name, op, True), "") if wanted else "")


def run(op: str, tensors: Sequence[torch.Tensor | None], call: Callable[[str], Result]) -> Result:
    """`call` with the backend that runs `op` on `tensors`.

    Where the backend was chosen by `auto` and its compiler fails, the log says so once and the next one runs; a result
    or an error of a kernel that ran is never replaced. Raises BackendError.
    """
    name = select(op, *tensors)
    if _chosen != "auto" or torch.compiler.is_compiling():  # its graphs catch nothing; the next call is traced anew
        return call(name)
    try:
        return call(name)
    except CompilerError as error:
        following = select(op, *tensors)
        _LOG.warning("%s runs on the %s backend instead, and does from now on. %s", op, following, error)
        return call(following)


def select(op: str, *tensors: torch.Tensor | None) -> str:
    """The backend that runs `op` on `tensors`. Raises BackendError if the one asked for cannot."""
    if _chosen != "auto":
        can_run(_chosen, op, *tensors, raise_error=True)
        return _chosen
    for name in ORDER:
        if name == "triton" and triton_runtime.INTERPRETED:
            continue
        if can_run(name, op, *tensors) and not _has_given_up(name, op, tensors):
            break
    if name == "reference" and not torch.compiler.is_compiling():
        _say_why(op, tensors)
    return name


def _say_why(op: str, tensors: tuple[torch.Tensor | None, ...]) -> None:
    """Log once why no compiled backend runs `op` on tensors like these."""
    device = next((t.device.type for t in tensors if t is not None), "cpu")
    candidates = ("cpu",) if device == "cpu" else ORDER[1:-1]
    reasons = "; ".join(
        f"{name}: {_refusal(name, op, tensors) or _has_given_up(name, op, tensors)}" for name in candidates
    )
    message = f"{op} runs on the reference, which is slow. {reasons}"
    if message not in _said:
        _said.add(message)
        _LOG.warning(message)


# A wrong name raises where an op first asks for it, so that the command line can say so in one line.
_chosen = os.environ.get("VINR_BACKEND") or "auto"
