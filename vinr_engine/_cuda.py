"""What the extension's CUDA kernels ask of the tensors of a call."""

from __future__ import annotations

import torch

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
OLDEST = (8, 0)  # compute capability: cp.async, and matrix instructions of bfloat16 and TF32


def refusal(*tensors: torch.Tensor | None) -> str:
    """Why the CUDA kernels cannot run on `tensors`; empty if they can. They have no backward pass."""
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
