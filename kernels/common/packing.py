"""Weights of networks, laid out as the kernels read them: padded to whole tiles, in one buffer for all layers.

Plain torch, no Triton. A network's first layer may be split: what its inputs feed through matrix products, and columns
that are multiplied by hand in float32, as the coordinates and the time are.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
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
    """Layers of all networks and the two buffers that hold them: matrices in the operands' dtype, float32 vectors.

    shapes: of the tensors, weight and bias of each layer in turn.
    """

    networks: tuple[tuple[Layer, ...], ...]
    copies: tuple[Copy, ...]
    shapes: tuple[tuple[int, ...], ...]
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
    of_tensors = tuple(shape for layers in shapes for (out, inputs) in layers for shape in ((out, inputs), (out,)))
    return Plan(tuple(networks), tuple(copies), of_tensors, max(matrices, 1), max(vectors, 1))


class _Sources(NamedTuple):
    """Where each number of the buffers comes from in the tensors, flat, one behind the other and a zero last; and back:
    where each number of the tensors comes from in both buffers, one behind the other."""

    matrices: Tensor
    vectors: Tensor
    tensors: Tensor
    zero: Tensor


def _views(plan: Plan, flat: Tensor, matrices: Tensor, vectors: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each copy what it reads, in the tensors, and what it writes, in the buffers."""
    tensors = [part.view(shape) for part, shape in zip(flat.split(_sizes(plan)), plan.shapes, strict=True)]
    for copy in plan.copies:
        tensor = tensors[copy.source]
        part = tensor.unsqueeze(1) if copy.columns is None else tensor[:, slice(*copy.columns)]
        buffer = matrices if copy.matrix else vectors
        yield part, buffer.as_strided(part.shape, (copy.stride, 1), copy.offset)


def _sizes(plan: Plan) -> list[int]:
    return [math.prod(shape) for shape in plan.shapes]


# A CUDA graph that was recorded reads these tensors by their addresses: nothing may ever free them. They are as many as
# there are shapes of networks.
@functools.cache
def _sources(plan: Plan, device: torch.device) -> _Sources:
    count = sum(_sizes(plan))
    flat = torch.arange(count, dtype=torch.int32)
    matrices, vectors = (torch.full((n,), count, dtype=torch.int32) for n in (plan.matrices, plan.vectors))
    for part, place in _views(plan, flat, matrices, vectors):
        place.copy_(part)
    in_matrices = torch.arange(plan.matrices, dtype=torch.int32)
    in_vectors = torch.arange(plan.matrices, plan.matrices + plan.vectors, dtype=torch.int32)
    back = torch.empty_like(flat)
    for part, place in _views(plan, back, in_matrices, in_vectors):
        part.copy_(place)
    return _Sources(*(t.to(device) for t in (matrices, vectors, back, torch.zeros(1))))


@functools.cache  # as above
def _factors(plan: Plan, omega: float, device: torch.device) -> Tensor:
    """What makes biases of hidden layers those of `vinr_engine.kernels.common.layers.scaled`."""
    factors = torch.ones(plan.vectors)
    for network in plan.networks:
        for layer in network[1:-1]:
            factors[layer.bias : layer.bias + layer.outputs] = omega
    return factors.to(device)


def pack(
    plan: Plan, tensors: Sequence[Tensor], dtype: torch.dtype, device: torch.device, omega: float | None = None
) -> tuple[Tensor, Tensor]:
    """The two buffers of `plan`, zeros in the padding, in a handful of launches however many layers there are.

    omega: of the short sine, where that is the activation. Nothing is kept of the weights from one call to the next,
    which may have changed; where each goes is, so that a later call neither synchronises nor copies from the host.
    """
    sources = _sources(plan, device)
    flat = torch.cat([*(t.detach().reshape(-1) for t in tensors), sources.zero])
    matrices = flat.to(dtype).index_select(0, sources.matrices)
    vectors = flat.float().index_select(0, sources.vectors)
    return matrices, vectors if omega is None else vectors * _factors(plan, omega, device)


def unpack(plan: Plan, matrices: Tensor, vectors: Tensor) -> Tensor:
    """What `pack` did, undone: the tensors, flat, one behind the other."""
    return torch.cat([matrices, vectors]).index_select(0, _sources(plan, vectors.device).tensors)
