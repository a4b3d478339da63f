"""What the extension's CUDA kernels ask of this machine and of the tensors of a call."""

from __future__ import annotations

import torch

from vinr_engine.extension import EXTENSION

# Asked once: torch.compile cannot trace the question.
BUILT = EXTENSION.path is not None and torch._C._dispatch_has_kernel_for_dispatch_key("vinr::inr_query", "CUDA")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
OLDEST = (8, 0)  # compute capability: cp.async, and matrix instructions of bfloat16 and TF32


def refusal(*tensors: torch.Tensor | None) -> str:
    """Why the CUDA kernels cannot run on these tensors; empty if they can. They have no backward pass."""
    given = [t for t in tensors if t is not None]
    for tensor in given:
        if tensor.device.type != "cuda":
            return f"it takes CUDA tensors, got one on {tensor.device}"
        if tensor.device != given[0].device:
            return f"it takes tensors of one device, got {given[0].device} and {tensor.device}"
        if tensor.dtype not in DTYPES:
            return f"it takes float32, float16 and bfloat16 tensors, got {tensor.dtype}"
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        return "it has no gradients, which the triton and reference backends have"
    capability = torch.cuda.get_device_capability(given[0].device) if given else OLDEST
    if capability < OLDEST:
        return f"it needs a GPU of compute capability 8.0 or later, this one has {capability[0]}.{capability[1]}"
    return ""


def unavailable() -> str:
    """Why the CUDA kernels cannot run on this machine at all; empty if they can."""
    if not BUILT:
        return EXTENSION.error or "the C++ extension was built without CUDA (VINR_CUDA=1 builds it with)"
    if not torch.cuda.is_available():
        return "PyTorch finds no NVIDIA GPU here" if torch.version.cuda else "this PyTorch is built without CUDA"
    return ""
