// Reading channels-last maps at positions; included inside a variant's namespace, after its Vec.
#pragma once

#include "common/bilinear.h"

// The four corners of a position in a channels-last map: row pointers and weights. Corners outside read `zeros`, as
// many as channels are read: a weight of zero would let through NaN that the map holds elsewhere.
struct Reader {
    const Scalar* row[4];
    Scalar weight[4];

    Reader(const Scalar* map, const Scalar* zeros, int64_t channels, int64_t height, int64_t width, Scalar y,
           Scalar x) {
        // Most positions have all four corners inside: without the choices of bilinear_corners, but its numbers.
        if (y >= Scalar(0) && y < Scalar(height - 1) && x >= Scalar(0) && x < Scalar(width - 1)) {
            const int64_t y0 = int64_t(y + Scalar(1)) - 1, x0 = int64_t(x + Scalar(1)) - 1;
            if (y0 < height - 1 && x0 < width - 1) {
                const Scalar fy = y - Scalar(y0), fx = x - Scalar(x0), gy = Scalar(1) - fy, gx = Scalar(1) - fx;
                row[0] = map + (y0 * width + x0) * channels, row[1] = row[0] + channels;
                row[2] = row[0] + width * channels, row[3] = row[2] + channels;
                weight[0] = gy * gx, weight[1] = gy * fx, weight[2] = fy * gx, weight[3] = fy * fx;
                return;
            }
        }
        Corners<Scalar> corners;
        bilinear_corners(y, x, height, width, width * channels, channels, corners);
        for (int k = 0; k < 4; ++k) {
            row[k] = corners.inside[k] ? map + corners.offset[k] : zeros;
            weight[k] = corners.weight[k];
        }
    }

    // A vector of channels from this one on.
    template <typename V = Vec>
    V at(int64_t channel) const {
        V sum = V::load(row[0] + channel) * V::set1(weight[0]);
        for (int k = 1; k < 4; ++k) sum = fma(V::load(row[k] + channel), V::set1(weight[k]), sum);
        return sum;
    }
};

// A reader that also gives the sum over channels of d * (slope of the sample in y and x).
struct SlopeReader {
    const Scalar* map;
    Corners<Scalar> corners;

    SlopeReader(const Scalar* map, int64_t channels, int64_t height, int64_t width, Scalar y, Scalar x) : map(map) {
        bilinear_corners(y, x, height, width, width * channels, channels, corners);
    }

    // Corners outside have offset 0, where there may be NaN: their sums are left out.
    void add_slopes(const Scalar* d, int64_t channels, Scalar& dy, Scalar& dx) const {
        HalfVec sum[4];
        for (auto& s : sum) s = HalfVec::zero();
        const int64_t whole = channels / HalfVec::width * HalfVec::width;
        for (int64_t c = 0; c < whole; c += HalfVec::width) {
            const HalfVec v = HalfVec::load(d + c);
            for (int k = 0; k < 4; ++k) sum[k] = fma(v, HalfVec::load(map + corners.offset[k] + c), sum[k]);
        }
        Scalar dot[4];
        sum_lanes(sum, dot);
        for (int64_t c = whole; c < channels; ++c) {
            for (int k = 0; k < 4; ++k) dot[k] += d[c] * map[corners.offset[k] + c];
        }
        for (int k = 0; k < 4; ++k) {
            dy += corners.inside[k] ? dot[k] * corners.d_dy[k] : Scalar(0);
            dx += corners.inside[k] ? dot[k] * corners.d_dx[k] : Scalar(0);
        }
    }
};

// Adds `channels` numbers of d, a whole number of vectors, to the four corners of a position, each by its weight.
inline void add_at_corners(const Scalar* d, Scalar* map, int64_t stride, int64_t height, int64_t width,
                           int64_t channels, Scalar y, Scalar x) {
    Corners<Scalar> corners;
    bilinear_corners(y, x, height, width, width * stride, stride, corners);
    for (int k = 0; k < 4; ++k) {
        if (!corners.inside[k]) continue;
        Scalar* to = map + corners.offset[k];
        const Vec weight = Vec::set1(corners.weight[k]);
        for (int64_t c = 0; c < channels; c += Vec::width)
            fma(Vec::load(d + c), weight, Vec::load(to + c)).store(to + c);
    }
}
