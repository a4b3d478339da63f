"""The two passes of the query over tiles of output pixels, and what they and their gradients share."""

import triton
import triton.language as tl

from vinr_engine.kernels.common.layers import first_activation, layer_of, layers_after_first, load_vector, multiply
from vinr_engine.kernels.common.sampling import corners_inside, read_bilinear, read_chunk

# A size of 1 is a number like others, and a frame of another size needs no other kernel.
SIZES = [
    "first_image", "images", "batch", "steps", "map_height", "map_width", "lr_height", "lr_width", "height", "width",
    "upsample",
]  # fmt: skip
EDGE = tl.constexpr(5e-7)  # how near to the border, as a part of the axis, warped positions are clamped


@triton.jit
def tile_of(tile, height, width, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, BAND: tl.constexpr, LARGE: tl.constexpr):
    """y, x [M] of a tile's pixels. Tiles are counted down bands of BAND rows of them, so that tiles counted in a row
    lie together: a program that takes a run of them finds what they read in its cache."""
    rows, columns = tl.cdiv(height, TILE_Y), tl.cdiv(width, TILE_X)
    band = tile // (BAND * columns)
    in_band = tile % (BAND * columns)
    deep = tl.minimum(rows - band * BAND, BAND)
    pixel = tl.arange(0, TILE_Y * TILE_X)
    y = (band * BAND + in_band % deep) * TILE_Y + pixel // TILE_X
    x = in_band // deep * TILE_X + pixel % TILE_X
    if LARGE:
        y, x = y.to(tl.int64), x.to(tl.int64)
    return y, x


@triton.jit
def nearest_pixel(index, size, lr_size):
    """The map pixel that holds the centre of output pixel `index`, and its distance from there in half pixels."""
    centre = (2 * index + 1) * lr_size
    nearest = centre // (2 * size)
    relative = (centre - (2 * nearest + 1) * size).to(tl.float32) / size.to(tl.float32)
    return nearest, relative


@triton.jit
def warped(index, size, flow):
    """Where an axis's output pixels [M] lie once moved by `flow` pixels: 0 at the first's centre, 1 at the last's.

    The network's normalised position is 2 q - 1, clamped to +-(1 - 1e-6). NaN stays NaN.
    """
    if size == 1:
        q = tl.zeros_like(flow)
    else:
        q = (index.to(tl.float32) + flow) / (size - 1).to(tl.float32)
    return tl.where(q < EDGE, EDGE, tl.where(q > 1 - EDGE, 1 - EDGE, q))


@triton.jit
def warped_corners(qy, qx, read, rows, columns, height, width):
    """Corners of a map [height, width] of which the output covers rows x columns, at warped positions in [0, 1]."""
    y, x = qy * rows.to(tl.float32) - 0.5, qx * columns.to(tl.float32) - 0.5
    return corners_inside(y, x, read, height, width)


@triton.jit
def start_of(vectors, LAYER: tl.constexpr, time, TIME: tl.constexpr, j, C: tl.constexpr):
    """Chunk j of the first layer's bias at one time: the vector TIME holds the weight of the time."""
    return load_vector(vectors, LAYER, 0, j, C) + time * load_vector(vectors, LAYER, TIME, j, C)


