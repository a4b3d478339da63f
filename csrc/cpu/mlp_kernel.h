// A SIREN over a tile of pixels; included inside a variant's namespace, after one of the dense kernels.

// The layers of one SIREN after its first, packed once a call.
struct PackedTail {
    std::vector<PackedLayer> layers;
    Scalar omega = 0;

    // in [rows, *], already activated -> the last layer's output, in one of the two buffers of `stride` columns.
    Scalar* run(int64_t rows, Scalar* in, Scalar* other, int64_t stride) const {
        for (size_t i = 0; i + 1 < layers.size(); ++i, std::swap(in, other)) {
            dense<Activation::kSine>(layers[i], rows, in, stride, layers[i].bias.data(), 0, other, stride, omega);
        }
        dense<Activation::kNone>(layers.back(), rows, in, stride, layers.back().bias.data(), 0, other, stride, omega);
        return other;
    }
};
