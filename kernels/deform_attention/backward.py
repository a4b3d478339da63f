"""Gradients of deform_attention, from samples that are read twice more: for the softmax and its mean, and to use it."""

import triton
import triton.language as tl

from vinr_engine.kernels.common.sample_rows import slopes
from vinr_engine.kernels.common.sampling import corners
from vinr_engine.kernels.deform_attention.forward import pixels_of, positions_of, rows_at, sampled


@triton.jit
def scatter(base, at, weights, channel, mask, value, scale, STRIDE: tl.constexpr, LARGE: tl.constexpr,
            FIXED: tl.constexpr):  # fmt: skip
    """Adds value [BLOCK, D] to the corners. FIXED: as whole multiples of 1 / scale, whose sum has no order."""
    for k in tl.static_range(4):
        pixel = at[k]
        if LARGE:
            pixel = pixel.to(tl.int64)
        to = base + pixel[:, None] * STRIDE + channel[None, :]
        part = weights[k][:, None] * value
        if FIXED:
            part = tl.floor(part * scale + 0.5).to(tl.int64)
        tl.atomic_add(to, part, mask=mask, sem="relaxed")


@triton.jit
def store_slopes(to, base, y, x, channel, mask, d, pixel, exists, height, width, STRIDE: tl.constexpr,
                 LARGE: tl.constexpr):  # fmt: skip
    """The sum over channels of d times the sample's derivatives by y and x, to two planes."""
    at, _ = corners(y, x, height, width)
    by_y, by_x = slopes(y, x, height, width)
    d_y, d_x = tl.zeros_like(y), tl.zeros_like(x)
    for k in tl.static_range(4):
        product = tl.sum(d * rows_at(base, at[k], channel, mask, STRIDE, LARGE), 1)
        d_y += by_y[k] * product
        d_x += by_x[k] * product
    tl.store(to + pixel, d_y, mask=exists)
    tl.store(to + height.to(tl.int64) * width + pixel, d_x, mask=exists)


@triton.jit(do_not_specialize=["height", "width"])
def deform_attention_backward(
    grad, q, kv, offset, d_q, d_kv, d_offset, steps, height, width, scale, keys_factor, FRAMES: tl.constexpr,
    HEADS: tl.constexpr, D: tl.constexpr, G: tl.constexpr, KERNEL: tl.constexpr,
    BLOCK: tl.constexpr, LARGE: tl.constexpr, WANTS_KV: tl.constexpr, WANTS_OFFSET: tl.constexpr,
    FIXED: tl.constexpr,
):  # fmt: skip
    """Of what the forward pass takes, and grad like q: d_q, d_kv, to which is added, and d_offset [N, FRAMES, 2 heads,
    K, 2, height, width]: what keys, then values, of each head give, which the launch sums by groups.

    keys_factor multiplies the gradients of and through keys. FIXED: d_kv holds whole numbers, multiples of
    1 / steps[0], of keys, and 1 / steps[1], of values.
    """
    TAPS: tl.constexpr = KERNEL[0] * KERNEL[1]
    C: tl.constexpr = HEADS * D
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    pixel, row, column, exists = pixels_of(height, width, BLOCK)
    pixels = height.to(tl.int64) * width
    key = head * D + tl.arange(0, D)
    mask = exists[:, None]
    query = rows_at(q + image * pixels * C, pixel, key, mask, C, LARGE) * scale
    d_out = rows_at(grad + image * pixels * C, pixel, key, mask, C, LARGE)
    offset += image * (FRAMES * 2 * G * TAPS) * pixels
    key_group, value_group = head // (2 * HEADS // G), (head + HEADS) // (2 * HEADS // G)
    most = tl.full((BLOCK,), float("-inf"), tl.float32)
    total, mean = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for n in tl.range(FRAMES):
        frame = kv + (image // FRAMES * FRAMES + (image + n) % FRAMES) * pixels * (2 * C)
        for tap in tl.range(TAPS):
            y, x = positions_of(offset, n, tap, key_group, pixel, row, column, exists, height, width, G, KERNEL)
            score = tl.sum(query * sampled(frame, y, x, key, mask, height, width, 2 * C, LARGE), 1)
            if key_group != value_group:
                y, x = positions_of(offset, n, tap, value_group, pixel, row, column, exists, height, width, G, KERNEL)
            d_weight = tl.sum(d_out * sampled(frame, y, x, key + C, mask, height, width, 2 * C, LARGE), 1)
            larger = tl.maximum(most, score)
            shrink, weight = tl.exp(most - larger), tl.exp(score - larger)
            total = total * shrink + weight
            mean = mean * shrink + weight * d_weight
            most = larger
    mean = mean / total
    d_query = tl.zeros((BLOCK, D), tl.float32)
    step_of_keys, step_of_values = 1.0, 1.0
    if FIXED:
        step_of_keys, step_of_values = tl.load(steps), tl.load(steps + 1)
    for n in tl.range(FRAMES):
        at_frame = (image // FRAMES * FRAMES + (image + n) % FRAMES) * pixels * (2 * C)
        frame = kv + at_frame
        for tap in tl.range(TAPS):
            y, x = positions_of(offset, n, tap, key_group, pixel, row, column, exists, height, width, G, KERNEL)
            v, u = positions_of(offset, n, tap, value_group, pixel, row, column, exists, height, width, G, KERNEL)
            sample = sampled(frame, y, x, key, mask, height, width, 2 * C, LARGE)
            weight = tl.exp(tl.sum(query * sample, 1) - most) / total
            d_weight = tl.sum(d_out * sampled(frame, v, u, key + C, mask, height, width, 2 * C, LARGE), 1)
            d_score = weight * (d_weight - mean)
            d_query += d_score[:, None] * sample
            d_key, d_value = (d_score * keys_factor)[:, None] * query, weight[:, None] * d_out
            if WANTS_KV:
                at, weights = corners(y, x, height, width)
                scatter(d_kv + at_frame, at, weights, key, mask, d_key, step_of_keys, 2 * C, LARGE, FIXED)
                at, weights = corners(v, u, height, width)
                scatter(d_kv + at_frame, at, weights, key + C, mask, d_value, step_of_values, 2 * C, LARGE, FIXED)
            if WANTS_OFFSET:
                to = d_offset + ((image * FRAMES + n) * (2 * HEADS) + head) * (TAPS * 2) * pixels + tap * 2 * pixels
                store_slopes(to, frame, y, x, key, mask, d_key, pixel, exists, height, width, 2 * C, LARGE)
                to += HEADS * TAPS * 2 * pixels
                store_slopes(to, frame, v, u, key + C, mask, d_value, pixel, exists, height, width, 2 * C, LARGE)
    at = d_q + image * pixels * C + pixel.to(tl.int64)[:, None] * C + key[None, :]
    tl.store(at, d_query * scale, mask=mask)
