// The Fourier field where hardly two input pixels have the same offsets: each pixel's matrix is turned by the angles of
// a row and a time, after which the columns' angles are left; included inside a variant's namespace, after a dense
// kernel. No sine is computed for an output pixel.
#pragma once

#include "fourier_field/cpu_tiles.h"

class FourierFieldAxes : FourierTiles {
 public:
    explicit FourierFieldAxes(const FourierFieldParameters<Scalar>& p) : FourierTiles(p) {
        const int64_t wide = std::max<int64_t>(1, kColumns * p.x.inputs / std::max<int64_t>(1, p.x.outputs));
        for (const FieldTimes& times : p.times) {
            for (size_t f = 0; f < times.frames.size(); ++f) {
                for (int64_t y = 0; y < p.y.inputs; y += kRows) {
                    for (int64_t x = 0; x < p.x.inputs; x += std::min(wide, kPixels)) {
                        items.push_back({&times, int64_t(f), y, std::min(y + kRows, p.y.inputs), x,
                                         std::min(x + std::min(wide, kPixels), p.x.inputs)});
                    }
                }
            }
        }
    }

    // Whether a table would serve too few input pixels.
    static bool pays(const FourierFieldParameters<Scalar>& p) {
        const int64_t kinds = std::min(p.y.period, p.y.inputs) * std::min(p.x.period, p.x.inputs);
        int64_t all = 0, pixels = 0;
        for (const FieldTimes& times : p.times) {
            all += kinds, pixels += int64_t(times.frames.size()) * p.y.inputs * p.x.inputs;
        }
        return pixels < kLeast * all;
    }

    void run(ParallelFor parallel_for) { parallel_for(int64_t(items.size()), &items_of, this); }

 private:
    static constexpr int64_t kLeast = 8;     // input pixels that a table must serve
    static constexpr int64_t kRows = 16;     // of input pixels, for which the columns' sines are made once
    static constexpr int64_t kColumns = 96;  // of output pixels, about

    struct Item {
        const FieldTimes* times;
        int64_t frame, y, y_end, x, x_end;
    };

    struct Buffers {
        Tables tables;
        LineVector<Scalar> phase, across, down, matrix, turned;

        explicit Buffers(const FourierFieldAxes& f)
            : tables(f), phase(f.depth), matrix(f.p.colours * f.depth), turned(f.p.colours * f.depth) {}
    };

