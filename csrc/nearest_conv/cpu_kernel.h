// The convolution of an enlarged picture at the size of its input; included inside a variant's namespace, after a dense
// kernel. Each number follows from its own input pixels alone, in one order.
#pragma once

#include "common/cpu/activation_kernel.h"
#include "common/cpu/kept.h"
#include "common/cpu/outer_kernel.h"

class NearestConv {
 public:
    explicit NearestConv(const NearestConvParameters<Scalar>& p)
        : p(p),
          pixels(p.batch * p.height * p.width),
          tiles((pixels + kTile - 1) / kTile),
          in_width(padded_width(p.inputs)),
          out_width(padded_width(p.outputs)) {}

 protected:
    static constexpr int kProducts = 9;

    // What a row or column of differences is made of: the pixel itself, or the one beside it less the pixel.
    enum Difference { kItself, kBefore, kBehind };

    // Of a difference, that of which it is the adjoint; zeros outside.
    static constexpr int kAdjoint[3] = {kItself, kBehind, kBefore};

    // Rows of a tile in a buffer. Those a multiple of 256 bytes apart would crowd a few sets of the cache.
    static int64_t apart(int64_t width) { return width % 64 == 0 ? width + kWidthMultiple : width; }

    struct Pixel {
        int64_t image, y, x;
    };

    Pixel pixel(int64_t index) const {
        return {index / (p.height * p.width), index / p.width % p.height, index % p.width};
    }

    // Differences along rows and columns of `count` pixels from `first` on, of maps whose pixels' `channels` numbers
    // lie `stride` apart.
    void differences(const Scalar* map, int64_t stride, int64_t channels, int along_rows, int along_columns,
                     int64_t first, int64_t count, Scalar* to, int64_t to_stride) const {
        static constexpr int64_t step[3] = {0, -1, 1};
        for (int64_t i = 0; i < count; ++i, to += to_stride) {
            const auto [image, y, x] = pixel(first + i);
            const int64_t dy = step[along_rows], dx = step[along_columns];
            const bool row = dy && y + dy >= 0 && y + dy < p.height, column = dx && x + dx >= 0 && x + dx < p.width;
            const Scalar* here = map + (first + i) * stride;
            const Scalar* above = row ? here + dy * p.width * stride : nullptr;
            const Scalar* beside = column ? here + dx * stride : nullptr;
            const Scalar* corner = row && column ? above + dx * stride : nullptr;
            if (!dy && !dx) {
                std::copy_n(here, channels, to);
            } else if (!dy) {
                subtract(beside, here, channels, to);
            } else if (!dx) {
                subtract(above, here, channels, to);
            } else {
                int64_t c = 0;
                const auto read = [&](const Scalar* from) { return from ? Vec::load(from + c) : Vec::zero(); };
                for (; c + Vec::width <= channels; c += Vec::width) {
                    ((read(corner) - read(above)) - (read(beside) - Vec::load(here + c))).store(to + c);
                }
                const auto number = [&](const Scalar* from) { return from ? from[c] : Scalar(0); };
                for (; c < channels; ++c) to[c] = (number(corner) - number(above)) - (number(beside) - here[c]);
            }
        }
    }

    const NearestConvParameters<Scalar>& p;
    int64_t pixels, tiles;
    int64_t in_width, out_width;  // padded

 private:
    static void subtract(const Scalar* a, const Scalar* b, int64_t count, Scalar* to) {
        int64_t c = 0;
        for (; c + Vec::width <= count; c += Vec::width) {
            ((a ? Vec::load(a + c) : Vec::zero()) - Vec::load(b + c)).store(to + c);
        }
        for (; c < count; ++c) to[c] = (a ? a[c] : Scalar(0)) - b[c];
    }
};

class NearestConvForward : NearestConv {
 public:
    explicit NearestConvForward(const NearestConvParameters<Scalar>& p) : NearestConv(p), zeros(p.outputs, Scalar(0)) {
        for (int k = 0; k < kProducts; ++k) {
            const Scalar* bias = k == 0 && p.bias ? p.bias : zeros.data();
            layers.push_back(pack_layer({p.inputs, p.outputs, p.weight + k * p.outputs * p.inputs, bias}, 0, p.inputs));
        }
    }

