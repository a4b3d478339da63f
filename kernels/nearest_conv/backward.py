"""The gradients of nearest_conv's nine products: of each input pixel's, the sums over its places, in their order."""

import triton
import triton.language as tl

from vinr_engine.kernels.nearest_conv.forward import axis, counts


@triton.jit(do_not_specialize=["pixels", "row_count", "column_count"])
def nearest_conv_gather(
    grad, rows, columns, first_row, first_column, d_products, pixels, row_count, column_count, image_places, height,
    width, MOST_ROWS: tl.constexpr, MOST_COLUMNS: tl.constexpr, O: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """grad as the result -> d_products [9, pixels, O]. An input row y has places first_row[y] to first_row[y + 1], up
    to MOST_ROWS; columns alike."""
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = pixel < pixels
    b, y, x = pixel // (height * width), pixel // width % height, pixel % width
    row = tl.load(first_row + y, mask=exists, other=0)
    rows_end = tl.load(first_row + y + 1, mask=exists, other=0)
    column = tl.load(first_column + x, mask=exists, other=0)
    columns_end = tl.load(first_column + x + 1, mask=exists, other=0)
    c = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    for k in tl.static_range(3):  # along columns
        itself = tl.zeros((BLOCK, CHUNK), tl.float32)
        before = tl.zeros((BLOCK, CHUNK), tl.float32)
        behind = tl.zeros((BLOCK, CHUNK), tl.float32)
        for m in tl.range(MOST_ROWS):
            in_row = exists & (row + m < rows_end)
            _, row_kind, row_offset = axis(rows, row + m, in_row, row_count)
            for n in tl.range(MOST_COLUMNS):
                there = in_row & (column + n < columns_end)
                _, column_kind, column_offset = axis(columns, column + n, there, column_count)
                there = there & counts(column_kind, k)
                at = grad + ((b * image_places + row_offset + column_offset) * O)[:, None] + c[None, :]
                value = tl.load(at, mask=there[:, None] & (c < O)[None, :], other=0.0)
                itself += value
                before += tl.where(counts(row_kind, 1)[:, None], value, 0.0)
                behind += tl.where(counts(row_kind, 2)[:, None], value, 0.0)
        inside = exists[:, None] & (c < O)[None, :]
        tl.store(d_products + (k * pixels + pixel)[:, None] * O + c[None, :], itself, mask=inside)
        tl.store(d_products + ((3 + k) * pixels + pixel)[:, None] * O + c[None, :], before, mask=inside)
        tl.store(d_products + ((6 + k) * pixels + pixel)[:, None] * O + c[None, :], behind, mask=inside)
