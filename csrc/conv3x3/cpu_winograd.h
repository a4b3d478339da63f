// Winograd's F(4x4, 3x3): 4 x 4 outputs from 6 x 6 inputs by 36 products a pair of channels, where the definition has
// 144. Inputs and weights are taken as polynomials, which are multiplied at six points each way: 0, the four below, and
// infinity. Included inside a variant's namespace, after its Vec.
//
// A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, take +-1 and +-2. Between +-5/8
// and +-3/2 powers grow less, and so does rounding: to less than half, in float32 and with operands in bfloat16.
#pragma once

#include "common/cpu/vectors.h"

namespace winograd {

constexpr int kOutputs = 4, kInputs = 6, kTaps = 3;  // of a tile, in each direction
constexpr int kPoints = kInputs * kInputs;

constexpr Scalar kA = Scalar(0.625), kB = Scalar(1.5);  // the points +-kA and +-kB
constexpr Scalar kA2 = kA * kA, kB2 = kB * kB;
// One over the product of a point's distances from the others.
constexpr Scalar kOfZero = 1 / (kA2 * kB2), kOfA = 1 / (2 * kA2 * (kA2 - kB2)), kOfB = 1 / (2 * kB2 * (kB2 - kA2));

#define VINR_INLINE inline __attribute__((always_inline))

// Each in one direction; in two, columns first, then rows.
struct OfInputs {
    static constexpr int from = kInputs, to = kInputs;
    static VINR_INLINE void apply(const Vec* d, Vec* out) {
        const Vec product = Vec::set1(kA2 * kB2), sum = Vec::set1(-(kA2 + kB2));
        const Vec minus_a2 = Vec::set1(-kA2), minus_b2 = Vec::set1(-kB2);
        out[0] = fma(product, d[0], fma(sum, d[2], d[4]));
        Vec even = fma(minus_b2, d[2], d[4]), odd = fma(minus_b2, d[1], d[3]);
        out[1] = fma(Vec::set1(kA), odd, even), out[2] = fma(Vec::set1(-kA), odd, even);
        even = fma(minus_a2, d[2], d[4]), odd = fma(minus_a2, d[1], d[3]);
        out[3] = fma(Vec::set1(kB), odd, even), out[4] = fma(Vec::set1(-kB), odd, even);
        out[5] = fma(product, d[1], fma(sum, d[3], d[5]));
    }
};

struct OfWeights {
    static constexpr int from = kTaps, to = kInputs;
    static VINR_INLINE void apply(const Vec* w, Vec* out) {
        out[0] = Vec::set1(kOfZero) * w[0];
        Vec even = fma(Vec::set1(kOfA * kA2), w[2], Vec::set1(kOfA) * w[0]), odd = Vec::set1(kOfA * kA) * w[1];
        out[1] = even + odd, out[2] = even - odd;
        even = fma(Vec::set1(kOfB * kB2), w[2], Vec::set1(kOfB) * w[0]), odd = Vec::set1(kOfB * kB) * w[1];
        out[3] = even + odd, out[4] = even - odd;
        out[5] = w[2];
    }
};

struct OfOutputs {
    static constexpr int from = kInputs, to = kOutputs;
    static VINR_INLINE void apply(const Vec* m, Vec* out) {
        const Vec a_even = m[1] + m[2], a_odd = m[1] - m[2], b_even = m[3] + m[4], b_odd = m[3] - m[4];
        out[0] = m[0] + a_even + b_even;
        out[1] = fma(Vec::set1(kA), a_odd, Vec::set1(kB) * b_odd);
        out[2] = fma(Vec::set1(kA2), a_even, Vec::set1(kB2) * b_even);
        out[3] = fma(Vec::set1(kA2 * kA), a_odd, fma(Vec::set1(kB2 * kB), b_odd, m[5]));
    }
};

// The transpose of OfOutputs: how the products' gradients follow from those of outputs.
struct OfOutputGradients {
    static constexpr int from = kOutputs, to = kInputs;
    static VINR_INLINE void apply(const Vec* y, Vec* out) {
        out[0] = y[0], out[5] = y[3];
        Vec even = fma(Vec::set1(kA2), y[2], y[0]), odd = fma(Vec::set1(kA2), y[3], y[1]);
        out[1] = fma(Vec::set1(kA), odd, even), out[2] = fma(Vec::set1(-kA), odd, even);
        even = fma(Vec::set1(kB2), y[2], y[0]), odd = fma(Vec::set1(kB2), y[3], y[1]);
        out[3] = fma(Vec::set1(kB), odd, even), out[4] = fma(Vec::set1(-kB), odd, even);
    }
};

// The transpose of OfWeights.
struct OfWeightGradients {
    static constexpr int from = kInputs, to = kTaps;
    static VINR_INLINE void apply(const Vec* u, Vec* out) {
        const Vec a_even = Vec::set1(kOfA) * (u[1] + u[2]), a_odd = Vec::set1(kOfA) * (u[1] - u[2]);
        const Vec b_even = Vec::set1(kOfB) * (u[3] + u[4]), b_odd = Vec::set1(kOfB) * (u[3] - u[4]);
        out[0] = fma(Vec::set1(kOfZero), u[0], a_even + b_even);
        out[1] = fma(Vec::set1(kA), a_odd, Vec::set1(kB) * b_odd);
        out[2] = fma(Vec::set1(kA2), a_even, fma(Vec::set1(kB2), b_even, u[5]));
    }
};

// A square of Of::from numbers each way, load(y, x), to one of Of::to: store(value, y, x).
template <typename Of, typename Load, typename Store>
VINR_INLINE void transform(const Load& load, const Store& store) {
    Vec between[Of::to][Of::from];
#pragma GCC unroll 6
    for (int x = 0; x < Of::from; ++x) {
        Vec column[Of::from], turned[Of::to];
#pragma GCC unroll 6
        for (int y = 0; y < Of::from; ++y) column[y] = load(y, x);
        Of::apply(column, turned);
#pragma GCC unroll 6
        for (int y = 0; y < Of::to; ++y) between[y][x] = turned[y];
    }
#pragma GCC unroll 6
    for (int y = 0; y < Of::to; ++y) {
        Vec row[Of::to];
        Of::apply(between[y], row);
#pragma GCC unroll 6
        for (int x = 0; x < Of::to; ++x) store(row[x], y, x);
    }
}

// Tiles of 4 x 4 pixels over rows [first_row, last_row) of pictures.
struct Tiles {
    int64_t batch, first_row, last_row, width;

