"""The forward pass of bspline_head over tiles of pixels, and how its kernels find what they read."""

import triton
import triton.language as tl


@triton.jit
def tile_of(program, tiles, pixels, BLOCK: tl.constexpr):
    """Of the programs of all images, `tiles` each: the image, and the pixels [BLOCK] in it."""
    image = (program // tiles).to(tl.int64)
    return image, (program % tiles).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def splines_of(rows, image, pixel, k, image_stride, pixel_stride, pixels, K: tl.constexpr):
    """coef or knot of a tile, [BLOCK, len(k)], zeros past the last."""
    at = rows + (image * image_stride + pixel * pixel_stride)[:, None] + k[None, :]
    return tl.load(at, mask=(pixel < pixels)[:, None] & (k < K)[None, :], other=0.0)


@triton.jit
def cubic_bspline(x):
    """Its value and its derivative."""
    u = tl.abs(x)
    # As where, not max: that would lose NaN.
    outer, inner = tl.where(u > 2, 0.0, 2 - u), tl.where(u > 1, 0.0, 1 - u)
    value = (outer * outer * outer - 4 * inner * inner * inner) / 6
    fall = (outer * outer - 4 * inner * inner) / 2
    return value, tl.where(x > 0, -fall, fall)


@triton.jit(do_not_specialize=["times", "batch", "tiles", "pixels"])
def bspline_head(
    coef, knot, dilation, t, weight, bias, out, times, batch, tiles, pixels, coef_image, coef_pixel, knot_image,
    knot_pixel, K: tl.constexpr, WIDTH: tl.constexpr, O: tl.constexpr, BIAS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """coef, knot [batch, pixels, K] -> out [times, batch, pixels, O]. A program takes BLOCK pixels, all times."""
    image, pixel = tile_of(tl.program_id(0), tiles, pixels, BLOCK)
    k = tl.arange(0, WIDTH)
    a = splines_of(coef, image, pixel, k, coef_image, coef_pixel, pixels, K)
    q = splines_of(knot, image, pixel, k, knot_image, knot_pixel, pixels, K)
    dilated = tl.load(dilation + k, mask=k < K, other=0.0)
    for time in tl.range(times):
        now = tl.load(t + time * batch + image)
        value, _ = cubic_bspline(dilated[None, :] * (now - q))
        value *= a
        for o in tl.range(O):
            w = tl.load(weight + o * K + k, mask=k < K, other=0.0)
            total = tl.sum(value * w[None, :], 1)
            if BIAS:
                total += tl.load(bias + o)
            tl.store(out + ((time * batch + image) * pixels + pixel) * O + o, total, mask=pixel < pixels)
