// The phase-linear op and its gradients; included inside a variant's namespace, after its Vec. Input pixels a period
// apart have the same weights: a tile of them times those weights is a product of matrices, whose columns are the
// output pixels that an input pixel holds, in every colour. Each sum has one order, which follows from the shape alone.
#pragma once

#include "common/cpu/line_allocator.h"
#include "common/cpu/outer_kernel.h"
#include "common/cpu/rows_product.h"
#include "common/cpu/transpose_kernel.h"

class PhaseLinear {
 public:
    explicit PhaseLinear(const PhaseLinearParameters<Scalar>& p)
        : p(p),
          image_rows(p.y.inputs / p.y.period),
          all_rows(p.batch * image_rows),
          padded_channels(whole_vectors(p.channels)) {}

 protected:
    static constexpr int64_t kPixels = 48;    // of a tile, at most
    static constexpr int64_t kStretch = 512;  // input pixels of a kind for which weights are packed once, about

    // Input pixels with the same weights: (y, x), and those any number of periods from there.
    struct Kind {
        int64_t y, x;
        int64_t rows, columns;  // of output pixels in each
        int64_t count;          // of outputs: row by row, colour by colour, columns side by side
    };

    struct Tile {
        int64_t count = 0;
        int64_t pixel[kPixels];         // of all images, row by row
        const Scalar* maps[kPixels];    // its channels
        int64_t first_output[kPixels];  // in an output's or its gradient's numbers, of the first colour
    };

    Kind kind(int64_t y, int64_t x) const {
        const int64_t rows = p.y.first[y + 1] - p.y.first[y], columns = p.x.first[x + 1] - p.x.first[x];
        return {y, x, rows, columns, rows * p.colours * columns};
    }

    // Rows of one place in the period, over all images, in stretches: calls kRun(y, first row, last row) of `self`.
    template <auto kRun, typename Self>
    void over_stretches(ParallelFor parallel_for, Self* self) {
        stretch_rows = std::max<int64_t>(1, kStretch * p.x.period / p.x.inputs);
        stretches = (all_rows + stretch_rows - 1) / stretch_rows;
        const auto run = [](int64_t begin, int64_t end, void* context) {
            Self& s = *static_cast<Self*>(context);
            for (int64_t i = begin; i < end; ++i) {
                const int64_t first = i % s.stretches * s.stretch_rows;
                (s.*kRun)(i / s.stretches, first, std::min(first + s.stretch_rows, s.all_rows));
            }
        };
        parallel_for(p.y.period * stretches, run, self);
    }

    // use(tile) for all pixels of a kind in such rows.
    template <typename Use>
    void over_tiles(const Kind& kind, int64_t first, int64_t last, const Use& use) const {
        Tile tile;
        for (int64_t row = first; row < last; ++row) {
            const int64_t image = row / image_rows, y = kind.y + row % image_rows * p.y.period;
            const Scalar* maps = p.maps + image * p.image_stride + y * p.row_stride;
            const int64_t output = (image * p.colours * p.y.outputs + p.y.first[y]) * p.x.outputs;
            for (int64_t x = kind.x; x < p.x.inputs; x += p.x.period) {
                tile.pixel[tile.count] = (image * p.y.inputs + y) * p.x.inputs + x;
                tile.maps[tile.count] = maps + x * p.pixel_stride;
                tile.first_output[tile.count] = output + p.x.first[x];
                if (++tile.count == kPixels) use(tile), tile.count = 0;
            }
        }
        if (tile.count > 0) use(tile);
    }

    // run(from, to, index) for the weights of a kind, row by row of [count, channels]; `to` counts rows, and `index` is
    // where they lie in weights.
    template <typename Run>
    void over_weights(const Kind& kind, const Run& run) const {
        for (int64_t i = 0, row = 0; i < kind.rows; ++i) {
            for (int64_t c = 0; c < p.colours; ++c) {
                for (int64_t j = 0; j < kind.columns; ++j, ++row) {
                    const int64_t phase = (p.y.first[kind.y] + i) * p.x.phases + p.x.first[kind.x] + j;
                    run(row, (phase * p.colours + c) * p.channels);
                }
            }
        }
    }

    void copy_channels(const Scalar* from, Scalar* to) const {
        int64_t c = 0;
        for (; c + Vec::width <= p.channels; c += Vec::width) Vec::load(from + c).store(to + c);
        for (; c < p.channels; ++c) to[c] = from[c];
    }

    // The weights of a kind, [count, padded_channels]; zeros behind the last channel.
    void copy_weights(const Kind& kind, LineVector<Scalar>& rows) const {
        rows.assign(kind.count * padded_channels, Scalar(0));
        over_weights(kind, [&](int64_t row, int64_t index) {
            copy_channels(p.weights + index, rows.data() + row * padded_channels);
        });
    }

