// A dense layer over a tile of pixels, with the activation in the epilogue; included inside a variant's namespace,
// after activation_kernel.h. A tile is a matrix of rows (pixels) by columns (channels). Weights are packed in panels of
// kPanelVecs vectors of outputs, so that a block of kBlockRows pixels by one panel accumulates in registers over all
// inputs.

constexpr int64_t kTile = 48;  // pixels: 48 x 256 floats stay in the L2 cache together with the weights

// Memory from the start of a cache line on: a vector of weights then lies in one line, not in two.
template <typename T>
struct LineAllocator {
    using value_type = T;
    T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
    void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(64)); }
    bool operator==(const LineAllocator&) const { return true; }
    bool operator!=(const LineAllocator&) const { return false; }
};

// A layer packed for `dense`: outputs padded to whole vectors of zeros.
struct PackedLayer {
    int64_t inputs = 0, outputs = 0;                    // outputs padded to kWidthMultiple
    std::vector<Scalar, LineAllocator<Scalar>> weight;  // panels of [inputs, up to kPanelVecs vectors]
    std::vector<Scalar> bias;                           // [outputs]
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
            activate<kActivation>(y, half_turns).store(out + r * out_stride + v * Vec::width);
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

// What a thread sets up before its first dense layer.
struct DenseScope {};
