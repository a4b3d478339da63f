// An MLP of Fourier features, over tiles of points; included inside a variant's namespace, after one of the dense
// kernels. A point's neighbours are rows of a tile: each reads amplitudes and frequencies, becomes sines, and goes
// through the hidden layers. The last layer is linear, so it sees their mix alone.
#pragma once

#include "common/cpu/mlp_kernel.h"
#include "common/cpu/vectors.h"

// The mix of rows by their weights, each vector as it comes: a point's rows come in their order.
template <Activation kActivation>
struct Mixing {
    const Scalar* weights;  // of each row
    const int64_t* point;   // of each row, in the tile; -1 of rows that none has
    Scalar* out;
    int64_t stride;

    void operator()(Vec z, int64_t row, int64_t column) const {
        if (point[row] < 0) return;
        const Vec value = activate<kActivation>(z, Vec::zero()), weight = Vec::set1(weights[row]);
        Scalar* to = out + point[row] * stride + column;
        const bool first = row == 0 || point[row - 1] != point[row];
        fma(value, weight, first ? Vec::zero() : Vec::load(to)).store(to);
    }
};

class FourierMlp {
 public:
    explicit FourierMlp(const FourierMlpParameters<Scalar>& p)
        : p(p),
          half(p.half),
          outputs(p.layers.back().outputs),
          points(p.batch * p.points),
          tile_points(kTile / p.neighbours),
          tiles((points + tile_points - 1) / tile_points),
          phase(p.cells * p.half),
          cells(p.cells) {
        for (int64_t m = 0; m < half; ++m) {
            for (int64_t j = 0; j < cells; ++j) phase[j * half + m] = p.phase[m * cells + j];
        }
    }

 protected:
    struct Row {
        const Scalar *coef, *freq;  // null where the index lies outside
        Vec y, x;
    };

    // Row r of all, a neighbour of point r / neighbours.
    Row row_at(int64_t r) const {
        const int64_t batch = r / (p.points * p.neighbours), index = p.index[r];
        const bool inside = index >= 0 && index < p.map_rows;
        return {inside ? p.coef.data + batch * p.coef.batch_stride + index * p.coef.row_stride : nullptr,
                inside ? p.freq.data + batch * p.freq.batch_stride + index * p.freq.row_stride : nullptr,
                Vec::set1(p.relative[2 * r]), Vec::set1(p.relative[2 * r + 1])};
    }

    const Scalar* cell_of(int64_t point) const {
        return p.cell + (p.cell_per_point ? point : point / p.points) * cells;
    }

    // What the cell gives to the phases of a point, in half turns: `room` holds it where points differ.
    const Scalar* phases_of(int64_t point, Scalar* room) const {
        if (!p.cell) return phase.data();
        const Scalar* cell = cell_of(point);
        for (int64_t m = 0; m < half; m += Vec::width) {
            Vec sum = Vec::load(phase.data() + m) * Vec::set1(cell[0]);
            for (int64_t j = 1; j < cells; ++j)
                sum = fma(Vec::load(phase.data() + j * half + m), Vec::set1(cell[j]), sum);
            sum.store(room + m);
        }
        return room;
    }

    // In half turns.
    Vec angle(const Row& row, const Scalar* phases, int64_t m) const {
        return fma(Vec::load(row.freq + m), row.y, fma(Vec::load(row.freq + half + m), row.x, Vec::load(phases + m)));
    }

    // put(values, row, column) for every vector of amplitudes times sines of the neighbours of `count` points.
    template <typename Put>
    void sines(int64_t first, int64_t count, Scalar* room, const Put& put) const {
        const Vec quarter = Vec::set1(Scalar(0.5));
        for (int64_t i = 0; i < count; ++i) {
            const Scalar* phases = phases_of(first + i, room);
            for (int64_t j = 0; j < p.neighbours; ++j) {
                const int64_t here = i * p.neighbours + j;
                const Row row = row_at((first + i) * p.neighbours + j);
                for (int64_t m = 0; m < half; m += Vec::width) {
                    Vec cosine = Vec::zero(), sine = Vec::zero();
                    if (row.coef) {
                        const Vec theta = angle(row, phases, m);
                        cosine = Vec::load(row.coef + m) * sine_half_turns(theta + quarter);
                        sine = Vec::load(row.coef + half + m) * sine_half_turns(theta);
                    }
                    put(cosine, here, m);
                    put(sine, here, half + m);
                }
            }
        }
    }

