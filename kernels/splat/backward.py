"""Gradients of forward splatting: each source reads the output's gradient at its four taps. No sum is shared."""

import triton
import triton.language as tl

from vinr_engine.kernels.splat.forward import place_of


@triton.jit(do_not_specialize=["pixels", "area"])
def splat_pull(
    grad, out, norm, pull, pixels, area, C: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
    LARGE: tl.constexpr,
):  # fmt: skip
    """pull [pixels], the gradient of the divisor where it depends on weights: -(grad . out) / divisor of each pixel."""
    tile = tl.program_id(0)
    if LARGE:
        tile = tile.to(tl.int64)
    pixel = tile * BLOCK + tl.arange(0, BLOCK)
    exists = pixel < pixels
    products = tl.zeros((BLOCK, CHUNK), tl.float32)
    for j in tl.range(tl.cdiv(C, CHUNK)):
        channel = j * CHUNK + tl.arange(0, CHUNK)
        mask = exists[:, None] & (channel < C)[None, :]
        at = pixel[:, None] * C + channel[None, :]
        products += tl.load(grad + at, mask=mask, other=0.0) * tl.load(out + at, mask=mask, other=0.0)
    at = norm + pixel // area * (3 * area) + pixel % area
    scale = tl.load(at, mask=exists, other=0.0)
    depends = tl.load(at + 2 * area, mask=exists, other=0.0)
    tl.store(pull + pixel, tl.where(depends != 0, -scale * tl.sum(products, 1), 0.0), mask=exists)


@triton.jit
def tap(
    lands, image, row, column, a, b, value, norm, height, width, RIGHT: tl.constexpr, LOWER: tl.constexpr,
    EXPONENTIAL: tl.constexpr, DIVIDED: tl.constexpr,
):  # fmt: skip
    """One tap of sources: its pixel, whether it is there, its share, the source's weight at it, relative to the pixel's
    largest, and what the pixel's sum is multiplied by."""
    y, x = row - 1 + LOWER, column - 1 + RIGHT
    there = lands & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    pixel = (image * height + y) * width + x
    share = (a if RIGHT else 1 - a) * (b if LOWER else 1 - b)
    scale = tl.full(share.shape, 1.0, tl.float32)
    if DIVIDED:
        at = norm + image * (3 * height * width) + y * width + x
        scale = tl.load(at, mask=there, other=0.0)
        if EXPONENTIAL:
            # Of a tap of weight zero it has no bound, and is needed for the gradient of flow.
            relative = value - tl.load(at + height * width, mask=there, other=0.0)
            value = tl.exp(tl.where(there, tl.where(relative > 80, 80.0, relative), 0.0))
    return pixel, there, share, value, scale


@triton.jit
def slopes(
    there, pixel, share, value, scale, dot, pull, RIGHT: tl.constexpr, LOWER: tl.constexpr, a, b,
    EXPONENTIAL: tl.constexpr,
):  # fmt: skip
    """What one tap adds to the gradients of flow x, flow y and weight."""
    slope = tl.where(there, scale * dot + tl.load(pull + pixel, mask=there, other=0.0), 0.0)
    down, along = (b if LOWER else 1 - b), (a if RIGHT else 1 - a)
    by_x, by_y = (down if RIGHT else -down) * value * slope, (along if LOWER else -along) * value * slope
    by_weight = share * slope
    if EXPONENTIAL:
        by_weight = tl.where(share == 0, 0.0, by_weight * value)
    return tl.where(there, by_x, 0.0), tl.where(there, by_y, 0.0), tl.where(there, by_weight, 0.0)


