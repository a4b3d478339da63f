// The Fourier field as one product of matrices for all input pixels of a kind, or, where kinds are too many, axis by
// axis; included inside a variant's namespace, after a dense kernel. Each output's sum has one order, which follows
// from the shapes alone.
#pragma once

#include "fourier_field/cpu_axes.h"
#include "fourier_field/cpu_tiles.h"

class FourierFieldForward : FourierTiles {
 public:
    explicit FourierFieldForward(const FourierFieldParameters<Scalar>& p) : FourierTiles(p) {
        for (const FieldTimes& times : p.times) {
            for (int64_t y = 0; y < std::min(p.y.period, p.y.inputs); ++y) {
                for (int64_t x = 0; x < std::min(p.x.period, p.x.inputs); ++x) {
                    const FieldKind k = kind(times, y, x);
                    if (k.offsets() == 0) continue;
                    for (int64_t i = 0; i < k.pixels(); i += kStretch) {
                        items.push_back({k, i, std::min(i + kStretch, k.pixels())});
                    }
                }
            }
        }
    }

    void run(ParallelFor parallel_for) { parallel_for(int64_t(items.size()), &items_of, this); }

 private:
    static constexpr int64_t kStretch = 192;  // input pixels of a kind for which a table is made once, where it is kept
    static constexpr int64_t kTogether = 24;  // of a tile, those that are multiplied with the table at once
    static constexpr int64_t kLanes = 128;  // offsets of a table; of more, parts are made for one tile after the other
    static constexpr int64_t kGroup = kPanel < 16 ? kPanel : 16;  // offsets that are turned into lanes together

    struct Item {
        FieldKind kind;
        int64_t first, last;
    };

    struct Buffers {
        Tables tables;
        LineVector<Scalar> phase, rows, turned, sums;  // [2, columns], [kGroup, depth], [depth, kGroup], a tile's
        LineVector<Operand> table, matrix;             // panels of [depth, lanes]; [kTogether, colours, apart]

        explicit Buffers(const FourierFieldForward& f)
            : tables(f),
              phase(f.depth),
              rows(kGroup * f.depth),
              turned(kPair > 1 ? f.depth * kGroup : 0),
              sums(kTogether * f.p.colours * kLanes),
              table(f.depth * kLanes),
              matrix(kTogether * f.p.colours * f.apart()) {}
    };

    // Numbers of a matrix's row: a multiple of 4096 bytes would crowd a few sets of the cache.
    int64_t apart() const { return depth + 32; }

