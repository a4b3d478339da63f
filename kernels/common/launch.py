"""What launches of the query's and the sampled MLP's kernels share; plain Python, with no Triton."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vinr_engine.kernels.common.packing import Layer
from vinr_engine.kernels.common.runtime import INTERPRETED

OPERANDS = {"float16": torch.float16, "bfloat16": torch.bfloat16}
INTERPRETED_CAPABILITY = 90
# How many columns of activations a tile holds in registers at the most: one layer's, and those made from them.
HELD_16_BITS, HELD_32_BITS = 320, 128
# Where ptxas runs out of registers that it does not need on older targets: the query in float32, and its second pass
# where maps hold the colours.
CONSUMER_BLACKWELL = 120
CONSUMER_BLACKWELL_32_BITS = {"decode": dict(CHUNK=16), "colour": dict(GATHER=32, TILE_Y=4, TILE_X=8, num_warps=4)}
# Kilobytes of shared memory that a block may ask for, by compute capability; all others have FEWEST_KILOBYTES.
KILOBYTES = {80: 163, 87: 163, 90: 227, 100: 227, 103: 227, 110: 227}
FEWEST_KILOBYTES = 99
BLACKWELL = 100  # accumulators have a memory of their own: a second stage of weights costs the registers that are left


def arithmetic(operands: str) -> tuple[torch.dtype, str, int]:
    """dtype of a product's operands, its `input_precision`, and how many columns of a layer are held at once."""
    if operands in OPERANDS:
        return OPERANDS[operands], "tf32", 64
    return torch.float32, operands, 32


def scratch_columns(networks: Sequence[Sequence[Layer]], operands: str, crowded: bool = False) -> int:
    """0 where registers hold the activations of a tile; else the columns that the widest layer but the last needs.

    crowded: whether they hold half as many as elsewhere.
    """
    most = HELD_16_BITS if operands in OPERANDS else HELD_32_BITS
    most //= 2 if crowded else 1
    for layers in networks:
        whole = [layer.inputs + layer.outputs for layer in layers[1:-2]]
        if len(layers) > 1:
            whole.append(layers[-2].outputs if len(layers) == 2 else layers[-2].inputs)
            whole[-1] += layers[-1].outputs
        if max(whole, default=0) > most:
            return max(layer.outputs for layers in networks for layer in layers[:-1])
    return 0


def block_shared(capability: int) -> int:
    """Bytes of shared memory that a block may ask for."""
    return KILOBYTES.get(capability, FEWEST_KILOBYTES) << 10


def stages(networks: Sequence[Sequence[Layer]], operands: str, scratch: int, capability: int) -> int:
    """Of the loop over a network's last hidden layer: with two, weights are loaded while those before are used.

    scratch: what `scratch_columns` gives; loops over activations in memory need little shared memory.
    """
    if capability == BLACKWELL or operands not in OPERANDS:
        return 1
    chunk = arithmetic(operands)[2]
    last = [layers[-2:] for layers in networks if len(layers) > 2 and scratch == 0]
    # As the compiler asks for on GPUs that have little: the hidden layer's weights three times, whatever the widths.
    needed = max((2 * chunk * (3 * hidden.inputs + end.outputs) + 256 for hidden, end in last), default=0)
    return 2 if needed <= block_shared(capability) else 1


def smaller_tile(tile: tuple[int, int], inputs: int, gather: int, operands: str, capability: int) -> tuple[int, int]:
    """The tile of the query's second pass, halved until shared memory holds what its first layer takes.

    inputs: padded, of that layer; gather: how many of its columns, and of its outputs, are multiplied at once.
    """
    if operands == "tf32x3":  # what it makes of them never lies there
        return tile
    size = arithmetic(operands)[0].itemsize
    rows, columns = tile
    # As the compiler asks for: inputs of all pixels, a block of them on its way there, and one of weights.
    while rows * columns > 16 and size * (rows * columns * (inputs + gather) + gather**2) > block_shared(capability):
        rows, columns = (rows, columns // 2) if columns > rows else (rows // 2, columns)
    return rows, columns


def new_scratch(constants: Mapping[str, Any], like: Tensor) -> Tensor:
    """Memory of the programs' own, for `constants` with SCRATCH columns, in `like`'s dtype."""
    rows = constants["M"] if "M" in constants else constants["TILE_Y"] * constants["TILE_X"]
    return like.new_empty(programs(like.device), 2, rows, constants["SCRATCH"])


def sine_constants(omega: float, operands: str) -> dict[str, Any]:
    from vinr_engine.kernels.common.sine import half_turns

    short = operands in OPERANDS
    return dict(OMEGA=omega if short else half_turns(omega), SHORT=short)


def launch_constants(
    which: str, networks: Sequence[Sequence[Layer]], colours: bool, operands: str, omega: float, capability: int
) -> dict[str, Any]:
    """Constants and warps of pass `which` of the query, "decode" or "colour", which runs `networks`.

    colours: whether they are read apart from the maps.
    """
    _, precision, chunk = arithmetic(operands)
    low = operands in OPERANDS
    crowded = capability >= CONSUMER_BLACKWELL and (not low or (which == "colour" and not colours))
    tile = (8, 16) if low or INTERPRETED else (8, 8)  # the interpreter is no faster on fewer pixels
    scratch = scratch_columns(networks, operands, crowded)
    constants = dict(
        **sine_constants(omega, operands),
        PRECISION=precision,
        CHUNK=chunk,
        GATHER=32 if which == "decode" else 64 if low else 16,
        TILE_Y=tile[0],
        TILE_X=tile[1],
        BAND=8,
        STAGES=stages(networks, operands, scratch, capability),
        SCRATCH=scratch,
        num_warps=8,
    )
    if capability >= CONSUMER_BLACKWELL and not low:
        constants |= CONSUMER_BLACKWELL_32_BITS[which]
    if which == "colour":
        tile = constants["TILE_Y"], constants["TILE_X"]
        tile = smaller_tile(tile, networks[0][0].inputs, constants["GATHER"], operands, capability)
        constants |= dict(TILE_Y=tile[0], TILE_X=tile[1])
    return constants


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