    Scalar weight_of(int64_t row) const { return p.weights ? p.weights[row] : Scalar(1); }

    const FourierMlpParameters<Scalar>& p;
    int64_t half, outputs, points, tile_points, tiles;
    std::vector<Scalar> phase;  // [cells, half]
    int64_t cells;
};

class FourierMlpForward : FourierMlp {
 public:
    explicit FourierMlpForward(const FourierMlpParameters<Scalar>& p) : FourierMlp(p), columns(2 * half) {
        for (const auto& layer : p.layers) {
            layers.push_back(pack_layer(layer, 0, layer.inputs));
            columns = std::max(columns, layers.back().outputs);
        }
        if (columns % 64 == 0) columns += kWidthMultiple;  // rows 1 KB apart would crowd a few sets of the cache
    }

    void run(ParallelFor parallel_for) { parallel_for(tiles, &tiles_of, this); }

 private:
    struct Buffers {
        Scratch rows;
        LineVector<Scalar> start, room;
        Scalar weights[kTile];
        int64_t point[kTile];

        explicit Buffers(const FourierMlpForward& self)
            : rows(self.columns), start(kTile * self.layers.back().outputs), room(self.half) {}
    };

    static void tiles_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const FourierMlpForward*>(context);
        Buffers buffers(self);
        [[maybe_unused]] const DenseScope scope;
        for (int64_t tile = begin; tile < end; ++tile) {
            const int64_t first = tile * self.tile_points;
            self.tile(first, std::min(self.tile_points, self.points - first), buffers);
        }
    }

    void tile(int64_t first, int64_t count, Buffers& s) const {
        const int64_t rows = count * p.neighbours;
        Scalar* mixed = s.rows.start;
        for (int64_t r = 0; r < kTile; ++r) {
            s.point[r] = r < rows ? r / p.neighbours : -1;
            s.weights[r] = r < rows ? weight_of(first * p.neighbours + r) : Scalar(0);
        }
        if (layers.size() == 1) {
            sines(first, count, s.room.data(), Mixing<Activation::kNone>{s.weights, s.point, mixed, columns});
        } else {
            Operand *in = s.rows.a, *other = s.rows.b;
            sines(first, count, s.room.data(),
                  [&](Vec value, int64_t row, int64_t column) { store_operands(value, in + row * columns + column); });
            for (size_t i = 0; i + 2 < layers.size(); ++i, std::swap(in, other)) {
                clear_padding(rows, in, columns, layers[i].inputs);
                dense<Activation::kRelu>(layers[i], rows, in, columns, layers[i].bias.data(), 0, other, columns,
                                         Scalar(0));
            }
            const PackedLayer& hidden = layers[layers.size() - 2];
            clear_padding(rows, in, columns, hidden.inputs);
            dense_into(hidden, rows, in, columns, hidden.bias.data(), 0,
                       Mixing<Activation::kRelu>{s.weights, s.point, mixed, columns});
        }
        const PackedLayer& last = layers.back();
        for (int64_t i = 0; i < count; ++i) {
            Scalar sum = 0;
            for (int64_t j = 0; j < p.neighbours; ++j) sum += s.weights[i * p.neighbours + j];
            for (int64_t c = 0; c < last.outputs; c += Vec::width) {
                (Vec::load(last.bias.data() + c) * Vec::set1(sum)).store(s.start.data() + i * last.outputs + c);
            }
        }
        dense_into(last, count, mixed, columns, s.start.data(), last.outputs, [&](Vec z, int64_t row, int64_t column) {
            if (row >= count || column >= outputs) return;
            store_part(z, p.out + (first + row) * outputs + column, outputs - column);
        });
    }

    std::vector<PackedLayer> layers;
    int64_t columns;
};

void fourier_mlp(const FourierMlpParameters<Scalar>& parameters, ParallelFor parallel_for) {
    FourierMlpForward(parameters).run(parallel_for);
}
