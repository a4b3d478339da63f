"""What launches of the query's kernels share; plain Python."""

from __future__ import annotations

import functools

import torch
from vinr_engine.kernels._runtime import INTERPRETED

OPERANDS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def arithmetic(operands: str) -> tuple[torch.dtype, str, int]:
    """dtype of a product's operands, its `input_precision`, and how many columns of a layer are held at once."""
    if operands in OPERANDS:
        return OPERANDS[operands], "tf32", 64
    return torch.float32, operands, 32


@functools.lru_cache(maxsize=16)
def programs(device: torch.device) -> int:
    """How many persistent programs fill the device: each takes a whole multiprocessor, for its registers."""
    if INTERPRETED:
        return 2
    return torch.cuda.get_device_properties(device).multi_processor_count
