"""Weights of networks, laid out as the kernels read them: padded to whole tiles, in one buffer for all layers.

Plain torch, no Triton. A network's first layer may be split: what its inputs feed through matrix products, and columns
that are multiplied by hand in float32, as the coordinates and the time are.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST = 16  # rows and columns of a matrix instruction's tile
WHOLE = 64  # wider layers are padded to a multiple of it


def padded(width: int) -> int:
    """The width that a layer of `width` numbers takes: a power of two from 16 to 64, or a multiple of 64."""
    if width > WHOLE:
        return -(-width // WHOLE) * WHOLE
    return max(SMALLEST, 1 << (width - 1).bit_length())


class Layer(NamedTuple):
    """Where a layer lies, as a kernel's constexpr: offsets of weight [outputs, inputs] and bias, and padded sizes."""

    weight: int
    bias: int
    outputs: int
    inputs: int


class Copy(NamedTuple):
    """Columns `columns` of tensor `source` go to a [rows, stride] matrix at `offset` of the matrices or vectors."""

    source: int
    columns: tuple[int, int] | None  # first and end; None: the whole tensor, a vector
    matrix: bool
    offset: int
    stride: int


class Plan(NamedTuple):
    """Layers of all networks and the two buffers that hold them: matrices in the operands' dtype, float32 vectors."""

    networks: tuple[tuple[Layer, ...], ...]
    copies: tuple[Copy, ...]
    matrices: int
    vectors: int


class Split(NamedTuple):
    """How the first layer's columns are used, in order of its weight's columns.

    blocks: widths of what is multiplied as matrices; each starts at a padded column of the packed weight.
    columns: how many of the others, at the front if `leading` of them are, each a vector behind the bias.
    """

    blocks: tuple[int, ...]
    leading: int = 0
    trailing: int = 0


@functools.lru_cache(maxsize=64)
def plan(shapes: tuple[tuple[tuple[int, int], ...], ...], splits: tuple[Split, ...]) -> Plan:
    """Lay out networks with weights of `shapes`, whose tensors come as weight and bias of each layer in turn."""
    networks, copies = [], []
    matrices = vectors = source = 0
    for layers, split in zip(shapes, splits, strict=True):
        network = []
        for i, (outputs, inputs) in enumerate(layers):
            rows = padded(outputs)
            blocks, leading, trailing = split if i == 0 else ((inputs,), 0, 0)
            stride = sum(padded(b) for b in blocks if b > 0)
            network.append(Layer(matrices, vectors, rows, stride))
            column, at = leading, matrices
            for block in blocks:
                if block > 0:
                    copies.append(Copy(source, (column, column + block), True, at, stride))
                    column, at = column + block, at + padded(block)
            copies.append(Copy(source + 1, None, False, vectors, 1))
            vectors += rows
            for c in itertools.chain(range(leading), range(column, column + trailing)):
                copies.append(Copy(source, (c, c + 1), False, vectors, 1))
                vectors += rows
            matrices += rows * stride
            source += 2
        networks.append(tuple(network))
    return Plan(tuple(networks), tuple(copies), max(matrices, 1), max(vectors, 1))


def _matrix(tensor: Tensor, columns: tuple[int, int] | None) -> Tensor:
    return tensor.unsqueeze(1) if columns is None else tensor[:, slice(*columns)]


@functools.lru_cache(maxsize=64)
def _turns(plan: Plan, half_turn: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Factor and summand that make biases of hidden layers those of `vinr_engine.kernels._layers.turned`."""
    factor, summand = torch.ones(plan.vectors), torch.zeros(plan.vectors)
    for network in plan.networks:
        for layer in network[1:-1]:
            factor[layer.bias : layer.bias + layer.outputs] = half_turn / 2
            summand[layer.bias : layer.bias + layer.outputs] = 0.25
    return factor.to(device), summand.to(device)


def pack(
    plan: Plan, tensors: Sequence[Tensor], dtype: torch.dtype, device: torch.device, half_turn: float | None = None
) -> tuple[Tensor, Tensor]:
    """The two buffers of `plan`, zeros in the padding; no synchronisation, and launches that do not grow with sizes.

    half_turn: omega / pi where the activation is the short sine.
    """
    matrices = torch.zeros(plan.matrices, dtype=dtype, device=device)
    vectors = torch.zeros(plan.vectors, dtype=torch.float32, device=device)
    to, of = [], []
    for copy in plan.copies:
        tensor = tensors[copy.source].detach()
        columns = _matrix(tensor, copy.columns)
        buffer = matrices if copy.matrix else vectors
        to.append(buffer.as_strided(columns.shape, (copy.stride, 1), copy.offset))
        of.append(columns)
    if to:
        torch._foreach_copy_(to, of)
    if half_turn is not None:
        factor, summand = _turns(plan, half_turn, device)
        vectors = torch.addcmul(summand, vectors, factor)
    return matrices, vectors


def unpack(plan: Plan, tensors: Sequence[Tensor], matrices: Tensor, vectors: Tensor) -> Tensor:
    """What `pack` did, undone: tensors like those, flat, one behind the other."""
    flat = vectors.new_empty(sum(t.numel() for t in tensors))
    parts = [part.view_as(t) for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]
    to, of = [], []
    for copy in plan.copies:
        part = parts[copy.source]
        columns = _matrix(part, copy.columns)
        buffer = matrices if copy.matrix else vectors
        to.append(columns)
        of.append(buffer.as_strided(columns.shape, (copy.stride, 1), copy.offset))
    torch._foreach_copy_(to, of)
    return flat
