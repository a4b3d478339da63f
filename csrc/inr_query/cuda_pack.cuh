// Packs the query's weights into tiles and its vectors, times omega and the sine's unit where a sine follows.
#pragma once

#include "common/cuda/operands.cuh"
#include "inr_query/cuda_schedule.cuh"

namespace vinr::cuda {

constexpr int kPackThreads = 256;
constexpr int kMaxVectors = 3 * kMaxLayers + 5;

// A column of a weight, or a bias, on its way to `to`, filled up with zeros.
struct VectorSource {
    const float* from;
    float* to;
    int stride, count, padded;
    double unit;
};

struct VectorParameters {
    VectorSource vector[kMaxVectors];
    int vectors;

    void add(const float* from, int stride, int count, int padded, double unit, float* to) {
        vector[vectors++] = {from, to, stride, count, padded, unit};
    }
};

template <int kBlock>  // a template as a header may hold it
VINR_KERNEL(kBlock, 1) pack_vectors_kernel(const VectorParameters p) {
    const VectorSource& v = p.vector[block_x()];
    for (int i = thread_x(); i < v.padded; i += kBlock)
        store(v.to + i, i < v.count ? float(load(v.from + int64_t(i) * v.stride) * v.unit) : 0.0f);
}

struct PackParameters {
    Network feat, flow, encode;
    double unit;  // of a phase, times omega
    unsigned char* decode_tiles;
    unsigned char* colour_tiles;
};

// One packed number of a pass's stream.
template <typename O, typename Schedule>
VINR_DEVICE void pack_element(const PackParameters& p, unsigned char* tiles, int index) {
    using Stored = typename O::Stored;
    const int tile = index / 256;
    const TileSource source = Schedule::tile(tile / Schedule::kStageTiles, tile % Schedule::kStageTiles);
    float value = 0;
    if (source.layer != kNoLayer) {
        const TileElement at = O::tile_element(index % 256, source.narrow);
        const Network& network = source.layer < kFlow ? p.feat : source.layer < kEncode ? p.flow : p.encode;
        const int number = source.layer % 10;
        const Layer& layer = network.layer[number];
        const int output = output_of(source, source.n + at.n), input = input_of(source, source.k + at.k);
        // The first layer's last column is the time's, which is no product's; without colours it comes early.
        const int inputs = number ? layer.inputs : layer.inputs - 1;
        if (output < layer.outputs && input >= 0 && input < inputs) {
            const double unit = number + 1 < network.layers ? p.unit : 1.0;
            value = float(load(layer.weight + int64_t(output) * layer.inputs + input) * unit);
        }
    }
    store(reinterpret_cast<Stored*>(tiles) + index, O::packed(value));
}

template <typename O>
VINR_KERNEL(kPackThreads, 1)
pack_published_kernel(const PackParameters p) {
    constexpr int decode = DecodeSchedule::kStages * DecodeSchedule::kStageTiles * 256;
    constexpr int colour = ColourSchedule::kStages * ColourSchedule::kStageTiles * 256;
    const int index = int(block_x()) * kPackThreads + thread_x();
    if (index < decode) {
        pack_element<O, DecodeSchedule>(p, p.decode_tiles, index);
    } else if (index < decode + colour) {
        pack_element<O, ColourSchedule>(p, p.colour_tiles, index - decode);
    }
}

// A layer of any width: tiles row after row, channels in their own order.
struct PackLayerParameters {
    Layer layer;
    int inputs;  // columns of the weight that are packed
    double unit;
    unsigned char* tiles;
};

template <typename O>
VINR_KERNEL(kPackThreads, 1)
pack_layer_kernel(const PackLayerParameters p) {
    using Stored = typename O::Stored;
    const int64_t tile = block_x();
    const int columns = padded_width(p.layer.outputs) / 16;
    for (int i = thread_x(); i < 256; i += kPackThreads) {
        const TileElement at = O::tile_element(i, false);
        const int input = int(tile / columns) * 16 + at.k, output = int(tile % columns) * 16 + at.n;
        float value = 0;
        if (output < p.layer.outputs && input < p.inputs)
            value = float(load(p.layer.weight + int64_t(output) * p.layer.inputs + input) * p.unit);
        store(reinterpret_cast<Stored*>(p.tiles) + tile * 256 + i, O::packed(value));
    }
}

}  // namespace vinr::cuda
