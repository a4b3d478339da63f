// Gradients of the Fourier field; included inside a variant's namespace, after a dense kernel. The products of the
// forward pass the other way round: of a tile's output gradients with the table that is the gradient of its pixels'
// matrices, with the matrices that of the table. Sums over tiles are kept by slabs of pixels, whose number is fixed.
#pragma once

#include "common/cpu/outer_kernel.h"
#include "common/cpu/rows_product.h"
#include "fourier_field/cpu_tiles.h"

class FourierFieldBackward : FourierTiles {
 public:
    FourierFieldBackward(const FourierFieldParameters<Scalar>& p, const FourierFieldGradients<Scalar>& g)
        : FourierTiles(p), g(g), wants_angles(g.frequencies || g.offset) {
        for (const FieldTimes& times : p.times) {
            outputs += int64_t(times.output.size()), frames += int64_t(times.frames.size());
            for (int64_t y = 0; y < std::min(p.y.period, p.y.inputs); ++y) {
                for (int64_t x = 0; x < std::min(p.x.period, p.x.inputs); ++x) add_items(kind(times, y, x));
            }
        }
        numbers = (p.axes + 1) * columns + outputs;
    }

    void run(ParallelFor parallel_for) {
        if (frames < p.frames) {  // those without a time
            const int64_t pixels = p.frames * p.y.inputs * p.x.inputs;
            if (g.amplitude) std::fill_n(g.amplitude, pixels * p.functions * p.colours, Scalar(0));
            if (g.phase) std::fill_n(g.phase, pixels * p.functions, Scalar(0));
        }
        sums.assign(kSlabs * numbers, 0.0);
        parallel_for(kSlabs, &slabs_of, this);
        for (int64_t slab = 1; slab < kSlabs; ++slab) {
            for (int64_t i = 0; i < numbers; ++i) sums[i] += sums[slab * numbers + i];
        }
        const double* from = sums.data();
        for (int64_t axis = 0; axis < p.axes && g.frequencies; ++axis) {
            for (int64_t n = 0; n < p.functions; ++n)
                g.frequencies[axis * p.functions + n] = Scalar(from[axis * columns + n]);
        }
        for (int64_t n = 0; n < p.functions && g.damping; ++n) g.damping[n] = Scalar(from[p.axes * columns + n]);
        for (int64_t n = 0; n < outputs && g.offset; ++n) g.offset[n] = Scalar(from[(p.axes + 1) * columns + n]);
    }

 private:
    static constexpr int64_t kStretch = 96;  // input pixels of a frame and kind, for which a table is made once
    static constexpr int64_t kRows = 64;     // offsets of a table; of more, parts are made for one tile after the other

    struct Item {
        FieldKind kind;
        int64_t first, last;
    };

    struct Buffers {
        Tables tables;
        LineVector<Scalar> phases, matrix, d_matrix;  // [kPixels, 2, columns], [kPixels, colours, depth]
        LineVector<Scalar> table, d_table;            // [kRows, depth]
        LineVector<Scalar> d_out;                     // [kPixels, colours, kRows]
        LineVector<Scalar> damping, part;             // [columns]

        explicit Buffers(const FourierFieldBackward& f)
            : tables(f),
              phases(kPixels * f.depth),
              matrix(kPixels * f.p.colours * f.depth),
              d_matrix(matrix.size()),
              table(kRows * f.depth),
              d_table(f.wants_angles ? kRows * f.depth : 0),
              d_out(kPixels * f.p.colours * kRows),
              damping(f.columns, Scalar(0)),
              part(f.columns) {
            std::copy_n(f.p.damping, f.p.functions, damping.begin());
        }
    };

    // A tile is of one frame, whose times have gradients of their own.
    void add_items(const FieldKind& k) {
        const int64_t in_frame = k.rows * k.columns;
        for (int64_t frame = 0; frame < int64_t(k.times->frames.size()); ++frame) {
            for (int64_t i = 0; i < in_frame; i += kStretch) {
                const int64_t first = frame * in_frame + i;
                items.push_back({k, first, std::min(first + kStretch, (frame + 1) * in_frame)});
            }
        }
    }

    static void slabs_of(int64_t begin, int64_t end, void* context) {
        auto& self = *static_cast<FourierFieldBackward*>(context);
        Buffers b(self);
        const int64_t count = int64_t(self.items.size());
        for (int64_t slab = begin; slab < end; ++slab) {
            for (int64_t i = slab * count / kSlabs; i < (slab + 1) * count / kSlabs; ++i) {
                self.item(self.items[i], self.sums.data() + slab * self.numbers, b);
            }
        }
    }

    void item(const Item& item, double* to, Buffers& b) const {
        const FieldKind& k = item.kind;
        const int64_t offsets = k.offsets();
        const auto make_table = [&](int64_t first, int64_t count) {
            over_offsets(k, first, count, false, b.tables,
                         [&](int64_t o) { return b.table.data() + (o - first) * depth; });
        };
        if (offsets > 0 && offsets <= kRows) make_table(0, offsets);
        for (int64_t i = item.first; i < item.last; i += kPixels) {
            const Tile t = tile(k, i, item.last);
            load(t, b.tables);
            for (int64_t j = 0; j < t.count; ++j) make_matrix(j, b);
            std::fill(b.d_matrix.begin(), b.d_matrix.end(), Scalar(0));
            for (int64_t o = 0; o < offsets; o += kRows) {
                const int64_t count = std::min(kRows, offsets - o);
                if (offsets > kRows) make_table(o, count);
                load_gradient(k, t, o, count, b);
                products(t.count * p.colours, count, b);
                if (wants_angles) add_angle_gradients(k, t, o, count, to, b);
            }
            for (int64_t j = 0; j < t.count; ++j) pixel(t.pixel[j].index, j, to + p.axes * columns, b);
        }
    }