@triton.jit(do_not_specialize=["sources", "height", "width"])
def splat_backward(
    grad, pull, norm, x, flow, weight, d_x, d_flow, d_weight, sources, height, width, C: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr, EXPONENTIAL: tl.constexpr,
    DIVIDED: tl.constexpr, WANTS_X: tl.constexpr, WANTS_FLOW: tl.constexpr, WANTS_WEIGHT: tl.constexpr,
    LARGE: tl.constexpr,
):  # fmt: skip
    """grad and x [sources, C], pull [sources] -> d_x, d_flow [B, 2, height, width], d_weight [sources]. A program takes
    BLOCK sources."""
    tile = tl.program_id(0)
    if LARGE:
        tile = tile.to(tl.int64)
    source = tile * BLOCK + tl.arange(0, BLOCK)
    exists = source < sources
    lands, image, row, column, a, b = place_of(flow, source, exists, height, width)
    value = tl.full((BLOCK,), 1.0, tl.float32)
    if WEIGHTED:
        value = tl.load(weight + source, mask=exists, other=0.0)
    p0, t0, s0, v0, k0 = tap(
        lands, image, row, column, a, b, value, norm, height, width, False, False, EXPONENTIAL, DIVIDED
    )
    p1, t1, s1, v1, k1 = tap(
        lands, image, row, column, a, b, value, norm, height, width, True, False, EXPONENTIAL, DIVIDED
    )
    p2, t2, s2, v2, k2 = tap(
        lands, image, row, column, a, b, value, norm, height, width, False, True, EXPONENTIAL, DIVIDED
    )
    p3, t3, s3, v3, k3 = tap(
        lands, image, row, column, a, b, value, norm, height, width, True, True, EXPONENTIAL, DIVIDED
    )
    f0 = tl.where(t0 & (s0 != 0), s0 * v0 * k0, 0.0)
    f1 = tl.where(t1 & (s1 != 0), s1 * v1 * k1, 0.0)
    f2 = tl.where(t2 & (s2 != 0), s2 * v2 * k2, 0.0)
    f3 = tl.where(t3 & (s3 != 0), s3 * v3 * k3, 0.0)
    dot0 = tl.zeros((BLOCK,), tl.float32)
    dot1, dot2, dot3 = dot0, dot0, dot0
    for j in tl.range(tl.cdiv(C, CHUNK)):
        channel = j * CHUNK + tl.arange(0, CHUNK)
        inside = (channel < C)[None, :]
        g0 = tl.load(grad + p0[:, None] * C + channel[None, :], mask=t0[:, None] & inside, other=0.0)
        g1 = tl.load(grad + p1[:, None] * C + channel[None, :], mask=t1[:, None] & inside, other=0.0)
        g2 = tl.load(grad + p2[:, None] * C + channel[None, :], mask=t2[:, None] & inside, other=0.0)
        g3 = tl.load(grad + p3[:, None] * C + channel[None, :], mask=t3[:, None] & inside, other=0.0)
        at = source[:, None] * C + channel[None, :]
        mask = exists[:, None] & inside
        if WANTS_FLOW or WANTS_WEIGHT:
            from_x = tl.load(x + at, mask=mask, other=0.0)
            dot0 += tl.sum(from_x * g0, 1)
            dot1 += tl.sum(from_x * g1, 1)
            dot2 += tl.sum(from_x * g2, 1)
            dot3 += tl.sum(from_x * g3, 1)
        if WANTS_X:
            d = f0[:, None] * g0 + f1[:, None] * g1 + f2[:, None] * g2 + f3[:, None] * g3
            tl.store(d_x + at, d, mask=mask)
    if WANTS_FLOW or WANTS_WEIGHT:
        x0, y0, w0 = slopes(t0, p0, s0, v0, k0, dot0, pull, False, False, a, b, EXPONENTIAL)
        x1, y1, w1 = slopes(t1, p1, s1, v1, k1, dot1, pull, True, False, a, b, EXPONENTIAL)
        x2, y2, w2 = slopes(t2, p2, s2, v2, k2, dot2, pull, False, True, a, b, EXPONENTIAL)
        x3, y3, w3 = slopes(t3, p3, s3, v3, k3, dot3, pull, True, True, a, b, EXPONENTIAL)
        area = height * width
        if WANTS_FLOW:
            at_flow = d_flow + source // area * (2 * area) + source % area
            tl.store(at_flow, x0 + x1 + x2 + x3, mask=exists)
            tl.store(at_flow + area, y0 + y1 + y2 + y3, mask=exists)
        if WANTS_WEIGHT:
            tl.store(d_weight + source, w0 + w1 + w2 + w3, mask=exists)
