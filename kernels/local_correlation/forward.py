"""The forward pass of local_correlation over tiles of pixels, and how its kernels find what they read."""

import triton
import triton.language as tl


@triton.jit
def pixels_of(tile, times, pixels, height, width, BLOCK: tl.constexpr, LARGE: tl.constexpr):
    """A tile of pixels, numbered through the batch: number, row, column, time and whether it exists, each [BLOCK].

    LARGE: offsets may pass 2^31.
    """
    if LARGE:
        tile = tile.to(tl.int64)
    pixel = tile * BLOCK + tl.arange(0, BLOCK)
    exists = pixel < pixels
    time = tl.load(times + pixel // (height * width), mask=exists, other=0.0)
    return pixel, pixel // width % height, pixel % width, time, exists


@triton.jit
def back(time, d):
    """floor(time d + 1/2) of times [BLOCK]: how far back in the first map a displacement of d pixels reads."""
    d = tl.zeros_like(time) + d
    found = tl.floor(tl.fma(time, d, tl.full(time.shape, 0.5, tl.float32)))
    # A sum just below a whole number may be rounded up to it. The sign of this one no rounding changes.
    return (found - tl.where(tl.fma(time, d, 0.5 - found) < 0, 1.0, 0.0)).to(tl.int32)


@triton.jit
def moved(pixel, y, x, exists, dy, dx, height, width):
    """The pixels dy rows below and dx columns to the right, and which of them there are, each [BLOCK]."""
    y, x = y + dy, x + dx
    return pixel + dy * width + dx, exists & (y >= 0) & (y < height) & (x >= 0) & (x < width)


@triton.jit
def read_chunk(maps, pixel, there, j, C: tl.constexpr, CHUNK: tl.constexpr):
    """Chunk j of the C channels of pixels [BLOCK] -> [BLOCK, CHUNK], zeros where a pixel is not there, and past C."""
    channel = j * CHUNK + tl.arange(0, CHUNK)
    mask = there[:, None] & (channel < C)[None, :]
    return tl.load(maps + pixel[:, None] * C + channel[None, :], mask=mask, other=0.0)


@triton.jit(do_not_specialize=["pixels", "height", "width"])
def local_correlation(
    first, second, times, out, pixels, height, width, RADIUS: tl.constexpr, C: tl.constexpr, CHUNK: tl.constexpr,
    COLUMNS: tl.constexpr, BLOCK: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """Maps [B, height, width, C], times [B] -> out [pixels, SIDE * SIDE], pixels = B * height * width.

    A program takes BLOCK pixels and the SIDE displacements of one dy. What these read, and the programs of the same
    pixels beside it, overlaps: it comes from the caches. COLUMNS: at least SIDE.
    """
    SIDE: tl.constexpr = 2 * RADIUS + 1
    row = tl.program_id(0) % SIDE
    pixel, y, x, time, exists = pixels_of(tl.program_id(0) // SIDE, times, pixels, height, width, BLOCK, LARGE)
    dy = row - RADIUS
    ay = back(time, dy)
    column = tl.arange(0, COLUMNS)
    found = tl.zeros((BLOCK, COLUMNS), tl.float32)
    for i in tl.range(SIDE):
        dx = i - RADIUS
        ax = back(time, dx)
        behind, is_behind = moved(pixel, y, x, exists, -ay, -ax, height, width)
        ahead, is_ahead = moved(pixel, y, x, exists, dy - ay, dx - ax, height, width)
        products = tl.zeros((BLOCK, CHUNK), tl.float32)
        for j in tl.range(tl.cdiv(C, CHUNK)):
            value = read_chunk(first, behind, is_behind, j, C, CHUNK)
            products += value * read_chunk(second, ahead, is_ahead, j, C, CHUNK)
        found = tl.where((column == i)[None, :], tl.sum(products, 1)[:, None], found)
    at = out + pixel[:, None] * (SIDE * SIDE) + (row * SIDE + column)[None, :]
    tl.store(at, found / C, mask=exists[:, None] & (column < SIDE)[None, :])