    // Damped: the table is not, since damping is a factor of either.
    void make_matrix(int64_t i, Buffers& b) const {
        Scalar* phase = b.phases.data() + i * depth;
        phase_sines(b.tables, i, phase);
        for (int64_t c = 0; c < p.colours; ++c) {
            const Scalar* a = b.tables.amplitude.data() + (i * p.colours + c) * columns;
            Scalar* to = b.matrix.data() + (i * p.colours + c) * depth;
            for (int64_t n = 0; n < columns; n += Vec::width) {
                const Vec amplitude = Vec::load(a + n) * Vec::load(b.damping.data() + n);
                (amplitude * Vec::load(phase + columns + n)).store(to + n);
                (amplitude * Vec::load(phase + n)).store(to + columns + n);
            }
        }
    }

    void load_gradient(const FieldKind& k, const Tile& t, int64_t first, int64_t count, Buffers& b) const {
        const int64_t space = k.high * k.wide, times = int64_t(k.times->offset.size());
        for (int64_t i = 0; i < t.count; ++i) {
            const Pixel& at = t.pixel[i];
            for (int64_t o = first; o < first + count; ++o) {
                const int64_t image = k.times->output[at.frame_of_kind * times + o / space];
                const int64_t y = p.y.first[at.y] + o % space / k.wide, x = p.x.first[at.x] + o % k.wide;
                const Scalar* from = g.grad_output + ((image * p.y.outputs + y) * p.x.outputs + x) * p.colours;
                for (int64_t c = 0; c < p.colours; ++c) b.d_out[(i * p.colours + c) * kRows + o - first] = from[c];
            }
        }
    }

    void products(int64_t rows, int64_t count, Buffers& b) const {
        std::vector<const Scalar*> in;
        for (int64_t r = 0; r < rows; ++r) in.push_back(b.d_out.data() + r * kRows);
        multiply<true>(in.data(), 1, rows, count, b.table.data(), depth, b.d_matrix.data());
        if (!wants_angles) return;
        in.clear();
        for (int64_t o = 0; o < count; ++o) in.push_back(b.d_out.data() + o);
        multiply<false>(in.data(), kRows, count, rows, b.matrix.data(), depth, b.d_table.data());
    }

    // From gradients of sines and cosines to those of angles, and from these to frequencies and times.
    void add_angle_gradients(const FieldKind& k, const Tile& t, int64_t first, int64_t count, double* to,
                             Buffers& b) const {
        const int64_t space = k.high * k.wide, times = int64_t(k.times->offset.size());
        const Vec zero = Vec::zero();
        for (int64_t o = first; o < first + count; ++o) {
            const Scalar* table = b.table.data() + (o - first) * depth;
            const Scalar* d = b.d_table.data() + (o - first) * depth;
            for (int64_t n = 0; n < columns; n += Vec::width) {
                const Vec turned = Vec::load(d + n) * Vec::load(table + columns + n);
                fma(zero - Vec::load(d + columns + n), Vec::load(table + n), turned).store(b.part.data() + n);
            }
            const int64_t time = o / space;
            const double offsets[3] = {p.y.offset[k.first_y + o % space / k.wide], p.x.offset[k.first_x + o % k.wide],
                                       k.times->offset[time]};
            for (int64_t axis = 0; axis < p.axes; ++axis) {
                double* sum = to + axis * columns;
                for (int64_t n = 0; n < p.functions; ++n) sum[n] += offsets[axis] * double(b.part[n]);
            }
            if (p.axes < 3) continue;
            double sum = 0;
            const Scalar* frequencies = p.frequencies + 2 * p.functions;
            for (int64_t n = 0; n < p.functions; ++n) sum += double(frequencies[n]) * double(b.part[n]);
            to[(p.axes + 1) * columns + k.times->output[t.pixel[0].frame_of_kind * times + time]] += sum;
        }
    }

    void pixel(int64_t index, int64_t i, double* d_damping, Buffers& b) const {
        const Scalar *sine = b.phases.data() + i * depth, *cosine = sine + columns;
        Scalar* d_phase = g.phase ? g.phase + index * p.functions : nullptr;
        Scalar* d_amplitude = g.amplitude ? g.amplitude + index * p.functions * p.colours : nullptr;
        if (d_phase) std::fill_n(d_phase, p.functions, Scalar(0));
        for (int64_t c = 0; c < p.colours; ++c) {
            const Scalar* a = b.tables.amplitude.data() + (i * p.colours + c) * columns;
            const Scalar* d = b.d_matrix.data() + (i * p.colours + c) * depth;
            for (int64_t n = 0; n < p.functions; ++n) {
                // Of amplitude times damping, and of the angle.
                const Scalar along = cosine[n] * d[n] + sine[n] * d[columns + n];
                const Scalar across = cosine[n] * d[columns + n] - sine[n] * d[n];
                if (d_amplitude) d_amplitude[n * p.colours + c] = b.damping[n] * along;
                if (d_phase) d_phase[n] += b.damping[n] * a[n] * across;
                d_damping[n] += double(a[n]) * double(along);
            }
        }
    }

    const FourierFieldGradients<Scalar>& g;
    bool wants_angles;
    int64_t outputs = 0, frames = 0, numbers = 0;
    std::vector<Item> items;
    std::vector<double> sums;  // [kSlabs, numbers]: frequencies by axes, damping, offsets
};

void fourier_field_backward(const FourierFieldParameters<Scalar>& parameters,
                            const FourierFieldGradients<Scalar>& gradients, ParallelFor parallel_for) {
    FourierFieldBackward(parameters, gradients).run(parallel_for);
}