    struct Tile {
        int64_t image, y, x;  // of its first pixel
    };

    int64_t rows() const { return (last_row - first_row + kOutputs - 1) / kOutputs; }
    int64_t columns() const { return (width + kOutputs - 1) / kOutputs; }
    int64_t count() const { return batch * rows() * columns(); }

    Tile operator[](int64_t index) const {
        const int64_t row = index / columns();
        return {row / rows(), first_row + row % rows() * kOutputs, index % columns() * kOutputs};
    }
};

template <typename Of, bool kInside, typename Store>
VINR_INLINE void read_square(const ChannelsLast<const Scalar>& map, int64_t height, int64_t width, int64_t image,
                             int64_t y, int64_t x, const Store& store) {
    const Scalar* const corner = map.at(image, y, x);  // not read where it lies outside
    for (int64_t c = 0; c < map.channels; c += Vec::width) {
        const auto load = [&](int i, int j, auto&& read) {
            const bool inside = kInside || (y + i >= 0 && y + i < height && x + j >= 0 && x + j < width);
            return inside ? read(corner + i * map.row + j * map.pixel + c) : Vec::zero();
        };
        const auto store_here = [&](Vec value, int i, int j) { store(value, c, i, j); };
        if (c + Vec::width <= map.channels) {
            transform<Of>([&](int i, int j) { return load(i, j, [](const Scalar* p) { return Vec::load(p); }); },
                          store_here);
        } else {
            const int64_t left = map.channels - c;
            transform<Of>([&](int i, int j) { return load(i, j, [=](const Scalar* p) { return load_part(p, left); }); },
                          store_here);
        }
    }
}

// Transforms the square of a map from pixel (y, x) on, zeros outside of it: store(vector, channel, i, j).
template <typename Of, typename Store>
void read_square(const ChannelsLast<const Scalar>& map, int64_t height, int64_t width, int64_t image, int64_t y,
                 int64_t x, const Store& store) {
    if (y >= 0 && x >= 0 && y + Of::from <= height && x + Of::from <= width) {
        read_square<Of, true>(map, height, width, image, y, x, store);
    } else {
        read_square<Of, false>(map, height, width, image, y, x, store);
    }
}

}  // namespace winograd
