"""Samples of maps as rows of numbers, and their gradients: what the backward passes are put together from."""

import triton
import triton.language as tl

from vinr_engine.kernels.common.sampling import corners, pixel_below, read_bilinear, read_chunk

_SIZES = ["rows", "points", "first", "repeat", "height", "width"]


@triton.jit
def map_of(maps, row, points, first, repeat, pixels, STRIDE: tl.constexpr):
    """Of row r, the map: rows come in groups of `points`, of which `repeat` read one map; group `first` is row 0's."""
    return maps + ((first + row // points) // repeat).to(tl.int64)[:, None] * pixels * STRIDE


@triton.jit(do_not_specialize=_SIZES)
def sample_rows(maps, positions, out, rows, points, first, repeat, height, width, FROM: tl.constexpr,
                OUT: tl.constexpr, ADD: tl.constexpr, NEAREST: tl.constexpr, LARGE: tl.constexpr,
                M: tl.constexpr, C: tl.constexpr):  # fmt: skip
    """Channels FROM = (first, count, stride) of maps [_, height, width, stride] at positions [rows, 2] (y, x) ->
    columns OUT = (first, stride) of out [rows, stride], stored or added."""
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    valid = row < rows
    y = tl.load(positions + 2 * row, mask=valid, other=0.0).to(tl.float32)
    x = tl.load(positions + 2 * row + 1, mask=valid, other=0.0).to(tl.float32)
    base = map_of(maps, tl.where(valid, row, 0), points, first, repeat, height.to(tl.int64) * width, FROM[2])
    for j in range(tl.cdiv(FROM[1], C)):
        if NEAREST:
            pixel, weight = pixel_below(y, x, height, width)
            value = weight[:, None] * read_chunk(base, pixel, FROM, j, C, LARGE)
        else:
            value = read_bilinear(base, corners(y, x, height, width), FROM, j, C, LARGE)
        column = j * C + tl.arange(0, C)
        at = out + row[:, None] * OUT[1] + (OUT[0] + column)[None, :]
        mask = valid[:, None] & (column < FROM[1])[None, :]
        if ADD:
            value += tl.load(at, mask=mask, other=0.0)
        tl.store(at, value, mask=mask)


@triton.jit
def slopes(y, x, height, width):
    """Derivatives of the weights of `corners` by y and by x, four each."""
    inside = (y > -1) & (y < height) & (x > -1) & (x < width)
    y, x = tl.where(inside, y, 0.0), tl.where(inside, x, 0.0)
    top, left = tl.floor(y), tl.floor(x)
    fy, fx = y - top, x - left
    y0, y1 = inside & (top >= 0), inside & (top + 1 < height)
    x0, x1 = inside & (left >= 0), inside & (left + 1 < width)
    wy0, wy1, wx0, wx1 = (
        tl.where(y0, 1 - fy, 0.0),
        tl.where(y1, fy, 0.0),
        tl.where(x0, 1 - fx, 0.0),
        tl.where(x1, fx, 0.0),
    )
    sy0, sy1, sx0, sx1 = (
        tl.where(y0, -1.0, 0.0),
        tl.where(y1, 1.0, 0.0),
        tl.where(x0, -1.0, 0.0),
        tl.where(x1, 1.0, 0.0),
    )
    return (sy0 * wx0, sy0 * wx1, sy1 * wx0, sy1 * wx1), (wy0 * sx0, wy0 * sx1, wy1 * sx0, wy1 * sx1)


@triton.jit
def add_to_map(d_maps, pixel, value, valid, FROM: tl.constexpr, j, C: tl.constexpr, LARGE: tl.constexpr,
               scale, FIXED: tl.constexpr):  # fmt: skip
    channel = j * C + tl.arange(0, C)
    if LARGE:
        pixel = pixel.to(tl.int64)
    at = d_maps + pixel[:, None] * FROM[2] + (FROM[0] + channel)[None, :]
    mask = valid[:, None] & (channel < FROM[1])[None, :]
    if FIXED:
        value = tl.floor(value * scale + 0.5).to(tl.int64)
    tl.atomic_add(at, value, mask=mask, sem="relaxed")


@triton.jit(do_not_specialize=_SIZES)
def sample_rows_backward(d_rows, maps, positions, d_maps, d_positions, scale, rows, points, first, repeat, height,
                         width, FROM: tl.constexpr, D: tl.constexpr, WANTS_MAPS: tl.constexpr,
                         WANTS_POSITIONS: tl.constexpr, FIXED: tl.constexpr, NEAREST: tl.constexpr,
                         LARGE: tl.constexpr, M: tl.constexpr, C: tl.constexpr):  # fmt: skip
    """The gradient of samples, columns D = (first, stride) of d_rows, added to d_maps, laid out like maps, and stored
    in d_positions [rows, 2]. FIXED: d_maps holds whole multiples of 1 / scale, whose sum has no order."""
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    valid = row < rows
    y = tl.load(positions + 2 * row, mask=valid, other=0.0).to(tl.float32)
    x = tl.load(positions + 2 * row + 1, mask=valid, other=0.0).to(tl.float32)
    pixels = height.to(tl.int64) * width
    known = tl.where(valid, row, 0)
    base = map_of(maps, known, points, first, repeat, pixels, FROM[2])
    d_base = map_of(d_maps, known, points, first, repeat, pixels, FROM[2])
    factor = 1.0
    if FIXED:
        factor = tl.load(scale)
    dy, dx = tl.zeros((M,), tl.float32), tl.zeros((M,), tl.float32)
    for j in range(tl.cdiv(FROM[1], C)):
        column = j * C + tl.arange(0, C)
        mask = valid[:, None] & (column < FROM[1])[None, :]
        d = tl.load(d_rows + row[:, None] * D[1] + (D[0] + column)[None, :], mask=mask, other=0.0)
        if NEAREST:
            pixel, weight = pixel_below(y, x, height, width)
            if WANTS_MAPS:
                add_to_map(d_base, pixel, d, valid & (weight > 0), FROM, j, C, LARGE, factor, FIXED)
        else:
            at, weights = corners(y, x, height, width)
            by_y, by_x = slopes(y, x, height, width)
            for k in tl.static_range(4):
                if WANTS_MAPS:
                    weight = weights[k][:, None]
                    if FIXED:  # what is not read adds zero: Triton 3.6 fails on a mask of it before fixed-point sums
                        value = tl.where(weight != 0, weight * d, 0.0)
                        add_to_map(d_base, at[k], value, valid, FROM, j, C, LARGE, factor, FIXED)
                    else:
                        reads = valid & (weights[k] != 0)
                        add_to_map(d_base, at[k], weight * d, reads, FROM, j, C, LARGE, factor, FIXED)
                if WANTS_POSITIONS:
                    product = tl.sum(d * read_chunk(base, at[k], FROM, j, C, LARGE), 1)
                    dy += by_y[k] * product
                    dx += by_x[k] * product
    if WANTS_POSITIONS:
        tl.store(d_positions + 2 * row, dy, mask=valid)
        tl.store(d_positions + 2 * row + 1, dx, mask=valid)
