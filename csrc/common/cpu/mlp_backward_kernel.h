// Gradients of the dense layers of a network over a tile of pixels, with activations recomputed; included inside a
// variant's namespace, after a dense kernel. Products are of the kernel's operands; sums, slopes and gradients are not
// rounded between them.
#pragma once

#include "common/cpu/mlp_kernel.h"
#include "common/cpu/outer_kernel.h"

// An activation and its slope.
template <Activation kActivation>
inline void activate_with_slope(Vec z, Vec half_turns, Vec omega, Operand* value, Scalar* slope) {
    if constexpr (kActivation == Activation::kSine) {
        store_operands(sine_half_turns(z * half_turns), value);
        (sine_half_turns(z * half_turns + Vec::set1(Scalar(0.5))) * omega).store(slope);
    } else if constexpr (kActivation == Activation::kRelu) {
        store_operands(max(Vec::zero(), z), value);
        select_not_positive(z, Vec::zero(), Vec::set1(Scalar(1))).store(slope);
    } else if constexpr (kActivation == Activation::kGelu) {
        const Vec end = within_normal(z);
        const Normal n = normal(end);
        store_operands(max(end, z) * n.cumulative, value);
        fma(end, n.density, n.cumulative).store(slope);
    }
}

// What a hidden layer's sums become on the way forward: the activation and its slope.
template <Activation kActivation>
struct WithSlope {
    Operand* value;
    Scalar* slope;
    int64_t stride;
    Vec half_turns, omega;

    void operator()(Vec z, int64_t row, int64_t column) const {
        const int64_t at = row * stride + column;
        activate_with_slope<kActivation>(z, half_turns, omega, value + at, slope + at);
    }
};

// And on the way back: the gradient of the layer before, times its slope.
struct TimesSlope {
    const Scalar* slope;
    Scalar* out;
    int64_t stride;

    void operator()(Vec d, int64_t row, int64_t column) const {
        const int64_t at = row * stride + column;
        (d * Vec::load(slope + at)).store(out + at);
    }
};

// sums [kVecs vectors] += the sum of rows; `time`, where there is one, takes it t times.
template <int kVecs>
inline void add_rows_block(const Scalar* rows, int64_t stride, int64_t count, Scalar t, Scalar* sums, Scalar* time) {
    Vec sum[kVecs];
    for (int v = 0; v < kVecs; ++v) sum[v] = Vec::zero();
    for (int64_t i = 0; i < count; ++i, rows += stride) {
        for (int v = 0; v < kVecs; ++v) sum[v] = sum[v] + Vec::load(rows + v * Vec::width);
    }
    for (int v = 0; v < kVecs; ++v) {
        const int64_t at = v * Vec::width;
        (Vec::load(sums + at) + sum[v]).store(sums + at);
        if (time) fma(Vec::set1(t), sum[v], Vec::load(time + at)).store(time + at);
    }
}

inline void add_rows(const Scalar* rows, int64_t stride, int64_t count, int64_t columns, Scalar t, Scalar* sums,
                     Scalar* time) {
    constexpr int64_t block = 4 * Vec::width;
    int64_t c = 0;
    for (; c + block <= columns; c += block)
        add_rows_block<4>(rows + c, stride, count, t, sums + c, time ? time + c : nullptr);
    for (; c < columns; c += Vec::width)
        add_rows_block<1>(rows + c, stride, count, t, sums + c, time ? time + c : nullptr);
}

// A network packed for both directions. Its first layer takes `x`, what is not hoisted, and adds `start`, a row for
// each row of x; where the network has a time, the last column of the first weight belongs to it, and start holds its
// part.
template <Activation kActivation>
class TrainedNetwork {
 public:
    TrainedNetwork(const std::vector<LayerView<Scalar>>& layers, Scalar omega, bool has_time)
        : layers(layers), omega(omega), has_time(has_time) {
        for (size_t i = 0; i < layers.size(); ++i) {
            const int64_t inputs = layers[i].inputs - (i == 0 && has_time);
            forward_layers.push_back(pack_layer(layers[i], 0, inputs));
            std::vector<Scalar> transposed(inputs * layers[i].outputs), zeros(inputs);
            for (int64_t o = 0; o < layers[i].outputs; ++o) {
                for (int64_t k = 0; k < inputs; ++k) {
                    transposed[k * layers[i].outputs + o] = layers[i].weight[o * layers[i].inputs + k];
                }
            }
            backward_layers.push_back(
                pack_layer({layers[i].outputs, inputs, transposed.data(), zeros.data()}, 0, layers[i].outputs));
        }
    }

    // Buffers of one tile, all `columns` wide.
    struct Tile {
        int64_t columns;
        LineVector<Scalar> sums;
        LineVector<Operand> operands;
        Operand* x;
        Scalar *start, *dz, *other;
        std::vector<Operand*> hidden;  // the activation of each hidden layer
        std::vector<Scalar*> slope;    // and its slope
        Operand *outer_x, *outer_dz;   // rows as add_outer takes them

