// The forward pass of deform_conv2d over tiles of output pixels, tap by tap: samples, then a product with the tap's
// weights that adds to the tile's sums. Included inside a variant's namespace, after deform_conv2d_samples.h.

namespace deform {

// The weights of one tap and group as a layer for `dense`: from input to output channels, or back.
inline PackedLayer pack_tap(const DeformInputs<Scalar>& in, int64_t tap, int64_t group, bool backward) {
    const DeformConv2dShape& s = in.shape;
    const int64_t inputs = s.channels / s.groups, outputs = s.out_channels / s.groups;
    std::vector<Scalar> weight(inputs * outputs);
    const std::vector<Scalar> bias(std::max(inputs, outputs), Scalar(0));
    for (int64_t o = 0; o < outputs; ++o) {
        const Scalar* from = in.weight + (group * outputs + o) * inputs * s.taps() + tap;
        for (int64_t i = 0; i < inputs; ++i) weight[backward ? i * outputs + o : o * inputs + i] = from[i * s.taps()];
    }
    if (backward) return pack_layer({outputs, inputs, weight.data(), bias.data()}, 0, outputs);
    return pack_layer({inputs, outputs, weight.data(), bias.data()}, 0, inputs);
}

inline std::vector<PackedLayer> pack_taps(const DeformInputs<Scalar>& in, bool backward) {
    std::vector<PackedLayer> packed;
    for (int64_t tap = 0; tap < in.shape.taps(); ++tap) {
        for (int64_t g = 0; g < in.shape.groups; ++g) packed.push_back(pack_tap(in, tap, g, backward));
    }
    return packed;
}

struct ForwardPass {
    const DeformForward<Scalar>& p;
    const DeformConv2dShape& s;
    std::vector<PackedLayer> taps;  // [K, groups]
    int64_t outputs, padded;        // of one group
    std::vector<Scalar> bias;       // [groups, padded]

    explicit ForwardPass(const DeformForward<Scalar>& p)
        : p(p),
          s(p.in.shape),
          taps(pack_taps(p.in, false)),
          outputs(s.out_channels / s.groups),
          padded(padded_width(outputs)),
          bias(s.groups * padded, Scalar(0)) {
        for (int64_t o = 0; p.bias && o < s.out_channels; ++o) bias[o / outputs * padded + o % outputs] = p.bias[o];
    }

    void run_tile(const Tile& tile, Scalar* columns, Scalar* sums) const {
        const int64_t depth = s.channels / s.groups, width = s.groups * padded;
        Positions positions;
        for (int64_t tap = 0; tap < s.taps(); ++tap) {
            for (int64_t g = 0; g < s.offset_groups; ++g) {
                locate<false>(p.in, tile, g, tap, positions);
                sample_group(p.in, tile, g, positions, columns, s.channels);
            }
            for (int64_t g = 0; g < s.groups; ++g) {
                Scalar* out = sums + g * padded;
                dense<Activation::kNone>(taps[tap * s.groups + g], tile.count, columns + g * depth, s.channels,
                                         tap == 0 ? bias.data() + g * padded : out, tap == 0 ? 0 : width, out, width,
                                         Scalar(0));
            }
        }
        for (int64_t g = 0; g < s.groups; ++g) store(tile, sums + g * padded, width, g * outputs);
    }

    void store(const Tile& tile, const Scalar* sums, int64_t stride, int64_t channel) const {
        Scalar* to = p.output.at(tile.image, channel, tile.first);
        if (p.output.channel == 1) {
            for (int64_t i = 0; i < tile.count; ++i, to += p.output.pixel) {
                std::copy(sums + i * stride, sums + i * stride + outputs, to);
            }
            return;
        }
        for (int64_t o = 0; o < outputs; ++o, to += p.output.channel) {
            for (int64_t i = 0; i < tile.count; ++i) to[i * p.output.pixel] = sums[i * stride + o];
        }
    }

    void run(int64_t begin, int64_t end) const {
        const int64_t columns = kTile * s.channels;
        [[maybe_unused]] const DenseScope scope;
        std::vector<Scalar> scratch(columns + kTile * s.groups * padded);
        for (int64_t t = begin; t < end; ++t) run_tile(Tile(s, t), scratch.data(), scratch.data() + columns);
    }
};

}  // namespace deform

void deform_conv2d(const DeformForward<Scalar>& parameters, ParallelFor parallel_for) {
    deform::ForwardPass pass(parameters);
    const Body body = [](int64_t begin, int64_t end, void* context) {
        static_cast<const deform::ForwardPass*>(context)->run(begin, end);
    };
    parallel_for(deform::count_tiles(pass.s), body, &pass);
}
