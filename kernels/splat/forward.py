"""Forward splatting by gathering: each pixel adds up the sources that land around it, in one order at every run."""

import triton
import triton.language as tl


@triton.jit
def place_of(flow, source, exists, height, width):
    """Where sources land, numbered through the batch, each [BLOCK]: whether a tap lies in the picture, the image, row
    and column of the upper left tap, each plus one, and the distances from it. flow [B, 2, height, width]."""
    pixels = height * width
    image, number = source // pixels, source % pixels
    at = flow + image * (2 * pixels) + number
    x = (number % width).to(tl.float32) + tl.load(at, mask=exists, other=0.0)
    y = (number // width).to(tl.float32) + tl.load(at + pixels, mask=exists, other=0.0)
    # Comparisons come before any whole number: far places and NaN have none.
    lands = exists & (x >= -1) & (x < width) & (y >= -1) & (y < height)
    x, y = tl.where(lands, x, 0.0), tl.where(lands, y, 0.0)
    left, top = tl.floor(x), tl.floor(y)
    return lands, image, top.to(tl.int32) + 1, left.to(tl.int32) + 1, x - left, y - top


@triton.jit(do_not_specialize=["sources", "height", "width", "nowhere"])
def splat_cells(flow, cells, sources, height, width, nowhere, BLOCK: tl.constexpr, LARGE: tl.constexpr):
    """The cell between pixels, of [B, height + 1, width + 1], in which each source lands, or `nowhere`."""
    tile = tl.program_id(0)
    if LARGE:
        tile = tile.to(tl.int64)
    source = tile * BLOCK + tl.arange(0, BLOCK)
    exists = source < sources
    lands, image, row, column, _, _ = place_of(flow, source, exists, height, width)
    cell = (image * (height + 1) + row) * (width + 1) + column
    tl.store(cells + source, tl.where(lands, cell, nowhere), mask=exists)


@triton.jit
def received(
    order, begin, e, has, flow, weight, height, width, RIGHT: tl.constexpr, LOWER: tl.constexpr,
    WEIGHTED: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """Entry e of cells, of which pixels are one of four taps: the source, the tap's share, and the source's weight."""
    source = tl.load(order + begin + e, mask=has, other=0)
    if not LARGE:
        source = source.to(tl.int32)
    _, _, _, _, a, b = place_of(flow, source, has, height, width)
    share = (a if RIGHT else 1 - a) * (b if LOWER else 1 - b)
    value = share * 0 + 1
    if WEIGHTED:
        value = tl.load(weight + source, mask=has, other=0.0)
    return source, tl.where(has, share, 0.0), value


@triton.jit(do_not_specialize=["pixels", "height", "width"])
def splat(
    x, flow, weight, order, start, out, denominator, count, largest, norm, pixels, height, width, C: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr, EXPONENTIAL: tl.constexpr,
    ENDING: tl.constexpr, COUNT: tl.constexpr, MAXIMUM: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """x [pixels, C], pixels = B * height * width, sources in the order of their cells, and where each cell's begin ->
    out [pixels, C] and what is wanted of a pixel beside it. A program takes BLOCK pixels and a chunk of the channels.

    ENDING: "", "add", "zero" or "clip"; norm [B, 3, height, width] is of the last three.
    """
    tile, j = tl.program_id(0), tl.program_id(1)
    if LARGE:
        tile = tile.to(tl.int64)
    pixel = tile * BLOCK + tl.arange(0, BLOCK)
    exists = pixel < pixels
    area = height * width
    image, y, x_of = pixel // area, pixel // width % height, pixel % width
    # A pixel is the lower right tap of the cell of its own numbers, which count from the one above the picture on.
    corner = (image * (height + 1) + y) * (width + 1) + x_of
    channel = j * CHUNK + tl.arange(0, CHUNK)
    most = tl.full((BLOCK,), float("-inf"), tl.float32)
    if EXPONENTIAL:
        for k in tl.static_range(4):
            cell = corner + (k // 2) * (width + 1) + k % 2
            begin = tl.load(start + cell, mask=exists, other=0)
            n = tl.load(start + cell + 1, mask=exists, other=0) - begin
            for e in tl.range(tl.max(n, 0)):
                source, share, exponent = received(
                    order, begin, e, e < n, flow, weight, height, width, k % 2 == 0, k // 2 == 0, WEIGHTED, LARGE
                )
                most = tl.where((share > 0) & (exponent > most), exponent, most)
        most = tl.where(most == float("-inf"), 0.0, most)
    sums = tl.zeros((BLOCK, CHUNK), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    taps = tl.zeros((BLOCK,), tl.float32)
    heaviest = tl.full((BLOCK,), 1.0, tl.float32)
    for k in tl.static_range(4):
        cell = corner + (k // 2) * (width + 1) + k % 2
        begin = tl.load(start + cell, mask=exists, other=0)
        n = tl.load(start + cell + 1, mask=exists, other=0) - begin
        taps += n.to(tl.float32)
        for e in tl.range(tl.max(n, 0)):
            has = e < n
            source, share, value = received(
                order, begin, e, has, flow, weight, height, width, k % 2 == 0, k // 2 == 0, WEIGHTED, LARGE
            )
            if EXPONENTIAL:
                # A larger one has a tap of weight zero. NaN stays.
                relative = value - most
                value = tl.exp(tl.where(relative > 0, 0.0, relative))
            share = tl.where(has, share * value, 0.0)
            total += share
            heaviest = tl.where(share > heaviest, share, heaviest)
            at = x + source[:, None] * C + channel[None, :]
            sums += share[:, None] * tl.load(at, mask=has[:, None] & (channel < C)[None, :], other=0.0)
    if ENDING != "":
        epsilon = tl.full((BLOCK,), 1e-7, tl.float32)
        if EXPONENTIAL:
            size = tl.exp(-tl.minimum(tl.abs(most), 87.0))
            epsilon = tl.where(most > 0, epsilon * size, epsilon / size)
        else:
            most = tl.zeros((BLOCK,), tl.float32)
        depends = tl.full((BLOCK,), 1.0, tl.float32)
        divisor = total
        if ENDING == "add":
            divisor = total + epsilon
        if ENDING == "zero":
            depends = tl.where(total == 0, 0.0, 1.0)
            divisor = tl.where(total == 0, 1.0, total)
        if ENDING == "clip":
            depends = tl.where(total < epsilon, 0.0, 1.0)
            divisor = tl.where(total < epsilon, epsilon, total)
        scale = 1 / divisor
        sums = sums * scale[:, None]
        if j == 0:
            at = norm + image * (3 * area) + pixel % area
            tl.store(at, scale, mask=exists)
            tl.store(at + area, most, mask=exists)
            tl.store(at + 2 * area, depends, mask=exists)
    elif j == 0:
        tl.store(denominator + pixel, total, mask=exists)
        if COUNT:
            tl.store(count + pixel, taps, mask=exists)
        if MAXIMUM:
            tl.store(largest + pixel, heaviest, mask=exists)
    tl.store(out + pixel[:, None] * C + channel[None, :], sums, mask=exists[:, None] & (channel < C)[None, :])
