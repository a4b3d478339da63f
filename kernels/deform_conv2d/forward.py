"""Modulated deformable convolution, forward: one kernel that samples a tile of columns and multiplies it at once.

Channels are taken in segments, the widest vectors that lie within one convolution group and one offset group: a tile of
columns is [BLOCK_P output pixels, BLOCK_S segments, SEGMENT channels], read at positions [BLOCK_P, BLOCK_S].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from vinr_engine.kernels.common.tuning import autotune, configuration


class Geometry(NamedTuple):
    """Where taps lie, as a kernel's constexpr: numbers of (y, x), and the kernel's columns."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    columns: int


# Every way to launch this kernel. More pixels or fewer warps do not fit the registers of every target.
CONFIGURATIONS = [
    configuration(8, 2, BLOCK_P=64),
    configuration(4, 2, BLOCK_P=64),
    configuration(4, 2, BLOCK_P=32),
]
KEY = ["size_class", "GROUP_OUT", "SEGMENTS", "SEGMENT", "TAPS", "MASK", "PRECISION"]


def prune(configurations: list[triton.Config], _: dict[str, Any], **arguments: Any) -> list[triton.Config]:
    """Those whose accumulators take at most 64 registers a thread."""
    width = max(arguments["BLOCK_O"], arguments["BLOCK_S"] * arguments["SEGMENT"])
    return [c for c in configurations if c.kwargs["BLOCK_P"] * width <= 64 * 32 * c.num_warps]


def prune_forward(configurations: list[triton.Config], named: dict[str, Any], **arguments: Any) -> list[triton.Config]:
    """As `prune`; the parts of three products take the registers that fewer warps have no more of."""
    fewest = 8 if arguments["PRECISION"] == "tf32x3" else 4
    return [c for c in prune(configurations, named, **arguments) if c.num_warps >= fewest]


@triton.jit
def pixels_of(tile, pixels, OH, OW, BLOCK_P: tl.constexpr, WIDE: tl.constexpr):
    """Batch, row and column of a tile of output pixels, numbered through the batch, and which of them exist."""
    pixel = tile * wide(BLOCK_P, WIDE) + tl.arange(0, BLOCK_P)
    return pixel // (OH * OW), pixel // OW % OH, pixel % OW, pixel < pixels


@triton.jit
def wide(stride, WIDE: tl.constexpr):
    """The stride, so that products with it do not overflow."""
    if WIDE:
        return tl.cast(stride, tl.int64)
    return stride


