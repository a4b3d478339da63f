// Dense layers over a tile of pixels, with the activation in the epilogue; included inside a variant's namespace, after
// its Vec. A tile is a matrix of rows (pixels) by columns (channels). Weights are packed in panels of kPanelVecs
// vectors of outputs, so that a block of kBlockRows pixels by one panel accumulates in registers over all inputs.

constexpr int64_t kTile = 48;  // pixels: 48 x 256 floats stay in the L2 cache together with the weights

// sin(pi x), x in half turns: to 2e-7 in single precision. The argument is exact after folding, since a period is a
// whole number; a period of pi would need a subtraction in several parts.
inline Vec sine_half_turns(Vec x) {
    const Vec r = fold_half_turns(x);
    const Vec s = r * r;
    if constexpr (sizeof(Scalar) == 4) {
        // The minimax polynomial of sin(pi r) / r in r^2 for |r| <= 1/2; benchmarks/sine_polynomial.py finds it.
        Vec p = fma(Vec::set1(0.07722015632f), s, Vec::set1(-0.5980451887f));
        p = fma(p, s, Vec::set1(2.550031380f));
        p = fma(p, s, Vec::set1(-5.167706879f));
        p = fma(p, s, Vec::set1(3.141592580f));
        return r * p;
    } else {
        Scalar lanes[Vec::width];
        r.store(lanes);
        for (Scalar& lane : lanes) lane = std::sin(Scalar(3.14159265358979323846) * lane);
        return Vec::load(lanes);
    }
}

// exp(-x) for x in [0, 87], to 3e-7 of its size.
inline Vec exp_minus(Vec x) {
    const Vec log2e = Vec::set1(Scalar(-1.4426950408889634));
    const Vec whole = round_whole(x * log2e);
    const Vec r = fma(x, log2e, Vec::zero() - whole);
    Vec p = Vec::set1(Scalar(1.5403530e-4));  // 2^r for |r| <= 1/2 by its series, ln(2)^k / k!
    for (const double c : {1.3333558e-3, 9.6181291e-3, 5.5504109e-2, 0.24022651, 0.69314718, 1.0})
        p = fma(p, r, Vec::set1(Scalar(c)));
    return p * power_of_two(whole);
}

// Of the normal distribution: its cumulative function, and its density.
struct Normal {
    Vec cumulative, density;
};

constexpr double kNormalEnd = 13;  // beyond it the cumulative function is 0 or 1 in single precision

// z within +-kNormalEnd in single precision. To 2e-7 there.
inline Normal normal(Vec z) {
    constexpr double root_half = 0.70710678118654752, density = 0.39894228040143268;
    if constexpr (sizeof(Scalar) == 4) {
        // Abramowitz and Stegun, 7.1.26: erfc(x) = (a1 t + ... + a5 t^5) exp(-x^2), t = 1 / (1 + 0.3275911 x), x >= 0.
        const Vec bell = exp_minus(z * z * Vec::set1(Scalar(0.5)));
        const Vec size = max(z, Vec::zero() - z), one = Vec::set1(Scalar(1));
        const Vec t = one / fma(size, Vec::set1(Scalar(0.3275911 * root_half)), one);
        Vec p = Vec::set1(Scalar(1.061405429 / 2));
        for (const double a : {-1.453152027, 1.421413741, -0.284496736, 0.254829592})
            p = fma(p, t, Vec::set1(Scalar(a / 2)));
        const Vec tail = p * t * bell;
        return {select_not_positive(z, tail, one - tail), bell * Vec::set1(Scalar(density))};
    } else {
        Scalar lanes[Vec::width], bell[Vec::width];
        z.store(lanes);
        for (int64_t i = 0; i < Vec::width; ++i) {
            bell[i] = Scalar(density) * std::exp(-lanes[i] * lanes[i] / 2);
            lanes[i] = std::erfc(-lanes[i] * Scalar(root_half)) / 2;
        }
        return {Vec::load(lanes), Vec::load(bell)};
    }
}

inline Vec within_normal(Vec z) {
    if constexpr (sizeof(Scalar) == 8) return z;
    return max(Vec::set1(Scalar(-kNormalEnd)), min(Vec::set1(Scalar(kNormalEnd)), z));
}

inline Vec half_turns_of(Scalar omega) { return Vec::set1(Scalar(omega / Scalar(3.14159265358979323846))); }

// NaN stays NaN.
template <Activation kActivation>
inline Vec activate(Vec z, Vec half_turns) {
    if constexpr (kActivation == Activation::kSine) return sine_half_turns(z * half_turns);
    if constexpr (kActivation == Activation::kRelu) return max(Vec::zero(), z);
    if constexpr (kActivation == Activation::kGelu) {
        const Vec end = within_normal(z);
        return max(end, z) * normal(end).cumulative;
    }
    return z;
}

// A layer packed for `dense`: outputs padded to whole vectors of zeros.
struct PackedLayer {
    int64_t inputs = 0, outputs = 0;  // outputs padded to kWidthMultiple
    std::vector<Scalar> weight;       // panels of [inputs, up to kPanelVecs vectors]
    std::vector<Scalar> bias;         // [outputs]
};

