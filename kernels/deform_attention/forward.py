"""The forward pass of deform_attention: a program takes BLOCK pixels of one image and one head."""

import triton
import triton.language as tl

from vinr_engine.kernels.common.sampling import corners


@triton.jit
def pixels_of(height, width, BLOCK: tl.constexpr):
    """The program's pixels of its image: number, row, column, and whether it exists, each [BLOCK]."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    return pixel, pixel // width, pixel % width, pixel < height * width


@triton.jit
def positions_of(offset, n, tap, group, pixel, row, column, exists, height, width, G: tl.constexpr,
                 KERNEL: tl.constexpr):  # fmt: skip
    """Where pixels read for a tap of an offset group in the n-th frame: y, x [BLOCK]. KERNEL: height, width, padding
    of both."""
    pixels = height.to(tl.int64) * width
    at = offset + ((n * G + group) * (KERNEL[0] * KERNEL[1]) + tap) * 2 * pixels + pixel
    y = (row + tap // KERNEL[1] - KERNEL[2]).to(tl.float32) + tl.load(at, mask=exists, other=0.0)
    x = (column + tap % KERNEL[1] - KERNEL[3]).to(tl.float32) + tl.load(at + pixels, mask=exists, other=0.0)
    return y, x


@triton.jit
def rows_at(base, pixel, channel, mask, STRIDE: tl.constexpr, LARGE: tl.constexpr):
    """Channels [D] of pixels [BLOCK] -> [BLOCK, D], zeros where the mask [BLOCK, 1] is not."""
    if LARGE:
        pixel = pixel.to(tl.int64)
    return tl.load(base + pixel[:, None] * STRIDE + channel[None, :], mask=mask, other=0.0)


@triton.jit
def sampled(base, y, x, channel, mask, height, width, STRIDE: tl.constexpr, LARGE: tl.constexpr):
    """Channels of an image read at y, x -> [BLOCK, D]."""
    at, weights = corners(y, x, height, width)
    value = weights[0][:, None] * rows_at(base, at[0], channel, mask, STRIDE, LARGE)
    for k in tl.static_range(1, 4):
        value += weights[k][:, None] * rows_at(base, at[k], channel, mask, STRIDE, LARGE)
    return value


@triton.jit(do_not_specialize=["height", "width"])
def deform_attention(
    q, kv, offset, out, height, width, scale, FRAMES: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr,
    G: tl.constexpr, KERNEL: tl.constexpr, BLOCK: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """q [N, height, width, C], kv [N, height, width, 2 C], offset [N, FRAMES 2 G K, height, width] -> out, like q.

    C is HEADS * D, D a power of two; a head's channels lie in one offset group. Grid: tiles of an image, heads, N. The
    softmax is kept as it grows, so that each sample is read once.
    """
    C: tl.constexpr = HEADS * D
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    pixel, row, column, exists = pixels_of(height, width, BLOCK)
    pixels = height.to(tl.int64) * width
    key = head * D + tl.arange(0, D)
    mask = exists[:, None]
    query = rows_at(q + image * pixels * C, pixel, key, mask, C, LARGE) * scale
    offset += image * (FRAMES * 2 * G * KERNEL[0] * KERNEL[1]) * pixels
    key_group, value_group = head // (2 * HEADS // G), (head + HEADS) // (2 * HEADS // G)
    most = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    found = tl.zeros((BLOCK, D), tl.float32)
    for n in tl.range(FRAMES):
        frame = kv + (image // FRAMES * FRAMES + (image + n) % FRAMES) * pixels * (2 * C)
        for tap in tl.range(KERNEL[0] * KERNEL[1]):
            y, x = positions_of(offset, n, tap, key_group, pixel, row, column, exists, height, width, G, KERNEL)
            score = tl.sum(query * sampled(frame, y, x, key, mask, height, width, 2 * C, LARGE), 1)
            if key_group != value_group:
                y, x = positions_of(offset, n, tap, value_group, pixel, row, column, exists, height, width, G, KERNEL)
            value = sampled(frame, y, x, key + C, mask, height, width, 2 * C, LARGE)
            larger = tl.maximum(most, score)
            shrink, weight = tl.exp(most - larger), tl.exp(score - larger)
            total = total * shrink + weight
            found = found * shrink[:, None] + weight[:, None] * value
            most = larger
    at = out + image * pixels * C + pixel.to(tl.int64)[:, None] * C + key[None, :]
    tl.store(at, found / total[:, None], mask=mask)
