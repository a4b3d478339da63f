"""Whether Triton kernels can run on given tensors; nothing here needs Triton itself.

With TRITON_INTERPRET=1 in the environment before this package is imported, Triton's interpreter runs the kernels on the
CPU, and they take CPU tensors. It is slow, and there for tests.
"""

from __future__ import annotations

import importlib.util
import os
from importlib import metadata

import torch
from torch import Tensor


def _version() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in metadata.version("triton").split(".")[:2])
    except (metadata.PackageNotFoundError, ValueError):
        return ()


INSTALLED = importlib.util.find_spec("triton") is not None
VERSION = _version()  # (major, minor), () where it is not installed
# What Triton takes for true, and when: `triton.jit` reads it once for each kernel.
INTERPRETED = INSTALLED and os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes")
WIDEST = 512  # layer of a network whose activations a tile of pixels holds in registers
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
OLDEST = (8, 0)  # tensor cores with tf32 and bfloat16, and cp.async

# Triton's interpreter multiplies bfloat16 as integers and casts to it wrongly. The tests mend that and say so here.
interpreter_knows_bfloat16 = False


def unavailable() -> str:
    """Why no Triton kernel can run here; empty if they can."""
    if not INSTALLED:
        return "Triton is not installed"
    if not INTERPRETED and not torch.cuda.is_available():
        return "it needs an NVIDIA GPU; TRITON_INTERPRET=1 runs its kernels in Triton's interpreter, slowly"
    return ""


# Errors that say that a kernel cannot be made, by class: its source, its machine code, or what a block asks for.
_COMPILERS = ("CompilationError", "PTXASError", "OutOfResources", "CalledProcessError")
# And by what they say, where Triton raises none of its own: for the stub that launches a kernel it calls a C compiler.
_SAID = ("Failed to find C compiler", "libcuda.so cannot found", "PassManager::run failed")


def compiler_failure(error: BaseException) -> str:
    """In one line why Triton's compilers made no kernel; empty for other errors, such as those of a kernel that ran."""
    classes = {c.__name__ for c in type(error).__mro__ if c.__module__.split(".")[0] in ("triton", "subprocess")}
    lines = str(error).strip().splitlines() or [""]
    known = classes & set(_COMPILERS) or any(text in str(error) for text in _SAID)
    return f"{type(error).__name__}: {lines[-1].strip()}" if known else ""


def refusal(*tensors: Tensor | None) -> str:
    """Why no Triton kernel can take these tensors; empty if they can. None stands for an argument not given."""
    given = [t for t in tensors if t is not None]
    for tensor in given:
        if tensor.device != given[0].device:
            return f"its tensors must be on one device, got {given[0].device} and {tensor.device}"
        if reason := _device_refusal(tensor.device) or _dtype_refusal(tensor.dtype):
            return reason
    return ""


def _device_refusal(device: torch.device) -> str:
    if INTERPRETED:
        return "" if device.type in ("cpu", "cuda", "meta") else f"the interpreter takes CPU tensors, got {device}"
    if device.type == "meta":
        return ""
    if device.type != "cuda":
        return f"it takes CUDA tensors, got one on {device}"
    properties = torch.cuda.get_device_properties(device)
    capability = properties.major, properties.minor
    if capability < OLDEST:
        return "it needs a GPU of compute capability {}.{} or later, got {}.{}".format(*OLDEST, *capability)
    return ""


def _dtype_refusal(dtype: torch.dtype) -> str:
    if dtype not in DTYPES:
        return f"it takes float32, float16 and bfloat16 tensors, got {dtype}"
    if dtype == torch.bfloat16 and INTERPRETED and not interpreter_knows_bfloat16:
        return "Triton's interpreter computes bfloat16 wrongly"
    return ""


def passes_32_bits(*tensors: Tensor | None) -> bool:
    """Whether offsets into one of these, or its number of elements, need 64 bits."""
    for tensor in tensors:
        if tensor is None:
            continue
        last = sum((n - 1) * abs(s) for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        if max(last, tensor.numel()) >= 2**31 - 2**20:  # whole tiles may stand out past the end
            return True
    return False
