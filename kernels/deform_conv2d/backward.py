"""Gradients of modulated deformable convolution, from samples that are computed once more.

With columns X [pixels, taps * channels], the samples times modulation, and weights V, the output is Y = X V^T:
dX = dY V, which `backward_samples` turns into gradients of input, offset and mask; dV = dY^T X, which
`backward_weight` sums.
"""

from __future__ import annotations

import triton
import triton.language as tl

from vinr_engine.kernels.common.tuning import autotune, configuration
from vinr_engine.kernels.deform_conv2d.forward import (
    KEY,
    corner_pointers,
    find_corners,
    pixels_of,
    prune,
    read_corner,
    read_positions,
    sample_columns,
    weight_tile,
    wide,
)

# Every way to launch these kernels.
SAMPLES = [
    configuration(8, 1, BLOCK_P=64),
    configuration(4, 1, BLOCK_P=32),
    configuration(4, 1, BLOCK_P=64),
]
WEIGHT = [
    configuration(8, 1, BLOCK_P=64),
    configuration(4, 1, BLOCK_P=64),
    configuration(4, 1, BLOCK_P=32),
]


@triton.jit
def gradient_tile(grad, b, oy, ox, seen, group, o, grad_b, grad_o, grad_y, grad_x,
    GROUP_OUT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The output's gradient [BLOCK_P, BLOCK_O]."""
    at = grad + (b * grad_b + oy * grad_y + ox * grad_x)[:, None]
    at += (group * GROUP_OUT + o)[None, :] * wide(grad_o, WIDE)
    return tl.load(at, seen[:, None] & (o < GROUP_OUT)[None, :], other=0.0)


@triton.jit
def add_corner(at, valid, value, scale, FIXED: tl.constexpr):
    """Add value [BLOCK_P, BLOCK_S, SEGMENT] to the input's gradient where valid [BLOCK_P, BLOCK_S].

    FIXED: as whole numbers of 1 / scale, the sum of which no order of additions changes.
    """
    if FIXED:
        tl.atomic_add(at, (value * scale).to(tl.int64), valid[:, :, None], sem="relaxed")
    else:
        tl.atomic_add(at, value, valid[:, :, None], sem="relaxed")


@triton.jit
def sum_runs(values, RUN: tl.constexpr):
    """[BLOCK_P, BLOCK_S] -> [BLOCK_P, BLOCK_S // RUN], the sums of RUN neighbours."""
    if RUN == 1:
        return values
    return tl.sum(tl.reshape(values, [values.shape[0], values.shape[1] // RUN, RUN]), 2)


@autotune(SAMPLES, [*KEY, "INPUT", "OFFSET", "FIXED"], prune, reset=["grad_input"])
@triton.jit
def backward_samples(
    grad, input, offset, mask, weight, grad_input, grad_offset, grad_mask, scale,
    H, W, OH, OW, pixels, size_class,
    grad_b, grad_o, grad_y, grad_x, in_b, in_y, in_x, off_b, off_c, off_y, off_x, mask_b, mask_c, mask_y, mask_x,
    sum_b, sum_y, sum_x, to_part, to_b, to_c, to_y, to_x, to_mask_part, to_mask_b, to_mask_c, to_mask_y, to_mask_x,
    GEOMETRY: tl.constexpr, TAPS: tl.constexpr,
    GROUP_OUT: tl.constexpr, SEGMENTS: tl.constexpr, SEGMENT: tl.constexpr, SHARE: tl.constexpr,
    MASK: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
    RUN: tl.constexpr, INPUT: tl.constexpr, OFFSET: tl.constexpr, FIXED: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    """Gradients of input, added to grad_input [B, H, W, C], and of offset and mask, stored.

    A program takes BLOCK_P pixels, one tap, BLOCK_S segments. Of the SHARE segments of an offset group RUN neighbours
    are summed here and written as one part; grad_offset and grad_mask have SHARE / RUN parts, to_part apart.
    INPUT, OFFSET: which gradients are wanted, OFFSET for both. The other arguments are those of `forward`.
    """
    O_BLOCKS: tl.constexpr = (GROUP_OUT + BLOCK_O - 1) // BLOCK_O
    S_STEPS: tl.constexpr = (SEGMENTS + BLOCK_S - 1) // BLOCK_S
    PARTS: tl.constexpr = SHARE // RUN
    tap = tl.program_id(1) % TAPS
    s = tl.program_id(1) // TAPS % S_STEPS * BLOCK_S
    group = tl.program_id(1) // (TAPS * S_STEPS)
    b, oy, ox, seen = pixels_of(tl.program_id(0), pixels, OH, OW, BLOCK_P, WIDE)
    columns = tl.zeros([BLOCK_P, BLOCK_S * SEGMENT], tl.float32)
    for o0 in range(0, O_BLOCKS * BLOCK_O, BLOCK_O):
        o = o0 + tl.arange(0, BLOCK_O)
        tile = gradient_tile(grad, b, oy, ox, seen, group, o, grad_b, grad_o, grad_y, grad_x, GROUP_OUT, WIDE)
        at, exists = weight_tile(weight, group, o, tap, s, TAPS, GROUP_OUT, SEGMENTS, SEGMENT, BLOCK_S)
        factor = tl.load(at, exists, other=0.0)
        columns = tl.dot(tile.to(factor.dtype), tl.trans(factor), columns, input_precision=PRECISION)
    columns = tl.reshape(columns, [BLOCK_P, BLOCK_S, SEGMENT])

    here = s + tl.arange(0, BLOCK_S)
    read = seen[:, None] & (here < SEGMENTS)[None, :]
    segment = group * SEGMENTS + here
    y, x, modulation = read_positions(
        offset, mask, b, oy, ox, read, tap, segment, off_b, off_c, off_y, off_x, mask_b, mask_c, mask_y, mask_x,
        GEOMETRY, TAPS, SHARE, MASK, WIDE,
    )  # fmt: skip
    top, left, fy, fx, upper, lower, west, east = find_corners(y, x, read, H, W)
    if INPUT:
        at = corner_pointers(grad_input, b, top, left, segment, sum_b, sum_y, sum_x, SEGMENT, WIDE)
        step = tl.load(scale) if FIXED else 1.0
        wy, wx, vy = (1.0 - fy) * modulation, 1.0 - fx, fy * modulation
        add_corner(at, upper & west, columns * (wy * wx)[:, :, None], step, FIXED)
        add_corner(at + sum_x, upper & east, columns * (wy * fx)[:, :, None], step, FIXED)
        add_corner(at + sum_y, lower & west, columns * (vy * wx)[:, :, None], step, FIXED)
        add_corner(at + sum_y + sum_x, lower & east, columns * (vy * fx)[:, :, None], step, FIXED)
    if OFFSET:
        # Of each corner the sum over channels of its value times the column's gradient: all that positions need.
        at = corner_pointers(input, b, top, left, segment, in_b, in_y, in_x, SEGMENT, WIDE)
        upper_west = tl.sum(columns * read_corner(at, upper & west), 2)
        upper_east = tl.sum(columns * read_corner(at + in_x, upper & east), 2)
        lower_west = tl.sum(columns * read_corner(at + in_y, lower & west), 2)
        lower_east = tl.sum(columns * read_corner(at + in_y + in_x, lower & east), 2)
        above = upper_west + fx * (upper_east - upper_west)
        below = lower_west + fx * (lower_east - lower_west)
        d_y = sum_runs(modulation * (below - above), RUN)
        across = (1.0 - fy) * (upper_east - upper_west) + fy * (lower_east - lower_west)
        d_x = sum_runs(modulation * across, RUN)
        run = (group * SEGMENTS + s) // RUN + tl.arange(0, BLOCK_S // RUN)
        written = seen[:, None] & (run < (group + 1) * SEGMENTS // RUN)[None, :]
        place, part = run // PARTS * TAPS + tap, run % PARTS
        at = grad_offset + (b * to_b + oy * to_y + ox * to_x)[:, None]
        at += (part * wide(to_part, WIDE) + 2 * place * wide(to_c, WIDE))[None, :]
        tl.store(at, d_y.to(grad_offset.dtype.element_ty), written)
        tl.store(at + to_c, d_x.to(grad_offset.dtype.element_ty), written)
        if MASK != 0:
            d_mask = above + fy * (below - above)
            if MASK == 2:
                d_mask *= modulation * (1.0 - modulation)
            at = grad_mask + (b * to_mask_b + oy * to_mask_y + ox * to_mask_x)[:, None]
            at += (part * wide(to_mask_part, WIDE) + place * wide(to_mask_c, WIDE))[None, :]
            tl.store(at, sum_runs(d_mask, RUN).to(grad_mask.dtype.element_ty), written)


@autotune(WEIGHT, KEY, prune)
@triton.jit
def backward_weight(
    grad, input, offset, mask, partial,
    H, W, OH, OW, pixels, size_class, span, slab_size,
    grad_b, grad_o, grad_y, grad_x, in_b, in_y, in_x, off_b, off_c, off_y, off_x, mask_b, mask_c, mask_y, mask_x,
    GEOMETRY: tl.constexpr, TAPS: tl.constexpr,
    GROUP_OUT: tl.constexpr, SEGMENTS: tl.constexpr, SEGMENT: tl.constexpr, SHARE: tl.constexpr,
    MASK: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    """partial [slabs, O, TAPS, C/groups]: the weight's gradient, a slab of slab_size numbers summed over span pixels.

    A program takes one slab, one tap, BLOCK_S segments and BLOCK_O output channels.
    """
    O_BLOCKS: tl.constexpr = (GROUP_OUT + BLOCK_O - 1) // BLOCK_O
    S_STEPS: tl.constexpr = (SEGMENTS + BLOCK_S - 1) // BLOCK_S
    tap = tl.program_id(1) % TAPS
    s = tl.program_id(1) // TAPS % S_STEPS * BLOCK_S
    o = tl.program_id(1) // (TAPS * S_STEPS) % O_BLOCKS * BLOCK_O + tl.arange(0, BLOCK_O)
    group = tl.program_id(1) // (TAPS * S_STEPS * O_BLOCKS)
    here = s + tl.arange(0, BLOCK_S)
    segment = group * SEGMENTS + here
    tiles = span // BLOCK_P
    accumulator = tl.zeros([BLOCK_O, BLOCK_S * SEGMENT], tl.float32)
    for tile in range(tl.program_id(0) * tiles, (tl.program_id(0) + 1) * tiles):
        b, oy, ox, seen = pixels_of(tile, pixels, OH, OW, BLOCK_P, WIDE)
        read = seen[:, None] & (here < SEGMENTS)[None, :]
        y, x, modulation = read_positions(
            offset, mask, b, oy, ox, read, tap, segment, off_b, off_c, off_y, off_x, mask_b, mask_c, mask_y, mask_x,
            GEOMETRY, TAPS, SHARE, MASK, WIDE,
        )  # fmt: skip
        columns = sample_columns(input, b, y, x, modulation, read, segment, H, W, in_b, in_y, in_x, SEGMENT, WIDE)
        g = gradient_tile(grad, b, oy, ox, seen, group, o, grad_b, grad_o, grad_y, grad_x, GROUP_OUT, WIDE)
        accumulator = tl.dot(tl.trans(g.to(columns.dtype)), columns, accumulator, input_precision=PRECISION)
    slab = partial + tl.program_id(0).to(tl.int64) * slab_size
    at, exists = weight_tile(slab, group, o, tap, s, TAPS, GROUP_OUT, SEGMENTS, SEGMENT, BLOCK_S)
    tl.store(at, tl.trans(accumulator), exists)
