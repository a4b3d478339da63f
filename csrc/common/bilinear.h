// Sampling with zeros outside the map: the nearest pixel, or bilinear as deformable convolution defines it, where
// corners inside the map count and corners outside read zero. Shared by host and device code: it opens no namespace and
// includes nothing, so that each instruction set of the CPU compiles a copy of its own, inside its namespace. Needs
// <cstdint>, common/portable.h.
#pragma once

// The four corners of a sampling position: offsets into one [H, W] plane and weights. A corner outside the plane has
// offset 0 and weight 0, so that it may be read but does not count.
template <typename scalar_t>
struct Corners {
    int64_t offset[4];   // y0 x0, y0 x1, y1 x0, y1 x1
    scalar_t weight[4];  // of the value
    scalar_t d_dy[4];    // derivative of the weight with respect to y
    scalar_t d_dx[4];
    bool inside[4];
};

// Fills `corners` for position (y, x), in pixels, pixel centres at whole numbers, of an H x W plane whose rows lie
// `row_stride` and whose columns lie `column_stride` elements apart. NaN and positions a pixel or more outside give
// four zero weights; the comparison comes before any conversion to an integer, which would be undefined for them.
template <typename scalar_t>
VINR_HOST_DEVICE void bilinear_corners(scalar_t y, scalar_t x, int64_t H, int64_t W, int64_t row_stride,
                                       int64_t column_stride, Corners<scalar_t>& corners) {
    const bool inside = y > scalar_t(-1) && y < scalar_t(H) && x > scalar_t(-1) && x < scalar_t(W);
    if (!inside) {
        corners = Corners<scalar_t>{};
        return;
    }
    // Truncation of a number above -1, shifted by one, is its floor.
    const int64_t y0 = int64_t(y + scalar_t(1)) - 1;
    const int64_t x0 = int64_t(x + scalar_t(1)) - 1;
    const scalar_t fy = y - scalar_t(y0);
    const scalar_t fx = x - scalar_t(x0);
    for (int corner = 0; corner < 4; ++corner) {
        const int64_t dy = corner >> 1, dx = corner & 1;
        const bool valid = y0 + dy >= 0 && y0 + dy < H && x0 + dx >= 0 && x0 + dx < W;
        const scalar_t wy = dy ? fy : scalar_t(1) - fy;
        const scalar_t wx = dx ? fx : scalar_t(1) - fx;
        corners.inside[corner] = valid;
        corners.offset[corner] = valid ? (y0 + dy) * row_stride + (x0 + dx) * column_stride : 0;
        corners.weight[corner] = valid ? wy * wx : scalar_t(0);
        corners.d_dy[corner] = valid ? (dy ? wx : -wx) : scalar_t(0);
        corners.d_dx[corner] = valid ? (dx ? wy : -wy) : scalar_t(0);
    }
}

// Offset of the pixel nearest to position (y, x), halves rounded up; -1 outside the plane and for NaN.
template <typename scalar_t>
VINR_HOST_DEVICE int64_t nearest_pixel(scalar_t y, scalar_t x, int64_t H, int64_t W, int64_t row_stride,
                                       int64_t column_stride) {
    const scalar_t v = y + scalar_t(0.5), u = x + scalar_t(0.5);
    const bool inside = v >= scalar_t(0) && v < scalar_t(H) && u >= scalar_t(0) && u < scalar_t(W);
    return inside ? int64_t(v) * row_stride + int64_t(u) * column_stride : -1;
}
