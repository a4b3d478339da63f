// The Fourier MLP's backward pass; included inside a variant's namespace, after a dense kernel. Sines and activations
// are recomputed by tile. What tiles give to shared places is collected without races and in a fixed order: weights and
// phases in a fixed number of slabs of tiles, maps by owners of channel blocks.
#pragma once

#include "common/cpu/mlp_backward_kernel.h"
#include "fourier_mlp/cpu_forward.h"

class FourierMlpBackward : FourierMlp {
    using Network = TrainedNetwork<Activation::kRelu>;
    static constexpr int64_t kFourierBlock = 32;  // of the maps' channels, that one task owns
    static constexpr int64_t kChunkTiles = 8;     // of one slab before the maps take their gradients

 public:
    FourierMlpBackward(const FourierMlpParameters<Scalar>& p, const FourierMlpGradients<Scalar>& g)
        : FourierMlp(p),
          g(g),
          network(p.layers, Scalar(0), false),
          last(pack_layer(p.layers.back(), 0, p.layers.back().inputs)) {
        if (g.layers) sums.emplace(network);
        if (g.phase) phase_sums.resize(cells * half);
        if (g.coef) waiting.resize(std::min(kSlabs * kChunkTiles, tiles) * kTile * 3 * half);
    }

    void run(ParallelFor parallel_for) {
        for (chunk_begin = 0; chunk_begin < tiles; chunk_begin = chunk_end) {
            chunk_end = std::min(chunk_begin + kSlabs * kChunkTiles, tiles);
            parallel_for(kSlabs, &tasks_of<&FourierMlpBackward::slab>, this);
            if (g.coef) {
                parallel_for((half + kFourierBlock - 1) / kFourierBlock, &tasks_of<&FourierMlpBackward::scatter>, this);
            }
        }
        if (sums) sums->add_to(g.layers, parallel_for);
        if (g.phase) {
            const Scalar* sum = phase_sums.add(parallel_for);
            for (int64_t m = 0; m < half; ++m) {
                for (int64_t j = 0; j < cells; ++j) g.phase[m * cells + j] = sum[j * half + m];
            }
        }
    }

 private:
    template <void (FourierMlpBackward::*kTask)(int64_t)>
    static void tasks_of(int64_t begin, int64_t end, void* context) {
        for (int64_t task = begin; task < end; ++task) (static_cast<FourierMlpBackward*>(context)->*kTask)(task);
    }

    // Beside the network's: what sines take, and of one point.
    struct Buffers {
        typename Network::Tile tile;
        LineVector<Scalar> room, of_row, of_point;
        explicit Buffers(const FourierMlpBackward& self)
            : tile(self.network, padded_width(2 * self.half)),
              room(self.half),
              of_row(self.half),
              of_point(self.half) {}
    };

    void slab(int64_t index) {
        const int64_t chunk = chunk_end - chunk_begin;
        const int64_t begin = chunk_begin + index * chunk / kSlabs, end = chunk_begin + (index + 1) * chunk / kSlabs;
        if (begin == end) return;
        Buffers s(*this);
        const auto& first_layer = p.layers[0];
        for (int64_t r = 0; r < kTile; ++r)
            std::copy_n(first_layer.bias, first_layer.outputs, s.tile.start + r * s.tile.columns);
        for (int64_t tile = begin; tile < end; ++tile) {
            const int64_t first = tile * tile_points;
            this->tile(first, std::min(tile_points, points - first), s, index);
        }
    }

    void tile(int64_t first, int64_t count, Buffers& buffers, int64_t slab) {
        auto& s = buffers.tile;
        const int64_t rows = count * p.neighbours, first_row = first * p.neighbours;
        sines(first, count, buffers.room.data(),
              [&](Vec value, int64_t row, int64_t column) { store_operands(value, s.x + row * s.columns + column); });
        network.forward(s, rows);
        if (g.weights) {
            Operand* in = s.hidden.empty() ? s.x : s.hidden.back();
            clear_padding(rows, in, s.columns, last.inputs);
            dense<Activation::kNone>(last, rows, in, s.columns, last.bias.data(), 0, s.other, s.columns, Scalar(0));
        }
        for (int64_t r = 0; r < rows; ++r) {
            const Scalar *d = g.grad_output + (first + r / p.neighbours) * outputs, *of_row = s.other + r * s.columns;
            const Scalar weight = weight_of(first_row + r);
            Scalar *dz = s.dz + r * s.columns, dot = 0;
            for (int64_t o = 0; o < outputs; ++o) {
                dz[o] = weight * d[o];
                if (g.weights) dot += d[o] * of_row[o];
            }
            std::fill(dz + outputs, dz + padded_width(outputs), Scalar(0));
            if (g.weights) g.weights[first_row + r] = dot;
        }
        const bool wants_sines = g.coef || g.relative || g.phase || g.cell;
        network.backward(s, rows, Scalar(0), wants_sines, sums ? &*sums : nullptr, slab);
        if (!wants_sines) return;
        for (int64_t i = 0; i < count; ++i) point(first + i, s.other + i * p.neighbours * s.columns, buffers, slab);
    }