    // Copies so many numbers side by side; kFixed of them, a usual number, where that is not 0.
    template <int kFixed>
    struct Columns {
        int64_t columns;

        void copy(const Scalar* from, Scalar* to) const {
            if constexpr (kFixed > 0) {
                __builtin_memcpy(to, from, kFixed * sizeof(Scalar));
            } else {
                std::copy_n(from, columns, to);
            }
        }

        void add(const Scalar* from, const Scalar* base, Scalar* to) const {
            if constexpr (kFixed > 0) {
                Scalar sum[kFixed];  // the compiler cannot know that `to` is none of the others
                for (int j = 0; j < kFixed; ++j) sum[j] = from[j] + base[j];
                copy(sum, to);
            } else {
                for (int64_t j = 0; j < columns; ++j) to[j] = from[j] + base[j];
            }
        }
    };

    template <typename Columns, typename Run>
    void over_outputs(const Tile& tile, const Kind& kind, int64_t stride, Columns columns, const Run& run) const {
        for (int64_t i = 0; i < kind.rows; ++i) {
            for (int64_t c = 0; c < p.colours; ++c) {
                const int64_t to = (c * p.y.outputs + i) * p.x.outputs, from = (i * p.colours + c) * columns.columns;
                for (int64_t t = 0; t < tile.count; ++t) run(columns, t * stride + from, tile.first_output[t] + to);
            }
        }
    }

    // run(columns, from, to): for each colour and row of a kind's outputs, and each pixel of the tile, where a stretch
    // of columns lies in rows `stride` apart, and where in the output.
    template <typename Run>
    void over_outputs(const Tile& tile, const Kind& kind, int64_t stride, const Run& run) const {
        switch (kind.columns) {
            case 1:
                return over_outputs(tile, kind, stride, Columns<1>{1}, run);
            case 2:
                return over_outputs(tile, kind, stride, Columns<2>{2}, run);
            case 3:
                return over_outputs(tile, kind, stride, Columns<3>{3}, run);
            case 4:
                return over_outputs(tile, kind, stride, Columns<4>{4}, run);
            case 5:
                return over_outputs(tile, kind, stride, Columns<5>{5}, run);
            case 6:
                return over_outputs(tile, kind, stride, Columns<6>{6}, run);
            case 8:
                return over_outputs(tile, kind, stride, Columns<8>{8}, run);
            default:
                return over_outputs(tile, kind, stride, Columns<0>{kind.columns}, run);
        }
    }

    const PhaseLinearParameters<Scalar>& p;
    int64_t image_rows, all_rows;  // of one place in the period, in an image and in all
    int64_t padded_channels;

 private:
    int64_t stretch_rows = 0, stretches = 0;
};

class PhaseLinearForward : public PhaseLinear {
 public:
    using PhaseLinear::PhaseLinear;

    void run(ParallelFor parallel_for) { over_stretches<&PhaseLinearForward::stretch>(parallel_for, this); }

 private:
    void stretch(int64_t y, int64_t first, int64_t last) const {
        LineVector<Scalar> rows_of_weights, packed, sums;
        for (int64_t x = 0; x < p.x.period; ++x) {
            const Kind k = kind(y, x);
            if (k.count == 0) continue;
            const int64_t stride = whole_vectors(k.count);
            copy_weights(k, rows_of_weights);
            packed.assign(p.channels * stride, Scalar(0));
            transpose(rows_of_weights.data(), padded_channels, k.count, p.channels, packed.data(), stride);
            sums.resize(kPixels * stride);
            over_tiles(k, first, last, [&](const Tile& tile) {
                multiply<false>(tile.maps, 1, tile.count, p.channels, packed.data(), stride, sums.data());
                const Scalar *rows = sums.data(), *base = p.base;
                Scalar* out = p.out;
                if (base) {
                    over_outputs(tile, k, stride, [=](auto columns, int64_t from, int64_t to) {
                        columns.add(rows + from, base + to, out + to);
                    });
                } else {
                    over_outputs(tile, k, stride,
                                 [=](auto columns, int64_t from, int64_t to) { columns.copy(rows + from, out + to); });
                }
            });
        }
    }
};

class PhaseLinearBackward : public PhaseLinear {
 public:
    PhaseLinearBackward(const PhaseLinearParameters<Scalar>& p, const PhaseLinearGradients<Scalar>& g)
        : PhaseLinear(p), g(g) {}

