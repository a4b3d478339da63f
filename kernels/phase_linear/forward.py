"""The forward pass of phase_linear over tiles of input pixels, and how its kernels find pixels and outputs.

An image is cut into rows x columns cells, the smallest after which everything repeats: of pixels_y x pixels_x input
pixels and phases_y x phases_x outputs; at whole scales, of one pixel. Pixels at the same place of their cells have
outputs of the same phases, and so share weights: a matrix of such pixels [BLOCK, K] is multiplied by one of weights.
A pixel has up to NY x NX outputs of C channels, which are numbered with the channel outermost.
"""

import triton
import triton.language as tl


@triton.jit
def split(program, blocks, places):
    """(tile, place, block) of a program: the blocks of a place follow each other, then the places of a tile."""
    return program // (blocks * places), program // blocks % places, program % blocks


@triton.jit
def cells_of(tile, cells, rows, columns, BLOCK: tl.constexpr, LARGE: tl.constexpr):
    """A tile of cells, numbered through the batch: image, row, column and whether it exists, each [BLOCK].

    LARGE: offsets, or what finds them, may pass 2^31.
    """
    if LARGE:
        tile = tile.to(tl.int64)
    cell = tile * BLOCK + tl.arange(0, BLOCK)
    return cell // (rows * columns), cell // columns % rows, cell % columns, cell < cells


@triton.jit
def first_phase(place, phases, pixels):
    """Along an axis of a cell, the first of its phases whose centre lies in the pixel at `place`, or past it."""
    # Phase p's centre lies (2 p + 1) pixels / (2 phases) pixels from the cell's edge.
    return (2 * place * phases + pixels - 1) // (2 * pixels)


@triton.jit
def outputs_of(
    place, n, phases_y, phases_x, pixels_y, pixels_x, NY: tl.constexpr, NX: tl.constexpr, C: tl.constexpr,
    LARGE: tl.constexpr,
):  # fmt: skip
    """Of outputs n [N] of the pixel at `place` of a cell: phases along y and x, channel, and whether it exists."""
    if LARGE:
        place, n = place.to(tl.int64), n.to(tl.int64)
    y, x = place // pixels_x, place % pixels_x
    phase_y = first_phase(y, phases_y, pixels_y) + n // NX % NY
    phase_x = first_phase(x, phases_x, pixels_x) + n % NX
    inside = (phase_y < first_phase(y + 1, phases_y, pixels_y)) & (phase_x < first_phase(x + 1, phases_x, pixels_x))
    return phase_y, phase_x, n // (NX * NY), inside & (n < NY * NX * C)


@triton.jit
def weight_rows(weights, outputs, phases_x, k, C: tl.constexpr, K: tl.constexpr):
    """Where in weights [phases_y, phases_x, C, K] the numbers k of `outputs` lie, and which there are: [N, len(k)]."""
    phase_y, phase_x, c, exists = outputs
    row = (phase_y * phases_x + phase_x) * C + c
    return weights + row[:, None] * K + k[None, :], exists[:, None] & (k < K)[None, :]


@triton.jit
def pixel_rows(maps, cells, place, rows, columns, pixels_y, pixels_x, k, K: tl.constexpr):
    """Where in maps [B, rows * pixels_y, columns * pixels_x, K] the channels k of pixels at `place` of `cells` lie, and
    which there are: [BLOCK, len(k)]."""
    b, row, column, exists = cells
    y, x = row * pixels_y + place // pixels_x, column * pixels_x + place % pixels_x
    pixel = (b * (rows * pixels_y) + y) * (columns * pixels_x) + x
    return maps + pixel[:, None] * K + k[None, :], exists[:, None] & (k < K)[None, :]


@triton.jit
def output_tile(out, cells, outputs, rows, columns, phases_y, phases_x, C: tl.constexpr):
    """Where in out [B, C, rows * phases_y, columns * phases_x] the `outputs` of pixels of `cells` lie, and which there
    are: [BLOCK, N]."""
    b, row, column, exists = cells
    phase_y, phase_x, c, inside = outputs
    height, width = rows * phases_y, columns * phases_x
    of_cell = (b * (C * height) + row * phases_y) * width + column * phases_x
    in_cell = (c * height + phase_y) * width + phase_x
    return out + of_cell[:, None] + in_cell[None, :], exists[:, None] & inside[None, :]


@triton.jit(do_not_specialize=["cells"])
def phase_linear(
    maps, weights, base, out, cells, rows, columns, pixels_y, pixels_x, phases_y, phases_x, NY: tl.constexpr,
    NX: tl.constexpr, C: tl.constexpr, K: tl.constexpr, BASE: tl.constexpr, BLOCK: tl.constexpr, OUTPUTS: tl.constexpr,
    STEP: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """maps [B, h, w, K], weights [phases_y, phases_x, C, K], base as out, which is added with BASE -> out [B, C, H, W].

    A program takes the pixels at one place of BLOCK cells and OUTPUTS of their outputs, by STEP channels at a time.
    """
    tile, place, block = split(tl.program_id(0), tl.cdiv(NY * NX * C, OUTPUTS), pixels_y * pixels_x)
    here = cells_of(tile, cells, rows, columns, BLOCK, LARGE)
    n = block * OUTPUTS + tl.arange(0, OUTPUTS)
    outputs = outputs_of(place, n, phases_y, phases_x, pixels_y, pixels_x, NY, NX, C, LARGE)
    total = tl.zeros((BLOCK, OUTPUTS), tl.float32)
    for first in tl.range(0, K, STEP):
        k = first + tl.arange(0, STEP)
        at, there = pixel_rows(maps, here, place, rows, columns, pixels_y, pixels_x, k, K)
        value = tl.load(at, mask=there, other=0.0)
        at, there = weight_rows(weights, outputs, phases_x, k, C, K)
        weight = tl.load(at, mask=there, other=0.0)
        total = tl.dot(value, tl.trans(weight), total, input_precision="ieee")
    at, there = output_tile(out, here, outputs, rows, columns, phases_y, phases_x, C)
    if BASE:
        more, _ = output_tile(base, here, outputs, rows, columns, phases_y, phases_x, C)
        total += tl.load(more, mask=there, other=0.0)
    tl.store(at, total, mask=there)