// Packs columns [first, first + inputs) of the weight, and the bias.
inline PackedLayer pack_layer(const LayerView<Scalar>& layer, int64_t first, int64_t inputs) {
    PackedLayer packed;
    packed.inputs = inputs;
    packed.outputs = padded_width(layer.outputs);
    packed.weight.assign(inputs * packed.outputs, Scalar(0));
    packed.bias.assign(packed.outputs, Scalar(0));
    for (int64_t o = 0; o < layer.outputs; ++o) packed.bias[o] = layer.bias[o];
    constexpr int64_t panel = kPanelVecs * Vec::width;
    Scalar* out = packed.weight.data();
    for (int64_t start = 0; start < packed.outputs; start += panel) {
        const int64_t width = std::min(panel, packed.outputs - start);
        for (int64_t i = 0; i < inputs; ++i) {
            for (int64_t o = 0; o < width; ++o, ++out) {
                if (start + o < layer.outputs) *out = layer.weight[(start + o) * layer.inputs + first + i];
            }
        }
    }
    return packed;
}

template <Activation kActivation, int kVecs>
inline void dense_block(const Scalar* in, int64_t in_stride, int64_t inputs, const Scalar* weight, const Scalar* start,
                        int64_t start_stride, Scalar* out, int64_t out_stride, Vec half_turns) {
    Vec sum[kBlockRows][kVecs];
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[r][v] = Vec::load(start + r * start_stride + v * Vec::width);
    }
    for (int64_t i = 0; i < inputs; ++i, weight += kVecs * Vec::width) {
        Vec w[kVecs];
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) w[v] = Vec::load(weight + v * Vec::width);
#pragma GCC unroll 8
        for (int r = 0; r < kBlockRows; ++r) {
            const Vec x = Vec::set1(in[r * in_stride + i]);
#pragma GCC unroll 8
            for (int v = 0; v < kVecs; ++v) sum[r][v] = fma(x, w[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) {
            Vec y = sum[r][v];
            y = activate<kActivation>(y, half_turns);
            y.store(out + r * out_stride + v * Vec::width);
        }
    }
}

// out [rows, outputs] = activation(in [rows, inputs] weight + start), where start is a row for all (stride 0) or one
// for each. Rows are taken kBlockRows at a time: the tile's buffers have room for the last block.
template <Activation kActivation>
void dense(const PackedLayer& layer, int64_t rows, const Scalar* in, int64_t in_stride, const Scalar* start,
           int64_t start_stride, Scalar* out, int64_t out_stride, Scalar omega) {
    const Vec half_turns = half_turns_of(omega);
    const Scalar* weight = layer.weight.data();
    for (int64_t column = 0; column < layer.outputs; column += kPanelVecs * Vec::width) {
        const int64_t vecs = std::min<int64_t>(kPanelVecs, (layer.outputs - column) / Vec::width);
        for (int64_t r = 0; r < rows; r += kBlockRows) {
            const Scalar* x = in + r * in_stride;
            const Scalar* s = start + r * start_stride + column;
            Scalar* y = out + r * out_stride + column;
            switch (vecs) {
                case 4:
                    if constexpr (kPanelVecs >= 4) {
                        dense_block<kActivation, 4>(x, in_stride, layer.inputs, weight, s, start_stride, y, out_stride,
                                                    half_turns);
                    }
                    break;
                case 3:
                    if constexpr (kPanelVecs >= 3) {
                        dense_block<kActivation, 3>(x, in_stride, layer.inputs, weight, s, start_stride, y, out_stride,
                                                    half_turns);
                    }
                    break;
                case 2:
                    dense_block<kActivation, 2>(x, in_stride, layer.inputs, weight, s, start_stride, y, out_stride,
                                                half_turns);
                    break;
                default:
                    dense_block<kActivation, 1>(x, in_stride, layer.inputs, weight, s, start_stride, y, out_stride,
                                                half_turns);
            }
        }
        weight += layer.inputs * vecs * Vec::width;
    }
}

// The layers of one network after its first, packed once a call.
template <Activation kActivation>
struct PackedTail {
    std::vector<PackedLayer> layers;
    Scalar omega;

    PackedTail(const std::vector<LayerView<Scalar>>& views, Scalar omega) : omega(omega) {
        for (size_t i = 1; i < views.size(); ++i) layers.push_back(pack_layer(views[i], 0, views[i].inputs));
    }

    // in [rows, *], already activated -> the last layer's output, in one of the two buffers of `stride` columns.
    Scalar* run(int64_t rows, Scalar* in, Scalar* other, int64_t stride) const {
        for (size_t i = 0; i + 1 < layers.size(); ++i, std::swap(in, other)) {
            dense<kActivation>(layers[i], rows, in, stride, layers[i].bias.data(), 0, other, stride, omega);
        }
        dense<Activation::kNone>(layers.back(), rows, in, stride, layers.back().bias.data(), 0, other, stride, omega);
        return other;
    }
};

// Buffers of a tile's rows.
struct Scratch {
    int64_t columns;
    std::vector<Scalar> storage;
    Scalar *a, *b, *x, *start;

    // Four of them, `columns` wide; zeros, so that rows past a short tile hold numbers.
    explicit Scratch(int64_t columns) : columns(columns), storage(4 * kTile * columns + 64, Scalar(0)) {
        Scalar* base = storage.data();
        a = base, b = a + kTile * columns, x = b + kTile * columns, start = x + kTile * columns;
    }
};