    void run(ParallelFor parallel_for) { parallel_for(tiles, &tiles_of, this); }

 private:
    static void tiles_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const NearestConvForward*>(context);
        static thread_local Kept<Scalar> kept_x, kept_products;
        Scalar* const x = kept_x.room(kTile * apart(self.in_width));
        Scalar* const products = kept_products.room(kProducts * kTile * apart(self.out_width));
        for (int64_t tile = begin; tile < end; ++tile) {
            const int64_t first = tile * kTile, count = std::min(kTile, self.pixels - first);
            self.multiply(first, count, x, products);
            for (int64_t i = 0; i < count; ++i) self.write(self.pixel(first + i), products + i * apart(self.out_width));
        }
    }

    void multiply(int64_t first, int64_t count, Scalar* x, Scalar* products) const {
        const int64_t in_stride = apart(in_width), out_stride = apart(out_width);
        for (int k = 0; k < kProducts; ++k, products += kTile * out_stride) {
            differences(p.x, p.inputs, p.inputs, k / 3, k % 3, first, count, x, in_stride);
            dense<Activation::kNone>(layers[k], count, x, in_stride, layers[k].bias.data(), 0, products, out_stride,
                                     Scalar(0));
        }
    }

    // A pixel's results at all of their places.
    void write(const Pixel& at, const Scalar* products) const {
        const NearestPlace *rows = p.rows.data() + p.first_row[at.y],
                           *columns = p.columns.data() + p.first_column[at.x];
        const NearestPlace* const rows_end = p.rows.data() + p.first_row[at.y + 1];
        const NearestPlace* const columns_end = p.columns.data() + p.first_column[at.x + 1];
        Scalar* const out = p.out + at.image * p.image_stride;
        const int64_t apart_products = kTile * apart(out_width);
        for (int64_t c = 0; c < p.outputs; c += Vec::width) {
            const int64_t left = p.outputs - c;
            Vec product[3][3];
#pragma GCC unroll 9
            for (int k = 0; k < kProducts; ++k) product[k / 3][k % 3] = Vec::load(products + k * apart_products + c);
            Vec along_row[3] = {Vec::zero(), Vec::zero(), Vec::zero()};
            int row_type = -1;
            for (const NearestPlace* row = rows; row < rows_end; ++row) {
                if (row->type != row_type) {
                    row_type = row->type;
#pragma GCC unroll 3
                    for (int k = 0; k < 3; ++k) {
                        along_row[k] = product[kItself][k];
                        if (row_type & kFirst) along_row[k] = along_row[k] + product[kBefore][k];
                        if (row_type & kLast) along_row[k] = along_row[k] + product[kBehind][k];
                    }
                }
                Vec sum = Vec::zero();
                int column_type = -1;
                for (const NearestPlace* column = columns; column < columns_end; ++column) {
                    if (column->type != column_type) {
                        column_type = column->type;
                        sum = along_row[kItself];
                        if (column_type & kFirst) sum = sum + along_row[kBefore];
                        if (column_type & kLast) sum = sum + along_row[kBehind];
                    }
                    Scalar* const to = out + row->offset + column->offset + c;
                    if (left >= Vec::width) {
                        sum.store(to);
                    } else {
                        store_part(sum, to, left);
                    }
                }
            }
        }
    }

    std::vector<Scalar> zeros;
    std::vector<PackedLayer> layers;
};

#include "nearest_conv/cpu_backward.h"

void nearest_conv(const NearestConvParameters<Scalar>& parameters, ParallelFor parallel_for) {
    NearestConvForward(parameters).run(parallel_for);
}

void nearest_conv_backward(const NearestConvParameters<Scalar>& parameters,
                           const NearestConvGradients<Scalar>& gradients, ParallelFor parallel_for) {
    NearestConvBackward(parameters, gradients).run(parallel_for);
}
