"""Results of nearest_conv out of its nine products: a place of the result adds up those that its types say.

An output row has an input row, a type and an offset in the result, in places of O numbers; a column alike. Type 1: the
row before belongs to another input row; 2: the row behind does. Products are numbered 3 a + b: along rows a = 0 always
counts, a = 1 with type 1, a = 2 with type 2, and b along columns alike.
"""

import triton
import triton.language as tl


@triton.jit
def counts(kind, product: tl.constexpr):
    """Whether a product, 0 to 2 along one axis, counts for a row or column of this type."""
    if product == 0:
        return kind >= 0
    return (kind & product) != 0


@triton.jit
def axis(table, i, exists, count):
    """Of rows or columns i: input row, type and offset; table [3, count]."""
    source = tl.load(table + i, mask=exists, other=0)
    kind = tl.load(table + count + i, mask=exists, other=0)
    return source, kind, tl.load(table + 2 * count + i, mask=exists, other=0)


@triton.jit(do_not_specialize=["places", "row_count", "column_count"])
def nearest_conv_add(
    products, rows, columns, out, places, row_count, column_count, image_places, height, width, pixels,
    O: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """products [9, pixels, O] -> out, at `places` = B * row_count * column_count places of O numbers each. rows
    [3, row_count] and columns are in 64 bits, and so are
    offsets; an image has image_places of them."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = place < places
    b, i, j = place // (row_count * column_count), place // column_count % row_count, place % column_count
    y, row_kind, row_offset = axis(rows, i, exists, row_count)
    x, column_kind, column_offset = axis(columns, j, exists, column_count)
    pixel = (b * height + y) * width + x
    c = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    total = tl.zeros((BLOCK, CHUNK), tl.float32)
    for k in tl.static_range(9):
        there = exists & counts(row_kind, k // 3) & counts(column_kind, k % 3)
        at = products + (k * pixels + pixel)[:, None] * O + c[None, :]
        total += tl.load(at, mask=there[:, None] & (c < O)[None, :], other=0.0)
    at = out + ((b * image_places + row_offset + column_offset) * O)[:, None] + c[None, :]
    tl.store(at, total, mask=exists[:, None] & (c < O)[None, :])
