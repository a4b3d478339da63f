"""What one launch of deform_conv2d takes; nothing here needs Triton itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vinr_engine.kernels.common import runtime

MOST_BLOCKS = 65535  # of a grid, on its second axis


def most_columns(itemsize: int) -> int:
    """How many input channels one product takes, whose numbers have `itemsize` bytes."""
    return 64 if itemsize == 2 else 32


def most_outputs(itemsize: int) -> int:
    """How many output channels it gives."""
    return 128 if itemsize == 2 else 64


def refusal(input: Tensor, offset: Tensor, weight: Tensor, *others: Tensor) -> str:
    """Why the kernels cannot take these tensors; a convolution group takes a part of a grid's second axis."""
    outputs, channels, *kernel = weight.shape
    groups, size = input.shape[1] // max(channels, 1), input.element_size()
    blocks = groups * -(-outputs // max(groups, 1) // most_outputs(size))
    if torch.is_grad_enabled() and any(t.requires_grad for t in (input, offset, weight, *others)):
        blocks *= math.prod(kernel) * -(-channels // most_columns(size))  # each tap and product has its own
    if blocks > MOST_BLOCKS:
        return f"it takes up to {MOST_BLOCKS} products of groups, taps and channels, got {blocks} of {groups} groups"
    return runtime.refusal(input, offset, weight, *others)
