"""Gradients of local_correlation, gathered: each pixel of a map adds up what read it, in one order.

The output at p, for a displacement d of which the first map is read a back, is the mean of first[p - a] and
second[p + d - a] multiplied. So first[q] was read at p = q + a, times second[q + d], and second[q] was read at
p = q + a - d, times first[q - d].
"""

import triton
import triton.language as tl

from vinr_engine.kernels.local_correlation.forward import back, moved, pixels_of, read_chunk


@triton.jit(do_not_specialize=["pixels", "height", "width"])
def local_correlation_backward(
    grad, other, times, d_map, pixels, height, width, SECOND: tl.constexpr, RADIUS: tl.constexpr, C: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """grad [pixels, SIDE * SIDE] and the other map [B, height, width, C] -> d_map, the gradient of the first map, or
    of the second: SECOND. A program takes BLOCK pixels and a chunk of the channels."""
    SIDE: tl.constexpr = 2 * RADIUS + 1
    j = tl.program_id(1)
    pixel, y, x, time, exists = pixels_of(tl.program_id(0), times, pixels, height, width, BLOCK, LARGE)
    total = tl.zeros((BLOCK, CHUNK), tl.float32)
    for row in tl.range(SIDE):
        dy = row - RADIUS
        ay = back(time, dy)
        for column in tl.range(SIDE):
            dx = column - RADIUS
            ax = back(time, dx)
            if SECOND:
                reader, reads = moved(pixel, y, x, exists, ay - dy, ax - dx, height, width)
                factor, there = moved(pixel, y, x, exists, -dy, -dx, height, width)
            else:
                reader, reads = moved(pixel, y, x, exists, ay, ax, height, width)
                factor, there = moved(pixel, y, x, exists, dy, dx, height, width)
            d = tl.load(grad + reader * (SIDE * SIDE) + (row * SIDE + column), mask=reads, other=0.0)
            total += d[:, None] * read_chunk(other, factor, there, j, C, CHUNK)
    channel = j * CHUNK + tl.arange(0, CHUNK)
    at = d_map + pixel[:, None] * C + channel[None, :]
    tl.store(at, total / C, mask=exists[:, None] & (channel < C)[None, :])
