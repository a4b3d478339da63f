"""Gradients of fourier_field, gathered: each input pixel adds up its outputs in one order."""

import triton
import triton.language as tl

from vinr_engine.kernels.common.sine import sine_cosine
from vinr_engine.kernels.fourier_field.forward import angles


@triton.jit(do_not_specialize=["pixels", "height", "width", "rows", "columns", "images", "high", "wide"])
def fourier_field_backward(
    grad, amplitude, phase, frequencies, damping, frames, offsets, first_y, offset_y, first_x, offset_x, d_amplitude,
    d_phase, d_field, d_offsets, pixels, height, width, rows, columns, images, high, wide, D: tl.constexpr,
    OUT: tl.constexpr, AXES: tl.constexpr, HIGH: tl.constexpr, LOW: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """A program takes BLOCK input pixels and CHUNK sines, and the outputs in these pixels, at most high times wide in
    each. first_y [height + 1], first_x [width + 1]: the first row and column in each.

    d_amplitude and d_phase are like those; d_field [programs of pixels, AXES + 1, D] and d_offsets [programs, images]
    are the programs' parts of frequencies' and damping's, and of times' gradients.
    """
    tile = tl.program_id(0)
    part = tile
    if LARGE:
        tile = tile.to(tl.int64)
    pixel = tile * BLOCK + tl.arange(0, BLOCK)
    exists = pixel < pixels
    frame, ky, kx = pixel // (height * width), pixel // width % height, pixel % width
    n = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    there = n < D
    top, bottom = tl.load(first_y + ky, mask=exists, other=0), tl.load(first_y + ky + 1, mask=exists, other=0)
    left, right = tl.load(first_x + kx, mask=exists, other=0), tl.load(first_x + kx + 1, mask=exists, other=0)
    damped = tl.load(damping + n, mask=there, other=0.0)
    in_time = tl.zeros((CHUNK,), tl.float32)
    if AXES > 2:
        in_time = tl.load(frequencies + 2 * D + n, mask=there, other=0.0)
    colour = tl.arange(0, OUT)
    at = (pixel[:, None, None] * D + n[None, :, None]) * OUT + colour[None, None, :]
    mask = (exists[:, None] & there[None, :])[:, :, None] & (colour < OUT)[None, None, :]
    a = tl.load(amplitude + at, mask=mask, other=0.0)
    da = tl.zeros((BLOCK, CHUNK, OUT), tl.float32)
    dp = tl.zeros((BLOCK, CHUNK), tl.float32)
    dy = tl.zeros((CHUNK,), tl.float32)
    dx = tl.zeros((CHUNK,), tl.float32)
    dt = tl.zeros((CHUNK,), tl.float32)
    for image in tl.range(images):
        seen = exists & (frame == tl.load(frames + image))
        t = tl.load(offsets + image) + tl.zeros((BLOCK,), tl.float32)
        of_image = tl.zeros((CHUNK,), tl.float32)
        for i in tl.range(high):
            for j in tl.range(wide):
                row, column = top + i, left + j
                reads = seen & (row < bottom) & (column < right)
                y = tl.load(offset_y + row, mask=reads, other=0.0)
                x = tl.load(offset_x + column, mask=reads, other=0.0)
                angle, _ = angles(frequencies, phase, pixel, n, reads, y, x, t, D, AXES)
                s, c = sine_cosine(angle, HIGH, LOW)
                if LARGE:
                    row = row.to(tl.int64)
                output = (image * rows + row) * columns + column
                from_ = grad + output[:, None] * OUT + colour[None, :]
                g = tl.load(from_, mask=reads[:, None] & (colour < OUT)[None, :], other=0.0)
                da += s[:, :, None] * g[:, None, :]
                along = c * tl.sum(a * g[:, None, :], 2) * damped[None, :]
                dp += along
                dy += tl.sum(along * y[:, None], 0)
                dx += tl.sum(along * x[:, None], 0)
                of_image += tl.sum(along, 0)
        dt += of_image * tl.load(offsets + image)
        sums = d_offsets + (part * tl.num_programs(1) + tl.program_id(1)) * images + image
        tl.store(sums, tl.sum(of_image * in_time, 0))
    to = d_field + part * (AXES + 1) * D + n
    tl.store(to, dy, mask=there)
    tl.store(to + D, dx, mask=there)
    if AXES > 2:
        tl.store(to + 2 * D, dt, mask=there)
    tl.store(to + AXES * D, tl.sum(tl.sum(da * a, 2), 0), mask=there)
    tl.store(d_amplitude + at, da * damped[None, :, None], mask=mask)
    tl.store(d_phase + pixel[:, None] * D + n[None, :], dp, mask=exists[:, None] & there[None, :])
