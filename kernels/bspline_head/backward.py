"""Gradients of bspline_head. Sums over pixels are of a tile's, in a row of `partial` each, which torch adds up."""

import triton
import triton.language as tl

from vinr_engine.kernels.bspline_head.forward import cubic_bspline, splines_of, tile_of


@triton.jit(do_not_specialize=["times", "batch", "tiles", "pixels"])
def bspline_head_backward(
    grad, coef, knot, dilation, t, weight, d_coef, d_knot, d_dilation, d_t, times, batch, tiles, pixels, coef_image,
    coef_pixel, knot_image, knot_pixel, K: tl.constexpr, WIDTH: tl.constexpr, O: tl.constexpr, COEF: tl.constexpr,
    KNOT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """grad [times, batch, pixels, O] -> d_coef, d_knot [batch, pixels, K], where COEF and KNOT; of each program
    d_dilation [K] and d_t [times]."""
    program = tl.program_id(0)
    image, pixel = tile_of(program, tiles, pixels, BLOCK)
    k = tl.arange(0, WIDTH)
    a = splines_of(coef, image, pixel, k, coef_image, coef_pixel, pixels, K)
    q = splines_of(knot, image, pixel, k, knot_image, knot_pixel, pixels, K)
    dilated = tl.load(dilation + k, mask=k < K, other=0.0)[None, :]
    of_coef = tl.zeros((BLOCK, WIDTH), tl.float32)
    of_x = tl.zeros((BLOCK, WIDTH), tl.float32)
    of_dilation = tl.zeros((BLOCK, WIDTH), tl.float32)
    for time in tl.range(times):
        since = tl.load(t + time * batch + image) - q
        value, slope = cubic_bspline(dilated * since)
        d = tl.zeros((BLOCK, WIDTH), tl.float32)
        for o in tl.range(O):
            g = tl.load(grad + ((time * batch + image) * pixels + pixel) * O + o, mask=pixel < pixels, other=0.0)
            w = tl.load(weight + o * K + k, mask=k < K, other=0.0)
            d += g[:, None] * w[None, :]
        of_coef += d * value
        d_x = d * a * slope
        of_x += d_x
        of_dilation += d_x * since
        tl.store(d_t + program.to(tl.int64) * times + time, tl.sum(tl.sum(d_x * dilated, 1), 0))
    at = ((image * pixels + pixel) * K)[:, None] + k[None, :]
    there = (pixel < pixels)[:, None] & (k < K)[None, :]
    if COEF:
        tl.store(d_coef + at, of_coef, mask=there)
    if KNOT:
        tl.store(d_knot + at, -of_x * dilated, mask=there)
    tl.store(d_dilation + program.to(tl.int64) * K + k, tl.sum(of_dilation, 0), mask=k < K)


@triton.jit(do_not_specialize=["times", "batch", "tiles", "pixels"])
def bspline_head_backward_weight(
    grad, coef, knot, dilation, t, d_weight, times, batch, tiles, pixels, coef_image, coef_pixel, knot_image,
    knot_pixel, K: tl.constexpr, WIDTH: tl.constexpr, O: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """grad -> d_weight [programs, O, K]; a program takes BLOCK pixels and one output."""
    program, o = tl.program_id(0), tl.program_id(1)
    image, pixel = tile_of(program, tiles, pixels, BLOCK)
    k = tl.arange(0, WIDTH)
    a = splines_of(coef, image, pixel, k, coef_image, coef_pixel, pixels, K)
    q = splines_of(knot, image, pixel, k, knot_image, knot_pixel, pixels, K)
    dilated = tl.load(dilation + k, mask=k < K, other=0.0)[None, :]
    total = tl.zeros((BLOCK, WIDTH), tl.float32)
    for time in tl.range(times):
        value, _ = cubic_bspline(dilated * (tl.load(t + time * batch + image) - q))
        g = tl.load(grad + ((time * batch + image) * pixels + pixel) * O + o, mask=pixel < pixels, other=0.0)
        total += g[:, None] * value
    at = d_weight + (program.to(tl.int64) * O + o) * K + k
    tl.store(at, tl.sum(total * a, 0), mask=k < K)