        Tile(const TrainedNetwork& network, int64_t least_columns) : columns(least_columns) {
            for (const auto& layer : network.forward_layers)
                columns = std::max({columns, layer.outputs, padded_width(layer.inputs)});
            if (columns % 64 == 0) columns += kWidthMultiple;  // rows 1 KB apart would crowd a few sets of the cache
            const int64_t hidden_layers = int64_t(network.layers.size()) - 1;
            sums.assign((3 + hidden_layers) * kTile * columns + 64, Scalar(0));
            operands.assign((3 + hidden_layers) * kTile * columns + 64, Operand(0));
            Scalar* next_sum = sums.data();
            Operand* next_operand = operands.data();
            const auto take = [&](auto*& next) { return std::exchange(next, next + kTile * columns); };
            start = take(next_sum), dz = take(next_sum), other = take(next_sum);
            x = take(next_operand), outer_x = take(next_operand), outer_dz = take(next_operand);
            for (int64_t i = 0; i < hidden_layers; ++i) {
                hidden.push_back(take(next_operand)), slope.push_back(take(next_sum));
            }
        }
    };

    // Gradients that the slabs of tiles collect: per layer weight [inputs, outputs] and bias [outputs], outputs padded,
    // inputs with room for the last block of rows; then the gradient of the first layer's column for t.
    class Slabs {
     public:
        explicit Slabs(const TrainedNetwork& network) : network(network) {
            int64_t size = 0;
            for (const auto& layer : network.forward_layers) {
                weights.push_back(size);
                size += (layer.inputs + kBlockRows) * layer.outputs;
                biases.push_back(size);
                size += layer.outputs;
            }
            time = size;
            size += network.forward_layers[0].outputs;
            sums.resize(size);
        }

        // Adds the slabs, then that to `out`: weight [outputs, inputs] and bias [outputs] of each layer in turn.
        // Returns the end of `out`.
        Scalar* add_to(Scalar* out, ParallelFor parallel_for) {
            const Scalar* sum = sums.add(parallel_for);
            for (size_t i = 0; i < network.layers.size(); ++i) {
                const int64_t inputs = network.layers[i].inputs, outputs = network.layers[i].outputs;
                const int64_t packed = network.forward_layers[i].inputs, width = network.forward_layers[i].outputs;
                for (int64_t o = 0; o < outputs; ++o) {
                    for (int64_t k = 0; k < packed; ++k) out[o * inputs + k] += sum[weights[i] + k * width + o];
                    if (i == 0 && network.has_time) out[o * inputs + packed] += sum[time + o];
                    out[outputs * inputs + o] += sum[biases[i] + o];
                }
                out += outputs * (inputs + 1);
            }
            return out;
        }

     private:
        friend TrainedNetwork;

        const TrainedNetwork& network;
        int64_t time;
        std::vector<int64_t> weights, biases;
        SlabSums sums;
    };

    // From x and start to the last layer's input: activations in s.hidden, and their slopes. Start may hold all of the
    // first layer's sum, also what x gives to it.
    void forward(Tile& s, int64_t count, bool start_is_sum = false) const {
        for (size_t i = 0; i + 1 < forward_layers.size(); ++i) {
            const PackedLayer& layer = forward_layers[i];
            const WithSlope<kActivation> finish{s.hidden[i], s.slope[i], s.columns, half_turns_of(omega),
                                                Vec::set1(omega)};
            Operand* x = input(s, i);
            clear_padding(count, x, s.columns, layer.inputs);
            if (i > 0) {
                dense_into(layer, count, x, s.columns, layer.bias.data(), 0, finish);
            } else if (!start_is_sum) {
                dense_into(layer, count, x, s.columns, s.start, s.columns, finish);
            } else {
                for (int64_t r = 0; r < count; ++r) {
                    for (int64_t c = 0; c < layer.outputs; c += Vec::width)
                        finish(Vec::load(s.start + r * s.columns + c), r, c);
                }
            }
        }
    }

    // s.dz holds the gradient of the output, zero in padded columns. Adds to `slab` of `slabs`, null where not wanted;
    // leaves the gradient of the first layer's sum in s.dz and, if `wants_x`, that of x in s.other.
    void backward(Tile& s, int64_t count, Scalar t, bool wants_x, Slabs* slabs, int64_t slab) const {
        Scalar* sums = slabs ? slabs->sums.of(slab) : nullptr;
        for (size_t i = forward_layers.size(); i-- > 0;) {
            const PackedLayer &layer = forward_layers[i], &back = backward_layers[i];
            if (sums) {
                int64_t x_stride = s.columns, dz_stride = s.columns;
                const Operand* x = outer_operands(input(s, i), x_stride, count, padded_width(layer.inputs), s.outer_x);
                const Operand* dz = outer_operands(s.dz, dz_stride, count, layer.outputs, s.outer_dz);
                add_outer(x, x_stride, layer.inputs, dz, dz_stride, layer.outputs, (count + kPair - 1) / kPair,
                          sums + slabs->weights[i]);
                add_rows(s.dz, s.columns, count, layer.outputs, t, sums + slabs->biases[i],
                         i == 0 && has_time ? sums + slabs->time : nullptr);
            }
            if (i == 0) {
                if (wants_x) {
                    dense<Activation::kNone>(back, count, s.dz, s.columns, back.bias.data(), 0, s.other, s.columns,
                                             omega);
                }
                return;
            }
            dense_into(back, count, s.dz, s.columns, back.bias.data(), 0,
                       TimesSlope{s.slope[i - 1], s.other, s.columns});
            std::swap(s.dz, s.other);
        }
    }

    int64_t outputs() const { return layers.back().outputs; }

 private:
    static Operand* input(const Tile& s, size_t layer) { return layer == 0 ? s.x : s.hidden[layer - 1]; }

    const std::vector<LayerView<Scalar>>& layers;
    Scalar omega;
    bool has_time;
    std::vector<PackedLayer> forward_layers, backward_layers;
};
