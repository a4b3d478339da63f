"""What the ops of the triton backend share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vinr_engine import backends
from vinr_engine.kernels.common import runtime


def _first_tensor(arguments: tuple[Any, ...]) -> Tensor:
    each = (a for argument in arguments for a in (argument if isinstance(argument, (list, tuple)) else (argument,)))
    return next(a for a in each if isinstance(a, Tensor))


def implement(name: str, function: Callable[..., Any]) -> None:
    """Let `function` run the op `name` on a GPU, and in Triton's interpreter on the CPU.

    Triton launches on the current device and its stream. PyTorch makes the device of an op's tensors current for
    kernels written in C++, not for those in Python.

    Where Triton makes no kernel the op raises `backends.CompilerError`, which `backends.run` answers.
    """
    op, _, backward = name.removeprefix("vinr::").partition("_triton")

    def on_its_device(*arguments: Any) -> Any:
        with torch.cuda.device_of(_first_tensor(arguments)):
            try:
                return function(*arguments)
            except Exception as error:
                if reason := runtime.compiler_failure(error):
                    raise backends.give_up("triton", op, bool(backward), reason) from error
                raise

    torch.library.impl(name, ("cpu", "cuda"), on_its_device)