@triton.jit
def read_positions(
    offset, mask, b, oy, ox, read, tap, segment,
    off_b, off_c, off_y, off_x, mask_b, mask_c, mask_y, mask_x,
    GEOMETRY: tl.constexpr, TAPS: tl.constexpr, SHARE: tl.constexpr, MASK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Where a tap reads for each pixel and segment, and what it is times: y, x, modulation [BLOCK_P, BLOCK_S]."""
    place = (segment // SHARE * TAPS + tap)[None, :]  # [1, BLOCK_S]
    at = offset + (b * off_b + oy * off_y + ox * off_x)[:, None] + 2 * place * wide(off_c, WIDE)
    y = tl.load(at, read, other=0.0).to(tl.float32)
    x = tl.load(at + off_c, read, other=0.0).to(tl.float32)
    tap_y = tap // GEOMETRY.columns * GEOMETRY.dilation[0] - GEOMETRY.padding[0]
    tap_x = tap % GEOMETRY.columns * GEOMETRY.dilation[1] - GEOMETRY.padding[1]
    y += (oy * GEOMETRY.stride[0] + tap_y).to(tl.float32)[:, None]
    x += (ox * GEOMETRY.stride[1] + tap_x).to(tl.float32)[:, None]
    if MASK == 0:
        modulation = tl.full(y.shape, 1.0, tl.float32)
    else:
        at = mask + (b * mask_b + oy * mask_y + ox * mask_x)[:, None] + place * wide(mask_c, WIDE)
        modulation = tl.load(at, read, other=0.0).to(tl.float32)
        if MASK == 2:  # its sigmoid
            small = tl.exp(-tl.abs(modulation))
            modulation = tl.where(modulation >= 0.0, 1.0, small) / (1.0 + small)
    return y, x, modulation


@triton.jit
def find_corners(y, x, read, H, W):
    """Of the four corners: the upper left one, the distance from it, and which rows and columns lie inside."""
    # NaN compares false: it reads as outside.
    inside = read & (y > -1.0) & (y < tl.cast(H, tl.float32)) & (x > -1.0) & (x < tl.cast(W, tl.float32))
    y, x = tl.where(inside, y, 0.0), tl.where(inside, x, 0.0)
    top, left = tl.floor(y), tl.floor(x)
    fy, fx = y - top, x - left
    top, left = top.to(tl.int32), left.to(tl.int32)
    return top, left, fy, fx, inside & (top >= 0), inside & (top + 1 < H), left >= 0, left + 1 < W


@triton.jit
def corner_pointers(input, b, top, left, segment, in_b, in_y, in_x, SEGMENT: tl.constexpr, WIDE: tl.constexpr):
    """To the upper left corner of every sample, [BLOCK_P, BLOCK_S, SEGMENT]."""
    row = (b * in_b)[:, None] + top * wide(in_y, WIDE) + left * wide(in_x, WIDE)
    channel = (segment * SEGMENT)[:, None] + tl.arange(0, SEGMENT)[None, :]
    return input + row[:, :, None] + channel[None, :, :]


@triton.jit
def read_corner(at, valid):
    """float32 [BLOCK_P, BLOCK_S, SEGMENT], zero where not valid [BLOCK_P, BLOCK_S]."""
    return tl.load(at, valid[:, :, None], other=0.0).to(tl.float32)


@triton.jit
def sample_columns(
    input, b, y, x, modulation, read, segment, H, W, in_b, in_y, in_x, SEGMENT: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """Modulated samples [BLOCK_P, BLOCK_S * SEGMENT], in the precision of the input."""
    top, left, fy, fx, upper, lower, west, east = find_corners(y, x, read, H, W)
    at = corner_pointers(input, b, top, left, segment, in_b, in_y, in_x, SEGMENT, WIDE)
    wy, wx = (1.0 - fy) * modulation, 1.0 - fx
    fy *= modulation
    out = (wy * wx)[:, :, None] * read_corner(at, upper & west)
    out += (wy * fx)[:, :, None] * read_corner(at + in_x, upper & east)
    out += (fy * wx)[:, :, None] * read_corner(at + in_y, lower & west)
    out += (fy * fx)[:, :, None] * read_corner(at + in_y + in_x, lower & east)
    return tl.reshape(out.to(input.dtype.element_ty), [out.shape[0], out.shape[1] * SEGMENT])


@triton.jit
def weight_tile(
    weight, group, o, tap, s, TAPS: tl.constexpr, GROUP_OUT: tl.constexpr, SEGMENTS: tl.constexpr,
    SEGMENT: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    """Pointers to a tap's weights [BLOCK_S * SEGMENT, BLOCK_O] from segment s of the group on; which of them exist."""
    channel = s * SEGMENT + tl.arange(0, BLOCK_S * SEGMENT)
    row = (group * GROUP_OUT + o) * TAPS + tap
    at = weight + row[None, :] * (SEGMENTS * SEGMENT) + channel[:, None]
    return at, (channel < SEGMENTS * SEGMENT)[:, None] & (o < GROUP_OUT)[None, :]


@autotune(CONFIGURATIONS, KEY, prune_forward)
@triton.jit
def forward(
    input, offset, mask, weight, bias, output,
    H, W, OH, OW, pixels, size_class,
    in_b, in_y, in_x, off_b, off_c, off_y, off_x, mask_b, mask_c, mask_y, mask_x, out_b, out_o, out_y, out_x,
    GEOMETRY: tl.constexpr, TAPS: tl.constexpr,
    GROUP_OUT: tl.constexpr, SEGMENTS: tl.constexpr, SEGMENT: tl.constexpr, SHARE: tl.constexpr,
    MASK: tl.constexpr, BIAS: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    """output [B, O, OH, OW] from input [B, H, W, C] and weight [O, TAPS, C/groups], both with channels contiguous.

    GROUP_OUT: output channels of a convolution group, whose input channels are SEGMENTS segments.
    SHARE: segments of an offset group. MASK: 0 for none, 1 for a factor, 2 for its logit.
    WIDE: whether offsets take 64 bits. size_class: of how many pixels the configuration is chosen for.
    """
    O_BLOCKS: tl.constexpr = (GROUP_OUT + BLOCK_O - 1) // BLOCK_O
    S_STEPS: tl.constexpr = (SEGMENTS + BLOCK_S - 1) // BLOCK_S
    group = tl.program_id(1) // O_BLOCKS
    o = tl.program_id(1) % O_BLOCKS * BLOCK_O + tl.arange(0, BLOCK_O)
    b, oy, ox, seen = pixels_of(tl.program_id(0), pixels, OH, OW, BLOCK_P, WIDE)
    accumulator = tl.zeros([BLOCK_P, BLOCK_O], tl.float32)
    for step in range(TAPS * S_STEPS):
        tap, s = step // S_STEPS, step % S_STEPS * BLOCK_S
        here = s + tl.arange(0, BLOCK_S)
        read = seen[:, None] & (here < SEGMENTS)[None, :]
        segment = group * SEGMENTS + here
        y, x, modulation = read_positions(
            offset, mask, b, oy, ox, read, tap, segment, off_b, off_c, off_y, off_x, mask_b, mask_c, mask_y, mask_x,
            GEOMETRY, TAPS, SHARE, MASK, WIDE,
        )  # fmt: skip
        columns = sample_columns(input, b, y, x, modulation, read, segment, H, W, in_b, in_y, in_x, SEGMENT, WIDE)
        at, exists = weight_tile(weight, group, o, tap, s, TAPS, GROUP_OUT, SEGMENTS, SEGMENT, BLOCK_S)
        tile = tl.load(at, exists, other=0.0)
        accumulator = tl.dot(columns, tile, accumulator, input_precision=PRECISION)
    written = seen[:, None] & (o < GROUP_OUT)[None, :]
    o_exists = o < GROUP_OUT
    o += group * GROUP_OUT
    if BIAS:
        accumulator += tl.load(bias + o, o_exists, other=0.0).to(tl.float32)[None, :]
    at = output + (b * out_b + oy * out_y + ox * out_x)[:, None] + o[None, :] * wide(out_o, WIDE)
    tl.store(at, accumulator.to(output.dtype.element_ty), written)
