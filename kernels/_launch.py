"""What launches of the query's and the sampled MLP's kernels share; plain Python, with no Triton."""

from __future__ import annotations

import functools
from typing import Any

import torch
from vinr_engine.kernels._runtime import INTERPRETED

OPERANDS = {"float16": torch.float16, "bfloat16": torch.bfloat16}
INTERPRETED_CAPABILITY = 90
BLACKWELL = 100  # accumulators have a memory of their own: a second stage of weights costs the registers that are left


def arithmetic(operands: str) -> tuple[torch.dtype, str, int]:
    """dtype of a product's operands, its `input_precision`, and how many columns of a layer are held at once."""
    if operands in OPERANDS:
        return OPERANDS[operands], "tf32", 64
    return torch.float32, operands, 32


def sine_constants(omega: float, operands: str) -> dict[str, Any]:
    from vinr_engine.kernels._sine import half_turns

    return dict(OMEGA=half_turns(omega), SHORT=operands in OPERANDS)


def launch_constants(which: str, operands: str, omega: float, capability: int) -> dict[str, Any]:
    """Constants and warps of pass `which` of the query, "decode" or "colour", so that its activations fit registers."""
    _, precision, chunk = arithmetic(operands)
    low = operands in OPERANDS
    tile = (8, 16) if low or INTERPRETED else (8, 8)  # the interpreter is no faster on fewer pixels
    return dict(
        **sine_constants(omega, operands),
        PRECISION=precision,
        CHUNK=chunk,
        GATHER=32 if which == "decode" or not low else 64,
        TILE_Y=tile[0],
        TILE_X=tile[1],
        BAND=8,
        STAGES=1 if capability == BLACKWELL or not low else 2,
        num_warps=8,
    )


@functools.lru_cache(maxsize=16)
def capability_of(device: torch.device) -> int:
    if INTERPRETED:
        return INTERPRETED_CAPABILITY
    properties = torch.cuda.get_device_properties(device)
    return int(10 * properties.major + properties.minor)


@functools.lru_cache(maxsize=16)
def programs(device: torch.device) -> int:
    """How many persistent programs fill the device: each takes a whole multiprocessor, for its registers."""
    if INTERPRETED:
        return 2
    return torch.cuda.get_device_properties(device).multi_processor_count
