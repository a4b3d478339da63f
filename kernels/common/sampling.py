"""Reading channels-last maps at positions, zeros outside; addresses are those of the padded map's own pixels."""

import triton
import triton.language as tl


@triton.jit
def corners(y, x, height, width):
    """Pixels and weights of the four corners of bilinear reads at y, x [M]; a weight is zero outside and at NaN."""
    inside = (y > -1) & (y < height) & (x > -1) & (x < width)
    y = tl.where(inside, y, 0.0)
    x = tl.where(inside, x, 0.0)
    top, left = tl.floor(y), tl.floor(x)
    fy, fx = y - top, x - left
    i, j = top.to(tl.int32), left.to(tl.int32)
    wy0, wy1 = tl.where(inside & (i >= 0), 1 - fy, 0.0), tl.where(inside & (i + 1 < height), fy, 0.0)
    wx0, wx1 = tl.where(j >= 0, 1 - fx, 0.0), tl.where(j + 1 < width, fx, 0.0)
    i0, i1 = tl.maximum(i, 0) * width, tl.minimum(i + 1, height - 1) * width
    j0, j1 = tl.maximum(j, 0), tl.minimum(j + 1, width - 1)
    return (i0 + j0, i0 + j1, i1 + j0, i1 + j1), (wy0 * wx0, wy0 * wx1, wy1 * wx0, wy1 * wx1)


@triton.jit
def corners_inside(y, x, read, height, width):
    """The same for y in [-1, height) and x in [-1, width), in fewer steps; `read` [M] multiplies the weights."""
    top, left = tl.floor(y), tl.floor(x)
    i, j = top.to(tl.int32), left.to(tl.int32)
    wy1, wx1 = (y - top) * read, x - left
    wy0, wx0 = tl.where(i < 0, 0.0, read - wy1), tl.where(j < 0, 0.0, 1 - wx1)
    wy1, wx1 = tl.where(i + 1 < height, wy1, 0.0), tl.where(j + 1 < width, wx1, 0.0)
    i0, i1 = tl.maximum(i, 0) * width, tl.minimum(i + 1, height - 1) * width
    j0, j1 = tl.maximum(j, 0), tl.minimum(j + 1, width - 1)
    return (i0 + j0, i0 + j1, i1 + j0, i1 + j1), (wy0 * wx0, wy0 * wx1, wy1 * wx0, wy1 * wx1)


@triton.jit
def pixel_below(y, x, height, width):
    """The pixel that holds y, x [M], and 1 where there is one, else 0 (also at NaN)."""
    i, j = tl.floor(y + 0.5), tl.floor(x + 0.5)
    inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
    pixel = tl.where(inside, i, 0.0).to(tl.int32) * width + tl.where(inside, j, 0.0).to(tl.int32)
    return pixel, tl.where(inside, 1.0, 0.0)


@triton.jit
def read_chunk(maps, pixel, FROM: tl.constexpr, j, C: tl.constexpr, LARGE: tl.constexpr):
    """Chunk j of the channels FROM = (first, count, stride) of pixels [M] of a map -> float32 [M, C], zeros past count.

    LARGE: offsets may pass 2^31.
    """
    channel = j * C + tl.arange(0, C)
    if LARGE:
        pixel = pixel.to(tl.int64)
    at = maps + pixel[:, None] * FROM[2] + (FROM[0] + channel)[None, :]
    if FROM[1] % C == 0:
        return tl.load(at).to(tl.float32)
    return tl.load(at, mask=(channel < FROM[1])[None, :], other=0.0).to(tl.float32)


@triton.jit
def read_bilinear(maps, at, FROM: tl.constexpr, j, C: tl.constexpr, LARGE: tl.constexpr, value=0.0):
    """`value` and the same, read at what `corners` gives."""
    pixels, weights = at
    for k in tl.static_range(4):
        value += weights[k][:, None] * read_chunk(maps, pixels[k], FROM, j, C, LARGE)
    return value
