"""One declaration an operation: its schema, reference, fake, gradient and backends.

From an `Op` follow the torch ops `vinr::<name>` (kernels of the CPU and of CUDA C++, by the device of the tensors) and
`vinr::<name>_triton`, each with its backward op, for torch.compile and autograd; which backend runs a call; and what
`vinr info` says. docs/adding-an-op.md adds one.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vinr_engine import backends, cuda
from vinr_engine.backends import BackendError, CompilerError
from vinr_engine.kernels.common import runtime

LIBRARY = "vinr"
OPS: dict[str, Op] = {}
_LOG = logging.getLogger("vinr_engine")
# Backends whose kernels are registered for one torch op, by device; triton has one of its own, since CUDA's is taken.
_DEVICES = {"cpu": ("cpu",), "cuda": ("cuda",), "triton": ("cpu", "cuda")}  # Triton's interpreter takes CPU tensors


def tensors_of(arguments: Sequence[Any]) -> list[Tensor]:
    """All tensors of a call, also those in lists and tuples."""
    found: list[Tensor] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            found.append(argument)
        elif isinstance(argument, (list, tuple)):
            found += tensors_of(argument)
    return found


def wants_gradient(arguments: Sequence[Any]) -> bool:
    """Whether a call will be differentiated."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors_of(arguments))


@dataclass(frozen=True)
class Backend:
    """How one backend runs an op.

    refuse: of a call's arguments, why it cannot run them; "" if it can. That the backend runs on this machine at all
        was asked before.
    forward, backward: kernels called from Python, (*arguments of the torch op, *results), which fill the results that
        the op's fakes allocate. None where the C++ extension has registered them.
    """

    refuse: Callable[[Any], str]
    forward: Callable[..., None] | None = None
    backward: Callable[..., None] | None = None