    // From the gradients of what the network takes, rows of one point, to those of what makes it.
    void point(int64_t point, const Scalar* d, Buffers& s, int64_t slab) {
        const Scalar* phases = phases_of(point, s.room.data());
        Scalar *of_row = s.of_row.data(), *of_point = s.of_point.data();
        std::fill_n(of_point, half, Scalar(0));
        for (int64_t j = 0; j < p.neighbours; ++j, d += s.tile.columns) {
            const int64_t r = point * p.neighbours + j;
            const Row row = row_at(r);
            if (!row.coef) {
                if (g.relative) g.relative[2 * r] = g.relative[2 * r + 1] = Scalar(0);
                continue;
            }
            const int64_t waits = r - chunk_begin * tile_points * p.neighbours;
            angle_gradient(row, phases, d, g.coef ? waiting.data() + waits * 3 * half : nullptr, of_row);
            for (int64_t m = 0; m < half; m += Vec::width)
                (Vec::load(of_point + m) + Vec::load(of_row + m)).store(of_point + m);
            if (g.relative) {
                g.relative[2 * r] = dot(row.freq, of_row);
                g.relative[2 * r + 1] = dot(row.freq + half, of_row);
            }
        }
        for (int64_t j = 0; j < cells; ++j) {
            if (g.cell) g.cell[point * cells + j] = dot(phase.data() + j * half, of_point);
            if (!g.phase) continue;
            Scalar* sum = phase_sums.of(slab) + j * half;
            const Vec cell = Vec::set1(p.cell ? cell_of(point)[j] : Scalar(1));
            for (int64_t m = 0; m < half; m += Vec::width)
                fma(Vec::load(of_point + m), cell, Vec::load(sum + m)).store(sum + m);
        }
    }

    // d [2 half], of amplitudes times sines -> of_row, of the angles in half turns; with `out`, it too behind those of
    // the amplitudes.
    void angle_gradient(const Row& row, const Scalar* phases, const Scalar* d, Scalar* out, Scalar* of_row) const {
        const Vec quarter = Vec::set1(Scalar(0.5)), pi = Vec::set1(Scalar(3.14159265358979323846));
        for (int64_t m = 0; m < half; m += Vec::width) {
            const Vec theta = angle(row, phases, m);
            const Vec cosine = sine_half_turns(theta + quarter), sine = sine_half_turns(theta);
            const Vec d_cosine = Vec::load(d + m), d_sine = Vec::load(d + half + m);
            const Vec turned = d_sine * Vec::load(row.coef + half + m) * cosine;
            const Vec d_theta = pi * (turned - d_cosine * Vec::load(row.coef + m) * sine);
            d_theta.store(of_row + m);
            if (!out) continue;
            (d_cosine * cosine).store(out + m);
            (d_sine * sine).store(out + half + m);
            d_theta.store(out + 2 * half + m);
        }
    }

    Scalar dot(const Scalar* a, const Scalar* b) const {
        Vec sum = Vec::zero();
        for (int64_t m = 0; m < half; m += Vec::width) sum = fma(Vec::load(a + m), Vec::load(b + m), sum);
        Scalar lanes[Vec::width], total = 0;
        sum.store(lanes);
        for (Scalar lane : lanes) total += lane;
        return total;
    }

    // One block of channels of both maps.
    void scatter(int64_t block) {
        const int64_t begin = chunk_begin * tile_points * p.neighbours;
        const int64_t end = std::min(chunk_end * tile_points, points) * p.neighbours;
        const int64_t channel = block * kFourierBlock, channels = std::min(kFourierBlock, half - channel);
        for (int64_t r = begin; r < end; ++r) {
            const int64_t index = p.index[r];
            if (index < 0 || index >= p.map_rows) continue;
            const int64_t to = (r / (p.points * p.neighbours) * p.map_rows + index) * 2 * half + channel;
            const Scalar* d = waiting.data() + (r - begin) * 3 * half + channel;
            const Vec y = Vec::set1(p.relative[2 * r]), x = Vec::set1(p.relative[2 * r + 1]);
            for (int64_t c = 0; c < channels; c += Vec::width) {
                Scalar *coef = g.coef + to + c, *freq = g.freq + to + c;
                const Vec theta = Vec::load(d + 2 * half + c);
                (Vec::load(coef) + Vec::load(d + c)).store(coef);
                (Vec::load(coef + half) + Vec::load(d + half + c)).store(coef + half);
                fma(theta, y, Vec::load(freq)).store(freq);
                fma(theta, x, Vec::load(freq + half)).store(freq + half);
            }
        }
    }

    const FourierMlpGradients<Scalar>& g;
    Network network;
    PackedLayer last;
    int64_t chunk_begin = 0, chunk_end = 0;  // tiles that are under way
    std::vector<Scalar> waiting;             // of the chunk: gradients of both amplitudes and of the angles
    std::optional<typename Network::Slabs> sums;
    SlabSums phase_sums;
};

void fourier_mlp_backward(const FourierMlpParameters<Scalar>& parameters, const FourierMlpGradients<Scalar>& gradients,
                          ParallelFor parallel_for) {
    FourierMlpBackward(parameters, gradients).run(parallel_for);
}