    static void items_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const FourierFieldAxes*>(context);
        Buffers b(self);
        [[maybe_unused]] const DenseScope scope;
        for (int64_t i = begin; i < end; ++i) self.item(self.items[i], b);
    }

    void item(const Item& item, Buffers& b) const {
        const int64_t first = p.x.first[item.x], last = p.x.first[item.x_end];
        if (first == last) return;
        b.across.resize((last - first) * depth);
        for (int64_t x = first; x < last; ++x) {
            axis_sines(1, p.x.offset[x], b.tables.angles.data(), b.across.data() + (x - first) * depth);
        }
        const int64_t times = int64_t(item.times->offset.size());
        for (int64_t y = item.y; y < item.y_end; ++y) {
            const int64_t high = p.y.first[y + 1] - p.y.first[y];
            if (high == 0) continue;
            Tile t;
            for (int64_t x = item.x; x < item.x_end; ++x) {
                t.pixel[t.count++] = {item.frame, (item.times->frames[item.frame] * p.y.inputs + y) * p.x.inputs + x, y,
                                      x};
            }
            load(t, b.tables);
            b.down.resize(times * high * depth);
            for (int64_t i = 0; i < times * high; ++i) down_sines(item, y, i, b);
            for (int64_t j = 0; j < t.count; ++j) pixel(item, t.pixel[j], j, first, b);
        }
    }

    // Sines and cosines of the angles of a row and a time, damped.
    void down_sines(const Item& item, int64_t y, int64_t i, Buffers& b) const {
        Tables& s = b.tables;
        const int64_t high = p.y.first[y + 1] - p.y.first[y];
        Scalar* to = b.down.data() + i * depth;
        axis_sines(0, p.y.offset[p.y.first[y] + i % high], s.angles.data(), p.axes > 2 ? s.y.data() : to);
        if (p.axes > 2) {
            axis_sines(2, item.times->offset[i / high], s.angles.data(), s.t.data());
            add_angles(s.y.data(), s.t.data(), to);
        }
        damp(to);
    }

    void pixel(const Item& item, const Pixel& at, int64_t j, int64_t first, Buffers& b) const {
        const int64_t left = p.x.first[at.x], wide = p.x.first[at.x + 1] - left, top = p.y.first[at.y];
        const int64_t high = p.y.first[at.y + 1] - top, times = int64_t(item.times->offset.size());
        if (wide == 0) return;
        phase_sines(b.tables, j, b.phase.data());
        const Scalar *sine = b.phase.data(), *cosine = sine + columns;
        for (int64_t c = 0; c < p.colours; ++c) {
            const Scalar* a = b.tables.amplitude.data() + (j * p.colours + c) * columns;
            Scalar* to = b.matrix.data() + c * depth;
            for (int64_t n = 0; n < columns; n += Vec::width) {
                const Vec amplitude = Vec::load(a + n);
                (amplitude * Vec::load(cosine + n)).store(to + n);
                (amplitude * Vec::load(sine + n)).store(to + columns + n);
            }
        }
        const Scalar* base = p.base ? p.base + at.index * p.colours : nullptr;
        for (int64_t i = 0; i < times * high; ++i) {
            turn(b.down.data() + i * depth, b);
            const int64_t image = item.times->output[item.frame * times + i / high];
            Scalar* out = p.out + ((image * p.y.outputs + top + i % high) * p.x.outputs + left) * p.colours;
            for (int64_t c = 0; c < p.colours; ++c) {
                const Scalar* rows = b.turned.data() + c * depth;
                for (int64_t x = 0; x < wide; x += 4) {
                    Scalar sums[4];
                    dots(rows, b.across.data() + (left - first + x) * depth, std::min<int64_t>(4, wide - x), sums);
                    for (int64_t k = 0; k < std::min<int64_t>(4, wide - x); ++k) {
                        out[(x + k) * p.colours + c] = sums[k] + (base ? base[c] : Scalar(0));
                    }
                }
            }
        }
    }

    // What the columns' sines and cosines multiply, at an angle further.
    void turn(const Scalar* angle, Buffers& b) const {
        const Vec zero = Vec::zero();
        for (int64_t c = 0; c < p.colours; ++c) {
            const Scalar* from = b.matrix.data() + c * depth;
            Scalar* to = b.turned.data() + c * depth;
            for (int64_t n = 0; n < columns; n += Vec::width) {
                const Vec sine = Vec::load(angle + n), cosine = Vec::load(angle + columns + n);
                const Vec x = Vec::load(from + n), y = Vec::load(from + columns + n);
                fma(x, cosine, (zero - y) * sine).store(to + n);
                fma(y, cosine, x * sine).store(to + columns + n);
            }
        }
    }

    // Of a row with `count` rows of `across`, up to four.
    void dots(const Scalar* row, const Scalar* across, int64_t count, Scalar* sums) const {
        const Scalar* other[4];
        for (int64_t i = 0; i < 4; ++i) other[i] = across + std::min(i, count - 1) * depth;
        Vec partial[8];
        for (Vec& v : partial) v = Vec::zero();
        static_assert(kWidthMultiple % Vec::width == 0);
        for (int64_t n = 0; n < columns; n += Vec::width) {
            const Vec a = Vec::load(row + n), b = Vec::load(row + columns + n);
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) {
                partial[i] = fma(a, Vec::load(other[i] + n), partial[i]);
                partial[4 + i] = fma(b, Vec::load(other[i] + columns + n), partial[4 + i]);
            }
        }
        for (int64_t i = 0; i < 4; ++i) {
            Scalar lanes[Vec::width];
            (partial[i] + partial[4 + i]).store(lanes);
            for (int64_t half = Vec::width / 2; half > 0; half /= 2) {
                for (int64_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
            }
            sums[i] = lanes[0];
        }
    }

    std::vector<Item> items;
};
