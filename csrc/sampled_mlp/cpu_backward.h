// The sampled MLP's backward pass; included inside a variant's namespace, after a dense kernel. Activations are
// recomputed by tile. What tiles give to shared places is collected without races and in a fixed order: weights in a
// fixed number of slabs of tiles, maps by owners of channel blocks.
#pragma once

#include "common/cpu/mlp_backward_kernel.h"
#include "sampled_mlp/cpu_forward.h"

constexpr int64_t kScatterBlock = 64;  // channels of the maps that one task owns, by cache lines side by side
constexpr int64_t kSlabTiles = 8;  // of one slab before the maps take their gradients, which bounds what waits for them

template <Activation kActivation>
class SampledMlpBackward : SampledMlp<kActivation> {
    using Base = SampledMlp<kActivation>;
    using Network = TrainedNetwork<kActivation>;
    using Base::columns, Base::inputs, Base::outputs, Base::p, Base::rows, Base::tiles, Base::width;

 public:
    SampledMlpBackward(const SampledMlpParameters<Scalar>& p, const SampledMlpGradients<Scalar>& g)
        : Base(p), g(g), network(p.layers, p.omega, false) {
        if (g.weights) sums.emplace(network);
        if (!g.maps.empty()) d_start.resize(std::min(kSlabs * kSlabTiles, tiles) * kTile * width);
    }

    void run(ParallelFor parallel_for) {
        for (chunk_begin = 0; chunk_begin < tiles; chunk_begin = chunk_end) {
            chunk_end = std::min(chunk_begin + kSlabs * kSlabTiles, tiles);
            parallel_for(kSlabs, &tasks_of<&SampledMlpBackward::slab>, this);
            if (!g.maps.empty()) {
                parallel_for((width + kScatterBlock - 1) / kScatterBlock, &tasks_of<&SampledMlpBackward::scatter>,
                             this);
            }
        }
        if (sums) sums->add_to(g.weights, parallel_for);
    }

 private:
    template <void (SampledMlpBackward::*kTask)(int64_t)>
    static void tasks_of(int64_t begin, int64_t end, void* context) {
        for (int64_t task = begin; task < end; ++task) (static_cast<SampledMlpBackward*>(context)->*kTask)(task);
    }

    void slab(int64_t index) {
        const int64_t chunk = chunk_end - chunk_begin;
        const int64_t begin = chunk_begin + index * chunk / kSlabs, end = chunk_begin + (index + 1) * chunk / kSlabs;
        if (begin == end) return;
        typename Network::Tile s(network, columns);
        for (int64_t tile = begin; tile < end; ++tile) {
            const int64_t first = tile * kTile, count = std::min(kTile, rows - first);
            this->gather(first, count, s.start, s.x, s.columns);
            network.forward(s, count);
            for (int64_t i = 0; i < count; ++i) {
                Scalar* dz = s.dz + i * s.columns;
                std::copy_n(g.grad_output + (first + i) * outputs, outputs, dz);
                std::fill(dz + outputs, dz + padded_width(outputs), Scalar(0));
            }
            network.backward(s, count, Scalar(0), g.x != nullptr, sums ? &*sums : nullptr, index);
            for (int64_t i = 0; i < count; ++i) {
                const int64_t row = first + i;
                const Scalar* dz = s.dz + i * s.columns;
                if (g.x) std::copy_n(s.other + i * s.columns, inputs, g.x + row * inputs);
                if (!d_start.empty()) {
                    std::copy_n(dz, width, d_start.data() + (row - chunk_begin * kTile) * width);
                }
                for (size_t m = 0; m < g.positions.size(); ++m) set_position_gradient(m, row, dz);
            }
        }
    }

    void set_position_gradient(size_t m, int64_t row, const Scalar* dz) const {
        const SampledMap<Scalar>& map = p.maps[m];
        Scalar dy = 0, dx = 0;
        if (!map.nearest) {
            SlopeReader(this->map_of(map, row), width, map.height, map.width, map.positions[2 * row],
                        map.positions[2 * row + 1])
                .add_slopes(dz, width, dy, dx);
        }
        g.positions[m][2 * row] = dy;
        g.positions[m][2 * row + 1] = dx;
    }

    // One block of channels of every map.
    void scatter(int64_t block) {
        const int64_t begin = chunk_begin * kTile, end = std::min(chunk_end * kTile, rows);
        const int64_t channel = block * kScatterBlock, channels = std::min(kScatterBlock, width - channel);
        for (size_t m = 0; m < p.maps.size(); ++m) {
            const SampledMap<Scalar>& map = p.maps[m];
            for (int64_t row = begin; row < end; ++row) {
                const Scalar* d = d_start.data() + (row - begin) * width + channel;
                Scalar* to = g.maps[m] + (this->map_of(map, row) - map.map) + channel;
                const Scalar y = map.positions[2 * row], x = map.positions[2 * row + 1];
                if (!map.nearest) {
                    add_at_corners(d, to, width, map.height, map.width, channels, y, x);
                    continue;
                }
                const int64_t offset = nearest_pixel(y, x, map.height, map.width, map.width * width, width);
                if (offset < 0) continue;
                for (int64_t c = 0; c < channels; c += Vec::width)
                    (Vec::load(d + c) + Vec::load(to + offset + c)).store(to + offset + c);
            }
        }
    }

    const SampledMlpGradients<Scalar>& g;
    Network network;
    int64_t chunk_begin = 0, chunk_end = 0;  // tiles that are under way
    std::vector<Scalar> d_start;             // of the chunk: gradient of the first layer's sum
    std::optional<typename Network::Slabs> sums;
};

void sampled_mlp_backward(const SampledMlpParameters<Scalar>& parameters, const SampledMlpGradients<Scalar>& gradients,
                          ParallelFor parallel_for) {
    with_activation<SampledMlpBackward>(parameters.activation, parallel_for, parameters, gradients);
}
