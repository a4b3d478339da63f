// Gradients of the dense layers of a network over a tile of pixels, with activations recomputed; included inside a
// variant's namespace, after mlp_kernel.h and outer_kernel.h.

constexpr int64_t kSlabs = 16;         // more than threads, fixed so that their number does not change the result
constexpr int64_t kChannelBlock = 16;  // channels of a map that one task owns
static_assert(kChannelBlock == kWidthMultiple, "every padded width is a whole number of blocks");

// An activation and its slope.
template <Activation kActivation>
inline void activate_with_slope(Vec z, Vec half_turns, Vec omega, Scalar* value, Scalar* slope) {
    if constexpr (kActivation == Activation::kSine) {
        sine_half_turns(z * half_turns).store(value);
        (sine_half_turns(z * half_turns + Vec::set1(Scalar(0.5))) * omega).store(slope);
    } else if constexpr (kActivation == Activation::kRelu) {
        max(Vec::zero(), z).store(value);
        select_not_positive(z, Vec::zero(), Vec::set1(Scalar(1))).store(slope);
    } else if constexpr (kActivation == Activation::kGelu) {
        const Vec end = within_normal(z);
        const Normal n = normal(end);
        (max(end, z) * n.cumulative).store(value);
        fma(end, n.density, n.cumulative).store(slope);
    }
}

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
        std::vector<Scalar> storage;
        Scalar *x, *start, *dz, *other;
        std::vector<Scalar*> hidden, slope;  // the activation of each hidden layer, and its slope

        Tile(const TrainedNetwork& network, int64_t least_columns) : columns(least_columns) {
            for (const auto& layer : network.forward_layers)
                columns = std::max({columns, layer.outputs, padded_width(layer.inputs)});
            if (columns % 64 == 0) columns += kWidthMultiple;  // rows 1 KB apart would crowd a few sets of the cache
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
        const Vec half_turns = half_turns_of(omega), scale = Vec::set1(omega);
        for (size_t i = 0; i < forward_layers.size(); ++i) {
            const PackedLayer& layer = forward_layers[i];
            const bool last = i + 1 == forward_layers.size();
            dense<Activation::kNone>(layer, count, i == 0 ? s.x : s.hidden[i - 1], s.columns,
                                     i == 0 ? s.start : layer.bias.data(), i == 0 ? s.columns : 0,
                                     last ? s.hidden[i] : s.slope[i], s.columns, omega);
            if (last) break;
            for (int64_t row = 0; row < count; ++row) {
                for (int64_t c = row * s.columns; c < row * s.columns + layer.outputs; c += Vec::width) {
                    activate_with_slope<kActivation>(Vec::load(s.slope[i] + c), half_turns, scale, s.hidden[i] + c,
                                                     s.slope[i] + c);
                }
            }
        }
    }

    // s.dz holds the gradient of the output, zero in padded columns. Adds to `sums`, null where not wanted; leaves the
    // gradient of the first layer's sum in s.dz and, if `wants_x`, that of x in s.other.
    void backward(Tile& s, int64_t count, Scalar t, bool wants_x, SlabGradient* sums) const {
        for (size_t i = forward_layers.size(); i-- > 0;) {
            const PackedLayer& layer = forward_layers[i];
            if (sums) {
                add_outer(i == 0 ? s.x : s.hidden[i - 1], s.columns, layer.inputs, s.dz, s.columns, layer.outputs,
                          count, sums->weight[i].data());
                add_rows(s.dz, s.columns, count, Scalar(1), sums->bias[i]);
                if (i == 0 && has_time) add_rows(s.dz, s.columns, count, t, sums->time);
            }
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

    // Adds the slabs, in their order, to `out`: weight [outputs, inputs] and bias [outputs] of each layer in turn. The
    // first slab holds their sum afterwards.
    Scalar* add_slabs(std::vector<SlabGradient>& slabs, Scalar* out) const {
        const auto add = [](std::vector<Scalar>& to, const std::vector<Scalar>& from) {
            for (size_t k = 0; k < to.size(); ++k) to[k] += from[k];
        };
        SlabGradient& sum = slabs[0];
        for (size_t slab = 1; slab < slabs.size(); ++slab) {
            add(sum.time, slabs[slab].time);
            for (size_t i = 0; i < layers.size(); ++i) {
                add(sum.weight[i], slabs[slab].weight[i]);
                add(sum.bias[i], slabs[slab].bias[i]);
            }
        }
        for (size_t i = 0; i < layers.size(); ++i) {
            const int64_t inputs = layers[i].inputs, outputs = layers[i].outputs, width = forward_layers[i].outputs;
            const int64_t packed = forward_layers[i].inputs;
            for (int64_t o = 0; o < outputs; ++o) {
                for (int64_t k = 0; k < packed; ++k) out[o * inputs + k] += sum.weight[i][k * width + o];
                if (i == 0 && has_time) out[o * inputs + packed] += sum.time[o];
                out[outputs * inputs + o] += sum.bias[i][o];
            }
            out += outputs * (inputs + 1);
        }
        return out;
    }

    int64_t outputs() const { return layers.back().outputs; }

 private:
    const std::vector<LayerView<Scalar>>& layers;
    Scalar omega;
    bool has_time;
    std::vector<PackedLayer> forward_layers, backward_layers;
};