    static void items_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const FourierFieldForward*>(context);
        Buffers b(self);
        [[maybe_unused]] const DenseScope scope;
        for (int64_t i = begin; i < end; ++i) self.item(self.items[i], b);
    }

    void item(const Item& item, Buffers& b) const {
        const FieldKind& k = item.kind;
        const int64_t offsets = k.offsets();
        if (offsets <= kLanes) make_table(k, 0, offsets, b);
        for (int64_t i = item.first; i < item.last; i += kPixels) {
            const Tile t = tile(k, i, item.last);
            load(t, b.tables);
            for (int64_t j = 0; j < t.count; j += kTogether) multiply(k, t, j, std::min(j + kTogether, t.count), b);
        }
    }

    // All outputs of pixels [begin, end) of a tile.
    void multiply(const FieldKind& k, const Tile& t, int64_t begin, int64_t end, Buffers& b) const {
        const int64_t offsets = k.offsets();
        for (int64_t j = begin; j < end; ++j) make_matrix(j, j - begin, b);
        for (int64_t o = 0; o < offsets; o += kLanes) {
            const int64_t count = std::min(kLanes, offsets - o), lanes = whole_vectors(count);
            if (offsets > kLanes) make_table(k, o, count, b);
            product<Rounded>(b.matrix.data(), apart(), (end - begin) * p.colours, depth / kPair, b.table.data(), lanes,
                             b.sums.data(), lanes);
            store(k, t, begin, end, o, count, lanes, b.sums.data());
        }
    }

    // A pixel's amplitudes times cosines and sines of its phases, what sines and cosines of offsets multiply: the
    // matrix's rows of pixel `place`.
    void make_matrix(int64_t i, int64_t place, Buffers& b) const {
        phase_sines(b.tables, i, b.phase.data());
        const Scalar *sine = b.phase.data(), *cosine = sine + columns;
        for (int64_t c = 0; c < p.colours; ++c) {
            const Scalar* a = b.tables.amplitude.data() + (i * p.colours + c) * columns;
            Operand* to = b.matrix.data() + (place * p.colours + c) * apart();
            for (int64_t n = 0; n < columns; n += Vec::width) {
                const Vec amplitude = Vec::load(a + n);
                const Vec both[2] = {amplitude * Vec::load(cosine + n), amplitude * Vec::load(sine + n)};
                if constexpr (kPair == 1) {
                    store_operands(both[0], to + n);
                    store_operands(both[1], to + columns + n);
                } else {
                    store_weights(both, to + 2 * n);
                }
            }
        }
    }

    void make_table(const FieldKind& k, int64_t first, int64_t count, Buffers& b) const {
        const int64_t lanes = whole_vectors(count);
        std::fill(b.rows.begin(), b.rows.end(), Scalar(0));
        over_offsets(k, first, count, true, b.tables, [&](int64_t o) {
            const int64_t lane = (o - first) % kGroup;
            if (lane == 0 && o > first) turn_group(o - first - kGroup, lanes, b);
            return b.rows.data() + lane * depth;
        });
        turn_group((count - 1) / kGroup * kGroup, lanes, b);
    }

    // Makes lanes of a group of offsets, the first one being `lane`.
    template <typename K = Rounded>
    void turn_group(int64_t lane, int64_t lanes, Buffers& b) const {
        const int64_t start = lane / kPanel * kPanel, wide = std::min(kPanel, lanes - start);
        const int64_t count = std::min(kGroup, lanes - lane);
        typename K::Number* to = b.table.data() + start * depth + (lane - start) * K::pair;
        if constexpr (K::pair == 1) {
            transpose(b.rows.data(), depth, count, depth, to, wide);
        } else {
            transpose(b.rows.data(), depth, count, depth, b.turned.data(), kGroup);
            for (int64_t n = 0; n < columns; ++n) {
                const Scalar* sine = b.turned.data() + n * kGroup;
                pair_rows(sine, sine + columns * kGroup, count, to + n * wide * K::pair);
            }
        }
    }

    void store(const FieldKind& k, const Tile& t, int64_t begin, int64_t end, int64_t first, int64_t count,
               int64_t lanes, const Scalar* sums) const {
        const int64_t space = k.high * k.wide, times = int64_t(k.times->offset.size());
        for (int64_t i = begin; i < end; ++i) {
            const Pixel& at = t.pixel[i];
            for (int64_t o = first; o < first + count;) {
                const int64_t time = o / space, row = o % space / k.wide, column = o % k.wide;
                const int64_t run = std::min(k.wide - column, first + count - o);
                const int64_t image = k.times->output[at.frame_of_kind * times + time];
                const int64_t y = p.y.first[at.y] + row, x = p.x.first[at.x] + column;
                Scalar* out = p.out + ((image * p.y.outputs + y) * p.x.outputs + x) * p.colours;
                for (int64_t c = 0; c < p.colours; ++c) {
                    const Scalar base = p.base ? p.base[at.index * p.colours + c] : Scalar(0);
                    const Scalar* from = sums + ((i - begin) * p.colours + c) * lanes + (o - first);
                    for (int64_t j = 0; j < run; ++j) out[j * p.colours + c] = from[j] + base;
                }
                o += run;
            }
        }
    }

    std::vector<Item> items;
};

void fourier_field(const FourierFieldParameters<Scalar>& parameters, ParallelFor parallel_for) {
    if (FourierFieldAxes::pays(parameters)) return FourierFieldAxes(parameters).run(parallel_for);
    FourierFieldForward(parameters).run(parallel_for);
}