    void run(ParallelFor parallel_for) {
        if (g.maps) over_stretches<&PhaseLinearBackward::grad_maps>(parallel_for, this);
        if (!g.weights) return;
        // Enough for many threads, and no more than there are rows: their number follows from the shape alone.
        slabs = std::max<int64_t>(1, std::min(all_rows, kSlabs / p.y.period));
        numbers = p.y.phases * p.x.phases * p.colours * p.channels;
        if (slabs > 1) slab_weights.resize(slabs * numbers);
        parallel_for(p.y.period * slabs, &ranges_of<&PhaseLinearBackward::grad_weights>, this);
        if (slabs > 1) parallel_for((numbers + kBlock - 1) / kBlock, &ranges_of<&PhaseLinearBackward::add_slabs>, this);
    }

 private:
    static constexpr int64_t kBlock = 4096;

    template <auto kRange>
    static void ranges_of(int64_t begin, int64_t end, void* context) {
        (static_cast<PhaseLinearBackward*>(context)->*kRange)(begin, end);
    }

    // grad_output of a tile's outputs, in rows `stride` apart.
    void load_gradient(const Tile& tile, const Kind& k, int64_t stride, Scalar* rows) const {
        const Scalar* grad_output = g.grad_output;
        over_outputs(tile, k, stride,
                     [=](auto columns, int64_t from, int64_t to) { columns.copy(grad_output + to, rows + from); });
    }

    // A pixel's gradient gathers what its own outputs owe it, so that no two threads write to one place. Kinds without
    // outputs leave zeros.
    void grad_maps(int64_t y, int64_t first, int64_t last) const {
        LineVector<Scalar> rows, d_out, d_maps(kPixels * padded_channels);
        for (int64_t x = 0; x < p.x.period; ++x) {
            const Kind k = kind(y, x);
            copy_weights(k, rows);
            d_out.resize(kPixels * k.count);
            over_tiles(k, first, last, [&](const Tile& tile) {
                load_gradient(tile, k, k.count, d_out.data());
                const Scalar* in[kPixels];
                for (int64_t t = 0; t < tile.count; ++t) in[t] = d_out.data() + t * k.count;
                multiply<false>(in, 1, tile.count, k.count, rows.data(), padded_channels, d_maps.data());
                for (int64_t t = 0; t < tile.count; ++t) {
                    copy_channels(d_maps.data() + t * padded_channels, g.maps + tile.pixel[t] * p.channels);
                }
            });
        }
    }

    // The weights' gradient from a slab of the rows of one place in the period.
    void grad_weights(int64_t begin, int64_t end) {
        LineVector<Scalar> sums, d_out, maps(kPixels * padded_channels, Scalar(0));
        LineVector<const Scalar*> in;
        for (int64_t i = begin; i < end; ++i) {
            const int64_t y = i / slabs, slab = i % slabs;
            Scalar* to = slabs > 1 ? slab_weights.data() + slab * numbers : g.weights;
            for (int64_t x = 0; x < p.x.period; ++x) {
                const Kind k = kind(y, x);
                sums.assign(k.count * padded_channels, Scalar(0));
                d_out.resize(kPixels * k.count);
                in.clear();
                for (int64_t n = 0; n < k.count; ++n) in.push_back(d_out.data() + n);
                over_tiles(k, slab * all_rows / slabs, (slab + 1) * all_rows / slabs, [&](const Tile& tile) {
                    load_gradient(tile, k, k.count, d_out.data());
                    for (int64_t t = 0; t < tile.count; ++t) {
                        copy_channels(tile.maps[t], maps.data() + t * padded_channels);
                    }
                    multiply<true>(in.data(), k.count, k.count, tile.count, maps.data(), padded_channels, sums.data());
                });
                over_weights(k, [&](int64_t row, int64_t index) {
                    copy_channels(sums.data() + row * padded_channels, to + index);
                });
            }
        }
    }

    void add_slabs(int64_t begin, int64_t end) {
        for (int64_t k = begin * kBlock; k < std::min(end * kBlock, numbers); ++k) {
            Scalar sum = slab_weights[k];
            for (int64_t slab = 1; slab < slabs; ++slab) sum += slab_weights[slab * numbers + k];
            g.weights[k] = sum;
        }
    }

    const PhaseLinearGradients<Scalar>& g;
    int64_t slabs = 1, numbers = 0;
    LineVector<Scalar> slab_weights;  // [slabs, numbers of the weights]
};

void phase_linear(const PhaseLinearParameters<Scalar>& parameters, ParallelFor parallel_for) {
    PhaseLinearForward(parameters).run(parallel_for);
}

void phase_linear_backward(const PhaseLinearParameters<Scalar>& parameters,
                           const PhaseLinearGradients<Scalar>& gradients, ParallelFor parallel_for) {
    PhaseLinearBackward(parameters, gradients).run(parallel_for);
}
