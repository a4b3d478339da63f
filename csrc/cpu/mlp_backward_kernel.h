// Gradients of the dense layers of a SIREN over a tile of pixels, with activations recomputed; included inside a
// variant's namespace, after mlp_kernel.h and outer_kernel.h.

// Gradients that one slab of tiles collects: per layer weight [inputs, outputs] and bias [outputs], outputs padded;
// inputs have room for the last block of rows. `time` is the gradient of the first layer's column for t.
struct SlabGradient {
    std::vector<std::vector<Scalar>> weight, bias;
    std::vector<Scalar> time;
};

inline void add_rows(const Scalar* rows, int64_t stride, int64_t count, Scalar factor, std::vector<Scalar>& sums) {
    for (int64_t i = 0; i < count; ++i) {
        for (size_t c = 0; c < sums.size(); ++c) sums[c] += factor * rows[i * stride + c];
    }
}

// A SIREN packed for both directions. Its first layer takes `x`, what is neither hoisted nor the time.
class TrainedNetwork {
 public:
    TrainedNetwork(const std::vector<LayerView<Scalar>>& layers, Scalar omega) : layers(layers), omega(omega) {
        for (size_t i = 0; i < layers.size(); ++i) {
            const int64_t inputs = layers[i].inputs - (i == 0);
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
        std::vector<Scalar> storage;
        Scalar *x, *start, *dz, *other;
        std::vector<Scalar*> hidden, slope;  // sin(omega z) and omega cos(omega z) of each hidden layer

        Tile(const TrainedNetwork& network, int64_t least_columns) : columns(least_columns) {
            for (const auto& layer : network.forward_layers)
                columns = std::max({columns, layer.outputs, padded_width(layer.inputs)});
            const int64_t count = 4 + 2 * int64_t(network.layers.size());
            storage.assign(count * kTile * columns + 64, Scalar(0));
            Scalar* next = storage.data();
            const auto take = [&] { return std::exchange(next, next + kTile * columns); };
            x = take(), start = take(), dz = take(), other = take();
            for (size_t i = 0; i < network.layers.size(); ++i) hidden.push_back(take()), slope.push_back(take());
        }
    };

    SlabGradient zero_gradient() const {
        SlabGradient g;
        for (const auto& layer : forward_layers) {
            g.weight.emplace_back((layer.inputs + kBlockRows) * layer.outputs, Scalar(0));
            g.bias.emplace_back(layer.outputs, Scalar(0));
        }
        g.time.assign(forward_layers[0].outputs, Scalar(0));
        return g;
    }

    // From x and start to the last layer's linear output, in hidden.back().
    void forward(Tile& s, int64_t count) const {
        const Vec half_turns = Vec::set1(Scalar(omega / Scalar(3.14159265358979323846)));
        const Vec quarter = Vec::set1(Scalar(0.5)), scale = Vec::set1(omega);
        for (size_t i = 0; i < forward_layers.size(); ++i) {
            const PackedLayer& layer = forward_layers[i];
            const bool last = i + 1 == forward_layers.size();
            dense<Activation::kNone>(layer, count, i == 0 ? s.x : s.hidden[i - 1], s.columns,
                                     i == 0 ? s.start : layer.bias.data(), i == 0 ? s.columns : 0,
                                     last ? s.hidden[i] : s.slope[i], s.columns, omega);
            if (last) break;
            for (int64_t row = 0; row < count; ++row) {
                for (int64_t c = row * s.columns; c < row * s.columns + layer.outputs; c += Vec::width) {
                    const Vec turns = Vec::load(s.slope[i] + c) * half_turns;
                    sine_half_turns(turns).store(s.hidden[i] + c);
                    (sine_half_turns(turns + quarter) * scale).store(s.slope[i] + c);
                }
            }
        }
    }

    // s.dz holds the gradient of the output, zero in padded columns. Adds to `sums`; leaves the gradient of the first
    // layer's sum in s.dz and, if `wants_x`, that of x in s.other.
    void backward(Tile& s, int64_t count, Scalar t, bool wants_x, SlabGradient& sums) const {
        for (size_t i = forward_layers.size(); i-- > 0;) {
            const PackedLayer& layer = forward_layers[i];
            add_outer(i == 0 ? s.x : s.hidden[i - 1], s.columns, layer.inputs, s.dz, s.columns, layer.outputs, count,
                      sums.weight[i].data());
            add_rows(s.dz, s.columns, count, Scalar(1), sums.bias[i]);
            if (i == 0) add_rows(s.dz, s.columns, count, t, sums.time);
            if (i == 0 && !wants_x) return;
            dense<Activation::kNone>(backward_layers[i], count, s.dz, s.columns, backward_layers[i].bias.data(), 0,
                                     s.other, s.columns, omega);
            if (i == 0) return;
            for (int64_t row = 0; row < count; ++row) {
                for (int64_t c = row * s.columns; c < row * s.columns + forward_layers[i - 1].outputs;
                     c += Vec::width) {
                    (Vec::load(s.other + c) * Vec::load(s.slope[i - 1] + c)).store(s.dz + c);
                }
            }
        }
    }

    // Adds the slabs, in their order, to `out`: weight [outputs, inputs] and bias [outputs] of each layer in turn.
    Scalar* add_slabs(const std::vector<SlabGradient>& slabs, Scalar* out) const {
        for (size_t i = 0; i < layers.size(); ++i) {
            const int64_t inputs = layers[i].inputs, outputs = layers[i].outputs, width = forward_layers[i].outputs;
            const int64_t packed = forward_layers[i].inputs;
            for (const SlabGradient& slab : slabs) {
                for (int64_t o = 0; o < outputs; ++o) {
                    for (int64_t k = 0; k < packed; ++k) out[o * inputs + k] += slab.weight[i][k * width + o];
                    if (i == 0) out[o * inputs + packed] += slab.time[o];
                    out[outputs * inputs + o] += slab.bias[i][o];
                }
            }
            out += outputs * (inputs + 1);
        }
        return out;
    }

    int64_t outputs() const { return layers.back().outputs; }

 private:
    const std::vector<LayerView<Scalar>>& layers;
    Scalar omega;
    std::vector<PackedLayer> forward_layers, backward_layers;
};
