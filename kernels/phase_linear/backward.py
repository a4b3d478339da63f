"""Gradients of phase_linear. Every input pixel and every weight is one program's own: no sum depends on an order."""

import triton
import triton.language as tl

from vinr_engine.kernels.phase_linear.forward import cells_of, output_tile, outputs_of, pixel_rows, split, weight_rows


@triton.jit(do_not_specialize=["cells"])
def phase_linear_backward_maps(
    grad, weights, d_maps, cells, rows, columns, pixels_y, pixels_x, phases_y, phases_x, NY: tl.constexpr,
    NX: tl.constexpr, C: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr, CHANNELS: tl.constexpr, STEP: tl.constexpr,
    LARGE: tl.constexpr,
):  # fmt: skip
    """grad [B, C, H, W] -> d_maps [B, h, w, K]. A program takes the pixels at one place of BLOCK cells and CHANNELS of
    their channels, by STEP outputs at a time; a pixel without outputs gets zeros."""
    tile, place, block = split(tl.program_id(0), tl.cdiv(K, CHANNELS), pixels_y * pixels_x)
    here = cells_of(tile, cells, rows, columns, BLOCK, LARGE)
    k = block * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.zeros((BLOCK, CHANNELS), tl.float32)
    for first in tl.range(0, NY * NX * C, STEP, num_stages=1):  # what is loaded ahead takes registers that are not left
        n = first + tl.arange(0, STEP)
        outputs = outputs_of(place, n, phases_y, phases_x, pixels_y, pixels_x, NY, NX, C, LARGE)
        at, there = output_tile(grad, here, outputs, rows, columns, phases_y, phases_x, C)
        d = tl.load(at, mask=there, other=0.0)
        at, there = weight_rows(weights, outputs, phases_x, k, C, K)
        weight = tl.load(at, mask=there, other=0.0)
        total = tl.dot(d, weight, total, input_precision="ieee")
    at, there = pixel_rows(d_maps, here, place, rows, columns, pixels_y, pixels_x, k, K)
    tl.store(at, total, mask=there)


@triton.jit(do_not_specialize=["cells", "tiles"])
def phase_linear_backward_weights(
    grad, maps, partial, cells, tiles, rows, columns, pixels_y, pixels_x, phases_y, phases_x, NY: tl.constexpr,
    NX: tl.constexpr, C: tl.constexpr, K: tl.constexpr, OUTPUTS: tl.constexpr, CHANNELS: tl.constexpr,
    STEP: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """partial [slabs, phases_y, phases_x, C, K]: the weights' gradient, in each slab the sum over `tiles` tiles of STEP
    cells. A program takes the pixels at one place of a slab's cells, OUTPUTS of their outputs and CHANNELS."""
    across, down = tl.cdiv(K, CHANNELS), tl.cdiv(NY * NX * C, OUTPUTS)
    slab, place, block = split(tl.program_id(0), across * down, pixels_y * pixels_x)
    n = block // across * OUTPUTS + tl.arange(0, OUTPUTS)
    k = block % across * CHANNELS + tl.arange(0, CHANNELS)
    outputs = outputs_of(place, n, phases_y, phases_x, pixels_y, pixels_x, NY, NX, C, LARGE)
    total = tl.zeros((OUTPUTS, CHANNELS), tl.float32)
    for tile in tl.range(tiles):
        here = cells_of(slab * tiles + tile, cells, rows, columns, STEP, LARGE)
        at, there = output_tile(grad, here, outputs, rows, columns, phases_y, phases_x, C)
        d = tl.load(at, mask=there, other=0.0)
        at, there = pixel_rows(maps, here, place, rows, columns, pixels_y, pixels_x, k, K)
        value = tl.load(at, mask=there, other=0.0)
        total = tl.dot(tl.trans(d), value, total, input_precision="ieee")
    own = partial + slab.to(tl.int64) * phases_y * phases_x * (C * K)
    at, there = weight_rows(own, outputs, phases_x, k, C, K)
    tl.store(at, total, mask=there)
