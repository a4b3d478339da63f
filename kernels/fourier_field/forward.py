"""The forward pass of fourier_field over tiles of output pixels: every sine of each, from memory that holds the
parameters of input pixels alone."""

import triton
import triton.language as tl

from vinr_engine.kernels.common.sine import sine


@triton.jit
def angles(frequencies, phase, pixel, n, exists, y, x, t, D: tl.constexpr, AXES: tl.constexpr):
    """F . r + p of pixels [BLOCK] and sines n [CHUNK], and which of them there are."""
    there = n < D
    mask = exists[:, None] & there[None, :]
    angle = y[:, None] * tl.load(frequencies + n, mask=there, other=0.0)[None, :]
    angle += x[:, None] * tl.load(frequencies + D + n, mask=there, other=0.0)[None, :]
    if AXES > 2:
        angle += t[:, None] * tl.load(frequencies + 2 * D + n, mask=there, other=0.0)[None, :]
    return angle + tl.load(phase + pixel[:, None] * D + n[None, :], mask=mask, other=0.0), mask


@triton.jit(do_not_specialize=["outputs", "height", "width", "rows", "columns"])
def fourier_field(
    amplitude, phase, frequencies, damping, frames, offsets, near_y, offset_y, near_x, offset_x, out, outputs,
    height, width, rows, columns, D: tl.constexpr, OUT: tl.constexpr, WIDE: tl.constexpr, AXES: tl.constexpr,
    HIGH: tl.constexpr, LOW: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """amplitude [B, height, width, D, OUT], phase [B, height, width, D], of each row and column of the output its input
    pixel and its offset -> out [N, rows, columns, OUT], outputs = N * rows * columns. WIDE: at least OUT."""
    tile = tl.program_id(0)
    if LARGE:
        tile = tile.to(tl.int64)
    output = tile * BLOCK + tl.arange(0, BLOCK)
    exists = output < outputs
    image, i, j = output // (rows * columns), output // columns % rows, output % columns
    pixel = tl.load(frames + image, mask=exists, other=0) * height + tl.load(near_y + i, mask=exists, other=0)
    pixel = pixel * width + tl.load(near_x + j, mask=exists, other=0)
    if not LARGE:
        pixel = pixel.to(tl.int32)
    y, x = tl.load(offset_y + i, mask=exists, other=0.0), tl.load(offset_x + j, mask=exists, other=0.0)
    t = tl.load(offsets + image, mask=exists, other=0.0)
    colour = tl.arange(0, WIDE)
    total = tl.zeros((BLOCK, WIDE), tl.float32)
    for first in tl.range(0, D, CHUNK):
        n = first + tl.arange(0, CHUNK)
        angle, mask = angles(frequencies, phase, pixel, n, exists, y, x, t, D, AXES)
        wave = sine(angle, HIGH, LOW) * tl.load(damping + n, mask=n < D, other=0.0)[None, :]
        for c in tl.static_range(OUT):
            a = tl.load(amplitude + (pixel[:, None] * D + n[None, :]) * OUT + c, mask=mask, other=0.0)
            total += tl.where((colour == c)[None, :], tl.sum(wave * a, 1)[:, None], 0.0)
    at = out + output[:, None] * OUT + colour[None, :]
    tl.store(at, total, mask=exists[:, None] & (colour < OUT)[None, :])