class Op:
    """An operation.

    A call goes through three forms: the arguments of the public function, a tuple; from them `prepare` makes those of
    the torch op, without its last, `operands`; PyTorch makes those of the backward op.

    Args:
        name: of the torch op, `vinr::<name>`.
        schema, backward_schema: arguments and results of the torch op and its backward op, as PyTorch writes them;
            `str operands` is the last argument of both and says what products multiply, see `backends.chosen_operands`.
            Without a backward schema there is no backward op: `gradient` is put together of other ops.
        reference: the public arguments -> the result in plain torch.
        prepare: (backend, public arguments) -> arguments of the torch op, `operands` with them.
        fake, fake_backward: arguments of the torch op -> empty results of the right shapes, dtypes and strides.
        save: (ctx, inputs, output) keeps what `gradient` needs; `ctx.by_triton` is set before.
        gradient: (ctx, backward op or None, gradients of the results) -> gradients of the torch op's arguments.
        backends: by name, of `backends.ORDER`.
    """

    def __init__(
        self,
        name: str,
        *,
        schema: str,
        reference: Callable[[Any], Any],
        prepare: Callable[[str, Any], tuple[Any, ...]],
        fake: Callable[..., Any],
        save: Callable[[Any, tuple[Any, ...], Any], None],
        gradient: Callable[..., tuple[Any, ...]],
        backends: Mapping[str, Backend],
        backward_schema: str | None = None,
        fake_backward: Callable[..., Any] | None = None,
    ) -> None:
        self.name, self.reference, self.prepare = name, reference, prepare
        self.schema, self.backward_schema = schema, backward_schema
        self.fake, self.fake_backward, self.save, self.gradient = fake, fake_backward, save, gradient
        self.backends = dict(backends)
        # Why `auto` does without a backend: of calls, and of those that will be differentiated.
        self.given_up: dict[tuple[str, bool], str] = {}
        self.torch_ops: dict[str, Any] = {}
        for variant in (name, f"{name}_triton"):
            self._register(variant, [b for b in self.backends if self.variant(b) == variant])
        OPS[name] = self

    def variant(self, backend: str) -> str:
        """The name of the torch op that `backend` runs."""
        return f"{self.name}_triton" if backend == "triton" else self.name

    def __call__(self, arguments: Any) -> Any:
        """The result, by the backend that runs `arguments`, a tuple of the public function's.

        Where the backend was chosen by `auto` and its compiler fails, the log says so once and the next one runs; a
        result or an error of a kernel that ran is never replaced. Raises BackendError.
        """
        name = self.select(arguments)
        # A graph of torch.compile catches nothing; the next call is traced anew.
        if backends.chosen() != "auto" or torch.compiler.is_compiling():
            return self._run(name, arguments)
        try:
            return self._run(name, arguments)
        except CompilerError as error:
            following = self.select(arguments)
            _LOG.warning("%s runs on the %s backend instead, and does from now on. %s", self.name, following, error)
            return self._run(following, arguments)

    def _run(self, backend: str, arguments: Any) -> Any:
        if backend == "reference":
            return self.reference(arguments)
        return self.torch_ops[self.variant(backend)](*self.prepare(backend, arguments))

    def refusal(self, backend: str, arguments: Any) -> str:
        """Why `backend` cannot run `arguments`; empty if it can. Raises ValueError for an unknown backend."""
        if backends.validated(backend) == "reference":
            return ""
        if reason := backends.unavailable(backend):
            return reason
        if backend not in self.backends:
            return f"it has no {self.name}"
        if self.variant(backend) not in self.torch_ops:
            return f"the extension was built before it had {self.name}; `make build` builds it anew"
        return self.backends[backend].refuse(arguments)

    def check(self, backend: str, arguments: Any) -> None:
        """Raise BackendError, saying why, unless `backend` can run `arguments`."""
        if reason := self.refusal(backend, arguments):
            raise BackendError(f"{self.name}: backend {backend!r} cannot run: {reason}")

    def select(self, arguments: Any) -> str:
        """The backend that runs `arguments`. Raises BackendError if the one asked for cannot."""
        if (asked := backends.chosen()) != "auto":
            self.check(asked, arguments)
            return asked
        for name in backends.ORDER:
            if name == "triton" and runtime.INTERPRETED:
                continue
            if not self.refusal(name, arguments) and not self._has_given_up(name, arguments):
                break
        if name == "reference" and not torch.compiler.is_compiling():
            self._say_why(arguments)
        return name

    def _has_given_up(self, backend: str, arguments: Any) -> str:
        """Why `auto` does without `backend`; empty if it does not."""
        if reason := self.given_up.get((backend, False)):
            return reason
        reason = self.given_up.get((backend, True), "")
        return reason if reason and wants_gradient(arguments) else ""

    def give_up(self, backend: str, gradients: bool, reason: str) -> CompilerError:
        """Let `auto` do without `backend`, or without it where gradients are wanted; the error to raise."""
        self.given_up[backend, gradients] = reason
        what = f"the gradients of {self.name}" if gradients else self.name
        return CompilerError(f"{self.name}: backend {backend!r} has no kernel for {what} here: {reason}")

    def _say_why(self, arguments: Any) -> None:
        """Log once why no compiled backend runs arguments like these."""
        tensors = tensors_of(arguments)
        candidates = ("cpu",) if not tensors or tensors[0].device.type == "cpu" else backends.ORDER[1:-1]
        reasons = "; ".join(
            f"{name}: {self.refusal(name, arguments) or self._has_given_up(name, arguments)}" for name in candidates
        )
        backends.say_once(f"{self.name} runs on the reference, which is slow. {reasons}")

    def _register(self, variant: str, names: Sequence[str]) -> None:
        """Make `variant` a torch op, unless no backend that runs it is there."""
        python = [name for name in names if self.backends[name].forward is not None]
        if not python and not _is_defined(variant):
            return
        torch_ops = []
        directions: list[tuple[str, str, Callable[..., Any]]] = [("", self.schema, self.fake)]
        if self.backward_schema and self.fake_backward:
            directions.append(("_backward", self.backward_schema, self.fake_backward))
        for suffix, schema, fake in directions:
            full = variant + suffix
            if not _is_defined(full):
                torch.library.define(f"{LIBRARY}::{full}", schema)
            for name in python:
                torch.library.impl(f"{LIBRARY}::{full}", _DEVICES[name], self._filling(name, bool(suffix), fake))
            torch.library.register_fake(f"{LIBRARY}::{full}", fake)
            torch_ops.append(getattr(getattr(torch.ops, LIBRARY), full))
        self.torch_ops[variant], backward_op = torch_ops[0], torch_ops[1] if len(torch_ops) > 1 else None

        def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            ctx.by_triton = variant != self.name
            self.save(ctx, inputs, output)

        def differentiate(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
            return self.gradient(ctx, backward_op, *grads)

        torch.library.register_autograd(f"{LIBRARY}::{variant}", differentiate, setup_context=save)
        if backward_op is not None:
            torch.library.register_autograd(f"{LIBRARY}::{variant}_backward", self._second_derivative)

    def _filling(self, backend: str, backward: bool, fake: Callable[..., Any]) -> Callable[..., Any]:
        """A kernel called from Python, as PyTorch calls an op: on the device of its tensors, giving its results.

        PyTorch makes the device of an op's tensors current for kernels written in C++, not for those in Python, and
        Triton launches on the current one. Where its compiler makes no kernel, `CompilerError` says so.
        """

        def run(*arguments: Any) -> Any:
            kernels = self.backends[backend]
            kernel = kernels.backward if backward else kernels.forward
            if kernel is None:
                raise NotImplementedError(f"{self.name}: backend {backend!r} has no gradients")
            with torch.cuda.device_of(tensors_of(arguments)[0]):
                results = fake(*arguments)
                try:
                    kernel(*arguments, *(results if isinstance(results, tuple) else (results,)))
                except Exception as error:
                    if backend == "triton" and (reason := runtime.compiler_failure(error)):
                        raise self.give_up(backend, backward, reason) from error
                    raise
            return results

        return run

    def _second_derivative(self, ctx: Any, *grads: Tensor) -> None:
        raise NotImplementedError(
            f'{self.name}: no second derivative on this backend; use `with vinr_engine.backend("reference")`'
        )


def _is_defined(name: str) -> bool:
    return hasattr(getattr(torch.ops, LIBRARY), name)


def on_the_cpu(arguments: Any, dtypes: Sequence[torch.dtype] = ()) -> str:
    """Why kernels of the CPU cannot take the tensors of `arguments`, of `dtypes` or any floating-point one."""
    for tensor in tensors_of(arguments):
        if dtypes and tensor.dtype not in dtypes:
            *most, last = (str(dtype).removeprefix("torch.") for dtype in dtypes)
            return f"it takes {', '.join(most)} and {last} tensors, got {tensor.dtype}"
        if tensor.device.type not in ("cpu", "meta"):
            return f"it takes CPU tensors, got one on {tensor.device}"
        if not tensor.is_floating_point():
            return f"it takes floating-point tensors, got {tensor.dtype}"
    return ""


def on_triton(arguments: Any) -> str:
    """Why Triton kernels cannot take the tensors of `arguments`; empty if they can."""
    return runtime.refusal(*tensors_of(arguments))


def on_cuda(arguments: Any) -> str:
    """Why kernels in CUDA C++ cannot take the tensors of `arguments`; empty if they can."""
    return cuda.refusal(*tensors_of(arguments))


def triton_kernel(module: str, name: str) -> Callable[..., None]:
    """A function of `vinr_engine.kernels.<module>`; Triton is loaded when it first runs."""

    def run(*arguments: Any) -> None:
        getattr(importlib.import_module(f"vinr_engine.kernels.{module}"), name)(*arguments)

    return run


def gradient_operands(operands: str, by_cpu: bool = False) -> str:
    """What a backward pass multiplies, of what the forward pass does.

    float16 would lose small gradients, or overflow. bfloat16 has the exponents of float32, so neither happens, and the
    CPU's kernels keep it; those of GPUs, where tf32 costs less, do not.
    """
    return "tf32" if operands == "float16" or operands == "bfloat16" and not by_cpu else operands


def run_by_cpu(ctx: Any, like: Tensor) -> bool:
    """Whether the kernels of the CPU run the backward pass of `ctx`, of tensors like this one."""
    return like.device.type == "cpu" and not ctx.by_triton


def dtype_in_force(like: Tensor) -> torch.dtype:
    """Autocast's on the tensor's device, where it is on, or the tensor's own."""
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """What sums and gradients of tensors of `dtype` are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32