@triton.jit(do_not_specialize=SIZES)
def decode(
    maps, colours, times, matrices, vectors, scratch, hr, flow,
    first_image, images, batch, steps, map_height, map_width, lr_height, lr_width, height, width, upsample,
    FEAT: tl.constexpr, FLOW: tl.constexpr, FEAT_MAP: tl.constexpr, FLOW_MAP: tl.constexpr, COLOURS: tl.constexpr,
    OMEGA: tl.constexpr, SHORT: tl.constexpr, PRECISION: tl.constexpr, CHUNK: tl.constexpr,
    GATHER: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, BAND: tl.constexpr, STAGES: tl.constexpr,
    LARGE: tl.constexpr, SCRATCH: tl.constexpr,
):  # fmt: skip
    """Pass 1: nearest maps, relative position and time -> HR feature -> flow.

    maps [B, map_height, map_width, channels], of which FEAT_MAP and FLOW_MAP are (first, count, stride); colours
    [B, u map_height, u map_width, 8] if COLOURS; times [steps, B]; hr [images, height, width, padded], flow
    [B * steps, 4, height, width]. Images count times of each batch entry, from first_image on. scratch, SCRATCH: as
    `layers_after_first` takes them.
    """
    dtype = matrices.dtype.element_ty
    F: tl.constexpr = layer_of(FEAT, len(FEAT) - 1).outputs
    C_F: tl.constexpr = min(F, CHUNK)
    C_FEAT: tl.constexpr = min(layer_of(FEAT, 0).outputs, GATHER)
    C_FLOW: tl.constexpr = min(layer_of(FLOW, 0).outputs, GATHER)
    tiles = tl.cdiv(height, TILE_Y) * tl.cdiv(width, TILE_X)
    share = tl.cdiv(images * tiles, tl.num_programs(0))
    first = tl.program_id(0) * share
    # What a tile's work has in common with the next one's takes registers: where they run out it is worked out again.
    for count in tl.range(first, tl.minimum(first + share, images * tiles), num_stages=1, disable_licm=not SHORT):
        image = first_image + count // tiles
        entry = image // steps
        time = tl.load(times + image % steps * batch + entry)
        y, x = tile_of(count % tiles, height, width, TILE_Y, TILE_X, BAND, LARGE)
        inside = (y < height) & (x < width)
        y, x = tl.minimum(y, height - 1), tl.minimum(x, width - 1)
        nearest_y, rel_y = nearest_pixel(y, height, lr_height)
        nearest_x, rel_x = nearest_pixel(x, width, lr_width)
        map_at = maps + entry.to(tl.int64) * map_height * map_width * FEAT_MAP[2]
        hs = ()
        for j in tl.static_range(layer_of(FEAT, 0).outputs // C_FEAT):
            z = read_chunk(map_at, nearest_y * map_width + nearest_x, FEAT_MAP, j, C_FEAT, LARGE)
            z += rel_y[:, None] * load_vector(vectors, layer_of(FEAT, 0), 1, j, C_FEAT)[None, :]
            z += rel_x[:, None] * load_vector(vectors, layer_of(FEAT, 0), 2, j, C_FEAT)[None, :]
            bias = start_of(vectors, layer_of(FEAT, 0), time, 3, j, C_FEAT)
            hs = hs + (first_activation(z, bias, FEAT, dtype, "sine", OMEGA, SHORT),)
        features = layers_after_first(
            hs, scratch, matrices, vectors, FEAT, CHUNK, "sine", OMEGA, SHORT, PRECISION, STAGES, SCRATCH
        )
        pixel = (y * width + x).to(tl.int64) + (image - first_image).to(tl.int64) * height * width
        xs = ()
        for j in tl.static_range(F // C_F):
            feature = features[j].to(dtype)
            to = hr + pixel[:, None] * F + (j * C_F + tl.arange(0, C_F))[None, :]
            tl.store(to, feature, mask=inside[:, None])
            xs = xs + (feature,)
        at_y = nearest_y.to(tl.float32) + rel_y / 2
        at_x = nearest_x.to(tl.float32) + rel_x / 2
        at = corners_inside(at_y, at_x, 1.0, map_height, map_width)
        if COLOURS:
            u = upsample.to(tl.float32)
            fine_y, fine_x = u * (at_y + 0.5) - 0.5, u * (at_x + 0.5) - 0.5
            fine = corners_inside(fine_y, fine_x, 1.0, upsample * map_height, upsample * map_width)
            colour_at = colours + entry.to(tl.int64) * (upsample * map_height) * (upsample * map_width) * 8
            colour_read = read_bilinear(colour_at, fine, (0, 8, 8), 0, 16, LARGE).to(dtype)
        hs = ()
        for j in tl.static_range(layer_of(FLOW, 0).outputs // C_FLOW):
            z = read_bilinear(map_at, at, FLOW_MAP, j, C_FLOW, LARGE)
            z = multiply(xs, z, matrices, layer_of(FLOW, 0), j, 0, C_FLOW, PRECISION)
            if COLOURS:
                z = multiply((colour_read,), z, matrices, layer_of(FLOW, 0), j, F, C_FLOW, PRECISION)
            bias = start_of(vectors, layer_of(FLOW, 0), time, 1, j, C_FLOW)
            hs = hs + (first_activation(z, bias, FLOW, dtype, "sine", OMEGA, SHORT),)
        flows = layers_after_first(
            hs, scratch, matrices, vectors, FLOW, CHUNK, "sine", OMEGA, SHORT, PRECISION, STAGES, SCRATCH
        )
        plane = tl.arange(0, 16)
        to = (image * 4 + plane).to(tl.int64)[None, :] * height * width + (y * width + x)[:, None]
        tl.store(flow + to, flows[0], mask=inside[:, None] & (plane < 4)[None, :])


@triton.jit(do_not_specialize=SIZES)
def colour(
    maps, colours, times, matrices, vectors, scratch, hr, flow, out,
    first_image, images, batch, steps, map_height, map_width, lr_height, lr_width, height, width, upsample,
    ENCODE: tl.constexpr, F: tl.constexpr, MAP_A: tl.constexpr, MAP_B: tl.constexpr, COLOURS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    OMEGA: tl.constexpr, SHORT: tl.constexpr, PRECISION: tl.constexpr, CHUNK: tl.constexpr,
    GATHER: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, BAND: tl.constexpr, STAGES: tl.constexpr,
    LARGE: tl.constexpr, SCRATCH: tl.constexpr,
):  # fmt: skip
    """Pass 2: warped reads of the HR feature, the maps and the colours -> out [B * steps, OUTPUTS, height, width].

    F is the HR feature's padded width; the rest is as in `decode`.
    """
    dtype = matrices.dtype.element_ty
    C_F: tl.constexpr = min(F, GATHER)
    C: tl.constexpr = min(layer_of(ENCODE, 0).outputs, GATHER)
    C_OUT: tl.constexpr = min(layer_of(ENCODE, len(ENCODE) - 1).outputs, CHUNK)
    tiles = tl.cdiv(height, TILE_Y) * tl.cdiv(width, TILE_X)
    share = tl.cdiv(images * tiles, tl.num_programs(0))
    first = tl.program_id(0) * share
    for count in tl.range(first, tl.minimum(first + share, images * tiles), num_stages=1, disable_licm=True):
        image = first_image + count // tiles
        entry = image // steps
        time = tl.load(times + image % steps * batch + entry)
        y, x = tile_of(count % tiles, height, width, TILE_Y, TILE_X, BAND, LARGE)
        inside = (y < height) & (x < width)
        y, x = tl.minimum(y, height - 1), tl.minimum(x, width - 1)
        pixel = y * width + x
        map_at = maps + entry.to(tl.int64) * map_height * map_width * MAP_A[2]
        hr_at = hr + (image - first_image).to(tl.int64) * height * width * F
        colour_at = colours + entry.to(tl.int64) * (upsample * map_height) * (upsample * map_width) * 8
        sums, ends, colours_read = (), (), ()
        for end in tl.static_range(2):
            flow_at = flow + (image * 4 + 2 * end).to(tl.int64) * height * width + pixel
            qx = warped(x, width, tl.load(flow_at))
            qy = warped(y, height, tl.load(flow_at + height * width))
            is_number = (qx == qx) & (qy == qy)
            read = tl.where(is_number, 1.0, 0.0)
            qx, qy = tl.where(is_number, qx, 0.5), tl.where(is_number, qy, 0.5)
            at = warped_corners(qy, qx, read, lr_height, lr_width, map_height, map_width)
            if end == 0:
                for j in tl.static_range(layer_of(ENCODE, 0).outputs // C):
                    sums = sums + (read_bilinear(map_at, at, MAP_A, j, C, LARGE),)
            else:
                both = ()
                for j in tl.static_range(layer_of(ENCODE, 0).outputs // C):
                    both = both + (read_bilinear(map_at, at, MAP_B, j, C, LARGE, sums[j]),)
                sums = both
            at = warped_corners(qy, qx, read, height, width, height, width)
            xs = ()
            for i in tl.static_range(F // C_F):
                xs = xs + (read_bilinear(hr_at, at, (0, F, F), i, C_F, LARGE).to(dtype),)
            ends = ends + (xs,)
            if COLOURS:
                rows, columns = upsample * lr_height, upsample * lr_width
                at = warped_corners(qy, qx, read, rows, columns, upsample * map_height, upsample * map_width)
                colours_read = colours_read + (read_bilinear(colour_at, at, (0, 8, 8), 0, 16, LARGE).to(dtype),)
        hs = ()
        for j in tl.static_range(layer_of(ENCODE, 0).outputs // C):
            z = multiply(ends[0], sums[j], matrices, layer_of(ENCODE, 0), j, 0, C, PRECISION)
            z = multiply(ends[1], z, matrices, layer_of(ENCODE, 0), j, F, C, PRECISION)
            if COLOURS:
                z = multiply(colours_read, z, matrices, layer_of(ENCODE, 0), j, 2 * F, C, PRECISION)
            bias = start_of(vectors, layer_of(ENCODE, 0), time, 1, j, C)
            hs = hs + (first_activation(z, bias, ENCODE, dtype, "sine", OMEGA, SHORT),)
        outs = layers_after_first(
            hs, scratch, matrices, vectors, ENCODE, CHUNK, "sine", OMEGA, SHORT, PRECISION, STAGES, SCRATCH
        )
        for k in tl.static_range(layer_of(ENCODE, len(ENCODE) - 1).outputs // C_OUT):
            plane = k * C_OUT + tl.arange(0, C_OUT)
            to = (image * OUTPUTS + plane).to(tl.int64)[None, :] * height * width + pixel[:, None]
            tl.store(out + to, outs[k], mask=inside[:, None] & (plane < OUTPUTS)[None, :])
