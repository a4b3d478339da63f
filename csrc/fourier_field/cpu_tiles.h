// What forward and backward passes of the Fourier field share: kinds of input pixels, tiles of them with their
// amplitudes and phases, sines; included inside a variant's namespace, after a dense kernel.
//
// Angles add: with a = F . r, sin(a + p) = sin(a) cos(p) + cos(a) sin(p). What depends on the offset r alone is a table
// [offsets, sines and cosines], the same for all pixels of a kind; what depends on the pixel alone is a matrix
// [sines and cosines, colours], its amplitudes times cos(p) and sin(p). Their product is the field.
#pragma once

#include "common/cpu/activation_kernel.h"
#include "common/cpu/transpose_kernel.h"
#include "common/cpu/vectors.h"
#include "fourier_field/cpu_product.h"

constexpr double kInversePi = 0.31830988618379067154;

// Input pixels with the same offsets: of some frames, every period-th row and column.
struct FieldKind {
    const FieldTimes* times;
    int64_t y, x;                          // the first one's row and column
    int64_t rows, columns;                 // of such pixels in a frame
    int64_t first_y, first_x, high, wide;  // outputs of the first one: where they begin, rows and columns of them

    int64_t pixels() const { return int64_t(times->frames.size()) * rows * columns; }
    int64_t offsets() const { return int64_t(times->offset.size()) * high * wide; }
};

class FourierTiles {
 public:
    explicit FourierTiles(const FourierFieldParameters<Scalar>& p)
        : p(p), columns(padded_width(p.functions)), depth(2 * columns) {
        pack_head();
    }

 protected:
    // Of a tile, at most: with their tables they stay in the L2 cache. A tile reads all weights of the head.
#if defined(VINR_AMX)
    static constexpr int64_t kPixels = 96;  // AMX is through with them sooner than they come
#else
    static constexpr int64_t kPixels = 24;
#endif

    struct Pixel {
        int64_t frame_of_kind, index, y, x;  // index: over all frames, row by row
    };

    struct Tile {
        int64_t count = 0;
        Pixel pixel[kPixels];
    };

    struct Tables {
        LineVector<Scalar> phase, amplitude;  // [kPixels, columns], [kPixels, colours, columns]
        LineVector<Operand> encoding;         // [kPixels, channels]
        LineVector<Scalar> exact;             // the same, not rounded
        LineVector<Scalar> angles, y, x, t;   // [columns]; [2, columns] of sines and cosines

        explicit Tables(const FourierTiles& f)
            : phase(kPixels * f.columns),
              amplitude(kPixels * f.p.colours * f.columns),
              encoding(!f.p.weight ? 0 : kPixels * padded_width(f.p.channels)),
              exact(!f.p.weight ? 0 : kPixels * padded_width(f.p.channels)),
              angles(f.columns),
              y(f.depth),
              x(f.depth),
              t(f.depth) {}
    };

    FieldKind kind(const FieldTimes& times, int64_t y, int64_t x) const {
        const auto count = [](const FieldAxis& a, int64_t i) { return (a.inputs - i + a.period - 1) / a.period; };
        return {&times,
                y,
                x,
                count(p.y, y),
                count(p.x, x),
                p.y.first[y],
                p.x.first[x],
                p.y.first[y + 1] - p.y.first[y],
                p.x.first[x + 1] - p.x.first[x]};
    }

    Pixel pixel(const FieldKind& k, int64_t i) const {
        const int64_t in_frame = i % (k.rows * k.columns), frame = i / (k.rows * k.columns);
        const int64_t y = k.y + in_frame / k.columns * p.y.period, x = k.x + in_frame % k.columns * p.x.period;
        return {frame, (k.times->frames[frame] * p.y.inputs + y) * p.x.inputs + x, y, x};
    }

    Tile tile(const FieldKind& k, int64_t first, int64_t last) const {
        Tile t;
        for (; t.count < std::min(kPixels, last - first); ++t.count) t.pixel[t.count] = pixel(k, first + t.count);
        return t;
    }

    // Sines and cosines of x half turns, [2, columns].
    void sines(const Scalar* x, Scalar* to) const {
        const Vec half = Vec::set1(Scalar(0.5));
        for (int64_t n = 0; n < columns; n += Vec::width) {
            const Vec angle = Vec::load(x + n);
            sine_half_turns(angle).store(to + n);
            sine_half_turns(angle + half).store(to + columns + n);
        }
    }

    // Those of an axis' angles at an offset. Whole turns are taken off in double: angles go to 25 and more.
    void axis_sines(int64_t axis, double offset, Scalar* angles, Scalar* to) const {
        const Scalar* frequencies = p.frequencies + axis * p.functions;
        for (int64_t n = 0; n < p.functions; ++n) {
            const double x = double(frequencies[n]) * offset * kInversePi;
            angles[n] = Scalar(x - 2 * __builtin_rint(x / 2));
        }
        for (int64_t n = p.functions; n < columns; ++n) angles[n] = 0;
        sines(angles, to);
    }

    // Angles added: sines and cosines of the sum, [2, columns].
    void add_angles(const Scalar* a, const Scalar* b, Scalar* to) const {
        const Vec zero = Vec::zero();
        for (int64_t n = 0; n < columns; n += Vec::width) {
            const Vec sa = Vec::load(a + n), ca = Vec::load(a + columns + n);
            const Vec sb = Vec::load(b + n), cb = Vec::load(b + columns + n);
            fma(sa, cb, ca * sb).store(to + n);
            fma(ca, cb, (zero - sa) * sb).store(to + columns + n);
        }
    }

    void damp(Scalar* table) const {
        for (int64_t n = 0; n < p.functions; ++n) table[n] *= p.damping[n], table[columns + n] *= p.damping[n];
    }

    // use(o, row) for `count` offsets of a kind from the first one on, in the order time, row, column: the sines and
    // cosines of its angles in space and time, [2, columns], in `row(o)`.
    template <typename Row>
    void over_offsets(const FieldKind& k, int64_t first, int64_t count, bool damped, Tables& s, const Row& row) const {
        const int64_t space = k.high * k.wide;
        LineVector<Scalar> across(k.wide * depth);
        for (int64_t j = 0; j < k.wide; ++j) {
            axis_sines(1, p.x.offset[k.first_x + j], s.angles.data(), across.data() + j * depth);
        }
        int64_t line = -1;
        for (int64_t o = first; o < first + count; ++o) {
            const int64_t time = o / space, i = o % space / k.wide, j = o % k.wide;
            if (const int64_t now = o / k.wide; now != line) {
                line = now;
                axis_sines(0, p.y.offset[k.first_y + i], s.angles.data(), s.x.data());
                if (p.axes > 2) {
                    axis_sines(2, k.times->offset[time], s.angles.data(), s.t.data());
                    add_angles(s.x.data(), s.t.data(), s.y.data());
                } else {
                    std::swap(s.x, s.y);
                }
                if (damped) damp(s.y.data());
            }
            add_angles(s.y.data(), across.data() + j * depth, row(o));
        }
    }

    // A tile's amplitudes and phases, zeros behind each.
    void load(const Tile& tile, Tables& s) const {
        if (p.weight) return run_head(tile, s);
        for (int64_t i = 0; i < tile.count; ++i) {
            const Scalar* a = p.amplitude + tile.pixel[i].index * p.amplitude_stride;
            Scalar* to = s.amplitude.data() + i * p.colours * columns;
            for (int64_t c = 0; c < p.colours; ++c, to += columns) {
                for (int64_t n = 0; n < p.functions; ++n) to[n] = a[n * p.colours + c];
                std::fill(to + p.functions, to + columns, Scalar(0));
            }
            Scalar* phase = s.phase.data() + i * columns;
            std::copy_n(p.phase + tile.pixel[i].index * p.phase_stride, p.functions, phase);
            std::fill(phase + p.functions, phase + columns, Scalar(0));
        }
    }

    // Of a tile's pixel, sines and cosines of its phases.
    void phase_sines(Tables& s, int64_t i, Scalar* to) const {
        const Vec scale = Vec::set1(Scalar(kInversePi));
        const Scalar* phase = s.phase.data() + i * columns;
        for (int64_t n = 0; n < columns; n += Vec::width) (Vec::load(phase + n) * scale).store(s.angles.data() + n);
        sines(s.angles.data(), to);
    }

    const FourierFieldParameters<Scalar>& p;
    int64_t columns, depth;  // functions, padded; twice that

 private:
    // The head's outputs one colour after the other, each padded, for rows of amplitudes that vectors can read.
    void pack_head() {
        if (!p.weight) return;
        const int64_t channels = p.channels, functions = p.functions;
        LineVector<Scalar> weight(p.colours * columns * channels, Scalar(0)), bias(p.colours * columns, Scalar(0));
        for (int64_t c = 0; c < p.colours; ++c) {
            for (int64_t n = 0; n < functions; ++n) {
                const int64_t from = n * p.colours + c, to = c * columns + n;
                std::copy_n(p.weight + from * channels, channels, weight.data() + to * channels);
                bias[to] = p.bias[from];
            }
        }
        amplitude_head = pack_layer({channels, p.colours * columns, weight.data(), bias.data()}, 0, channels);
        phase_weight.assign(channels * columns, Scalar(0));
        phase_bias.assign(columns, Scalar(0));
        const Scalar* rows = p.weight + functions * p.colours * channels;
        std::copy_n(p.bias + functions * p.colours, functions, phase_bias.data());
        for (int64_t lane = 0; lane < columns; lane += kPanel) {
            const int64_t wide = std::min(kPanel, columns - lane);
            Scalar* panel = phase_weight.data() + lane * channels;
            const int64_t known = std::min(wide, std::max<int64_t>(0, functions - lane));
            transpose(rows + lane * channels, channels, known, channels, panel, wide);
        }
    }

    void run_head(const Tile& tile, Tables& s) const {
        const int64_t stride = padded_width(p.channels);
        for (int64_t i = 0; i < tile.count; ++i) {
            const Scalar* from = p.encoding + tile.pixel[i].index * p.channels;
            std::copy_n(from, p.channels, s.exact.data() + i * stride);
            copy_operands(from, p.channels, s.encoding.data() + i * stride);
        }
        product<Exact>(s.exact.data(), stride, tile.count, p.channels, phase_weight.data(), columns, s.phase.data(),
                       columns);
        for (int64_t i = 0; i < tile.count; ++i) {
            for (int64_t n = 0; n < columns; n += Vec::width) {
                Scalar* to = s.phase.data() + i * columns + n;
                (Vec::load(to) + Vec::load(phase_bias.data() + n)).store(to);
            }
        }
        Scalar* out = s.amplitude.data();
        const int64_t out_stride = p.colours * columns;
        dense_into(amplitude_head, tile.count, s.encoding.data(), stride, amplitude_head.bias.data(), 0,
                   [=](Vec sums, int64_t row, int64_t column) { sums.store(out + row * out_stride + column); });
    }

    PackedLayer amplitude_head;
    LineVector<Scalar> phase_weight, phase_bias;  // panels of [channels, lanes]
};
