// The query's host side: what memory it needs, and its launches. No framework here; an op and a plugin are built on it.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "inr_query/cuda_any_width.cuh"
#include "inr_query/cuda_pack.cuh"
#include "inr_query/cuda_published.cuh"

namespace vinr::cuda {

// What the factors of products are rounded to; sums, phases, coordinates and flow are float32 always.
enum class Precision { kFloat32, kTf32, kFloat16, kBFloat16 };

// Of the GPU that runs it.
struct DeviceLimits {
    int multiprocessors;
    size_t shared_bytes;  // that a block may use if it asks
};

// Memory that a query works in, on its device, each aligned to 16 bytes.
struct Workspace {
    unsigned char* weights;
    float* vectors;
    void* hr;
};

// How much of it; the HR feature of one image, of which as many are decoded at once as there is room for.
struct WorkspaceBytes {
    size_t weights, vectors, hr_image;
};

template <typename O>
class InrQuery {
 public:
    explicit InrQuery(const QueryArguments& arguments) : a_(arguments) {}

    // Whether the networks have the published sizes, for which there are kernels of their own.
    bool published() const {
        return widths_are(a_.feat, {kHidden, kHidden, kWide, kFeatures}) &&
               widths_are(a_.flow, {kHidden, kHidden, kWide, 4}) &&
               widths_are(a_.encode, {kHidden, kHidden, kWide, kWide, a_.encode.last().outputs}) &&
               a_.encode.last().outputs <= 8;
    }

    // Why no kernel takes these arguments; null if one does.
    const char* refusal(const DeviceLimits& device) const {
        if (pixels(a_.height, a_.width) >= kMostPixels || pixels(a_.map_height, a_.map_width) >= kMostPixels ||
            pixels(int64_t(a_.upsample) * a_.map_height, int64_t(a_.upsample) * a_.map_width) >= kMostPixels) {
            return "a map or the output has 2^30 - 1 pixels or more";
        }
        if (int64_t(a_.map_width) * a_.map_channels > INT32_MAX || int64_t(a_.width) * padded_features() > INT32_MAX)
            return "a row of a map has 2^31 numbers or more";
        if (any_shared_bytes(1) > device.shared_bytes && !published())
            return "a layer is too wide for the GPU's shared memory";
        return nullptr;
    }

    WorkspaceBytes workspace() const {
        const size_t hr_image = size_t(a_.height) * a_.width * padded_features() * sizeof(Stored);
        if (published()) return {kDecodeBytes + kColourBytes, kPublishedVectors * sizeof(float), hr_image};
        size_t tiles = 0, vectors = 0;
        for (const Network* n : {&a_.feat, &a_.flow, &a_.encode}) {
            for (int l = 0; l < n->layers; ++l) {
                tiles += size_t(product_inputs(*n, l) / 16) * (padded_width(n->layer[l].outputs) / 16);
                vectors += padded_width(n->layer[l].outputs);
            }
            vectors += padded_width(n->layer[0].outputs);  // the time's column
        }
        vectors += 2 * padded_width(a_.feat.layer[0].outputs);
        return {tiles * O::kTileBytes, vectors * sizeof(float), hr_image};
    }

    // Packs the weights into the workspace: once for any number of runs.
    Error pack(const Workspace& w, Stream stream) const {
        return published() ? pack_published(w, stream) : plan_any_width(w, true, stream, nullptr);
    }

    // Decodes all images; the workspace has room for the HR features of `images` at once.
    Error run(const Workspace& w, int images, const DeviceLimits& device, Stream stream) const {
        QueryParameters p(a_);
        p.unit = float(unit());
        p.hr = w.hr;
        AnyWidthParameters any{};
        if (!published()) plan_any_width(w, false, stream, &any);
        const int all = a_.batch * a_.times;
        for (p.first_image = 0; p.first_image < all; p.first_image += images) {
            p.images = all - p.first_image < images ? all - p.first_image : images;
            const Error error = published() ? run_published(p, w, device, stream) : run_any(any, p, device, stream);
            if (error != kSuccess) return error;
        }
        return kSuccess;
    }

 private:
    using Stored = typename O::Stored;
    using Decode = DecodePass<O>;
    using Colour = ColourPass<O>;
    static constexpr int64_t kMostPixels = (int64_t(1) << 30) - 1;
    static constexpr size_t kDecodeBytes = size_t(DecodeSchedule::kStages) * Decode::kStageBytes;
    static constexpr size_t kColourBytes = size_t(ColourSchedule::kStages) * Colour::kStageBytes;
    static constexpr int kDecodeVectors = (DecodeVectors::kCount + 3) / 4 * 4;
    static constexpr int kZeros = kDecodeVectors + (ColourVectors::kCount + 3) / 4 * 4;
    static constexpr int kPublishedVectors = kZeros + kFeatures;

    static int64_t pixels(int64_t height, int64_t width) { return height * width; }

    static bool widths_are(const Network& network, std::initializer_list<int> widths) {
        if (network.layers != int(widths.size())) return false;
        const int* wanted = widths.begin();
        for (int l = 0; l < network.layers; ++l)
            if (network.layer[l].outputs != wanted[l]) return false;
        return true;
    }

    double unit() const { return double(a_.omega) * O::Sine::kUnit; }
    int padded_features() const { return padded_width(a_.feat.last().outputs); }

    // Columns of a layer that are a product's, padded: not those of feat's first layer, nor the time's.
    int product_inputs(const Network& network, int l) const {
        if (l) return padded_width(network.layer[l].inputs);
        return &network == &a_.feat ? 0 : padded_width(network.layer[0].inputs - 1);
    }

    Error pack_published(const Workspace& w, Stream stream) const {
        float* const decode = w.vectors;
        float* const colour = w.vectors + kDecodeVectors;
        VectorParameters v{};
        const auto column = [&](const Layer& layer, int number, float* to) {
            v.add(layer.weight + number, layer.inputs, kHidden, kHidden, unit(), to);
        };
        const auto bias = [&](const Network& network, int l, float* to) {
            const Layer& layer = network.layer[l];
            const bool last = l + 1 == network.layers;
            const int padded = last && layer.outputs < 8 ? 8 : layer.outputs;
            v.add(layer.bias, 1, layer.outputs, padded, last ? 1.0 : unit(), to);
        };
        const Layer& feat = a_.feat.layer[0];
        column(feat, 0, decode + DecodeVectors::kRelY);
        column(feat, 1, decode + DecodeVectors::kRelX);
        column(feat, 2, decode + DecodeVectors::kFeatTime);
        column(a_.flow.layer[0], a_.flow.layer[0].inputs - 1, decode + DecodeVectors::kFlowTime);
        column(a_.encode.layer[0], a_.encode.layer[0].inputs - 1, colour + ColourVectors::kTime);
        const int feats[] = {DecodeVectors::kFeat0, DecodeVectors::kFeat1, DecodeVectors::kFeat2,
                             DecodeVectors::kFeat3};
        const int flows[] = {DecodeVectors::kFlow0, DecodeVectors::kFlow1, DecodeVectors::kFlow2,
                             DecodeVectors::kFlow3};
        const int encodes[] = {ColourVectors::kEncode0, ColourVectors::kEncode1, ColourVectors::kEncode2,
                               ColourVectors::kEncode3, ColourVectors::kEncode4};
        for (int l = 0; l < 4; ++l) bias(a_.feat, l, decode + feats[l]), bias(a_.flow, l, decode + flows[l]);
        for (int l = 0; l < 5; ++l) bias(a_.encode, l, colour + encodes[l]);
        v.add(nullptr, 0, 0, kFeatures, 1.0, w.vectors + kZeros);
        const Error error =
            launch(pack_vectors_kernel<kPackThreads>, v, {unsigned(v.vectors)}, kPackThreads, 0, stream);
        if (error != kSuccess) return error;
        const PackParameters p = {a_.feat, a_.flow, a_.encode, unit(), w.weights, w.weights + kDecodeBytes};
        constexpr int tiles = DecodeSchedule::kStages * DecodeSchedule::kStageTiles +
                              ColourSchedule::kStages * ColourSchedule::kStageTiles;
        return launch(pack_published_kernel<O>, p, {unsigned(tiles * 256 / kPackThreads)}, kPackThreads, 0, stream);
    }

    // One pass over tiles of 16 x (8 kRowTiles) pixels.
    template <typename ThisPass>
    static Error run_pass_on(void (*kernel)(QueryParameters), QueryParameters p, const unsigned char* weights,
                             const float* vectors, const DeviceLimits& device, Stream stream) {
        p.weights = weights;
        p.vectors = vectors;
        p.resident = ThisPass::shared_bytes(true) <= device.shared_bytes;
        constexpr int across = 8 * kWarpsAcross, down = ThisPass::kRows * kWarpsDown;
        p.tiles_x = (p.arguments.width + across - 1) / across;
        p.tiles_y = (p.arguments.height + down - 1) / down;
        const unsigned tiles = unsigned(p.tiles_x) * unsigned(p.tiles_y) * unsigned(p.images);
        const unsigned most = unsigned(device.multiprocessors);  // one block fills the registers of one
        return launch(kernel, p, {tiles < most ? tiles : most}, kThreads, ThisPass::shared_bytes(p.resident), stream);
    }

    static Error run_published(QueryParameters p, const Workspace& w, const DeviceLimits& device, Stream stream) {
        p.zeros = w.vectors + kZeros;
        const Error error = run_pass_on<Decode>(decode_kernel<O>, p, w.weights, w.vectors, device, stream);
        if (error != kSuccess) return error;
        return run_pass_on<Colour>(colour_kernel<O>, p, w.weights + kDecodeBytes, w.vectors + kDecodeVectors, device,
                                   stream);
    }

    int any_stride() const {
        int widest = 0;
        for (const Network* n : {&a_.feat, &a_.flow, &a_.encode}) {
            for (int l = 0; l < n->layers; ++l) {
                const int inputs = product_inputs(*n, l), outputs = padded_width(n->layer[l].outputs);
                widest = widest < inputs ? inputs : widest;
                widest = widest < outputs ? outputs : widest;
            }
        }
        return widest + 8;  // rows of a fragment's quad then lie in different banks
    }
    size_t any_shared_bytes(int warps) const { return size_t(warps) * 2 * kAnyRows * any_stride() * sizeof(float); }

    // Where weights and vectors of any widths stand in the workspace; packs them there, or says where they are.
    Error plan_any_width(const Workspace& w, bool pack, Stream stream, AnyWidthParameters* plan) const {
        VectorParameters v{};
        float* vector = w.vectors;
        unsigned char* tiles = w.weights;
        const auto add = [&](const float* from, int stride, int count, double unit) {
            float* const to = vector;
            v.add(from, stride, count, padded_width(count), unit, to);
            vector += padded_width(count);
            return to;
        };
        AnyWidthParameters p{};
        const Network* networks[] = {&a_.feat, &a_.flow, &a_.encode};
        PackedNetwork* packed[] = {&p.feat, &p.flow, &p.encode};
        for (int i = 0; i < 3; ++i) {
            const Network& n = *networks[i];
            packed[i]->layers = n.layers;
            for (int l = 0; l < n.layers; ++l) {
                const Layer& layer = n.layer[l];
                const double scale = l + 1 < n.layers ? unit() : 1.0;
                const int inputs = product_inputs(n, l), outputs = padded_width(layer.outputs);
                packed[i]->layer[l] = {tiles, add(layer.bias, 1, layer.outputs, scale), inputs, outputs};
                const unsigned count = unsigned(inputs / 16) * unsigned(outputs / 16);
                if (pack && count) {
                    const PackLayerParameters one = {layer, l ? layer.inputs : layer.inputs - 1, scale, tiles};
                    const Error error = launch(pack_layer_kernel<O>, one, {count}, kPackThreads, 0, stream);
                    if (error != kSuccess) return error;
                }
                tiles += size_t(count) * O::kTileBytes;
            }
            const Layer& first = n.layer[0];
            packed[i]->time = add(first.weight + first.inputs - 1, first.inputs, first.outputs, unit());
        }
        const Layer& feat = a_.feat.layer[0];
        p.rel_y = add(feat.weight, feat.inputs, feat.outputs, unit());
        p.rel_x = add(feat.weight + 1, feat.inputs, feat.outputs, unit());
        p.features = a_.feat.last().outputs;
        p.padded_features = padded_features();
        p.stride = any_stride();
        if (plan) *plan = p;
        return pack ? launch(pack_vectors_kernel<kPackThreads>, v, {unsigned(v.vectors)}, kPackThreads, 0, stream)
                    : kSuccess;
    }

    Error run_any(AnyWidthParameters any, const QueryParameters& p, const DeviceLimits& device, Stream stream) const {
        any.query = p;
        any.warps = kAnyMaxWarps;
        while (any.warps > 1 && any_shared_bytes(any.warps) > device.shared_bytes) any.warps /= 2;
        any.query.tiles_x = (a_.width + 8 * any.warps - 1) / (8 * any.warps);
        any.query.tiles_y = (a_.height + 1) / 2;
        const unsigned blocks = unsigned(any.query.tiles_x) * unsigned(any.query.tiles_y) * unsigned(p.images);
        const size_t shared = any_shared_bytes(any.warps);
        const Error error = launch(decode_any_width_kernel<O>, any, {blocks}, any.warps * kWarp, shared, stream);
        if (error != kSuccess) return error;
        return launch(colour_any_width_kernel<O>, any, {blocks}, any.warps * kWarp, shared, stream);
    }

    const QueryArguments& a_;
};

// Calls f(Operand<T>()) for a precision.
template <typename F>
auto with_operand(Precision precision, F&& f) {
    switch (precision) {
        case Precision::kTf32:
            return f(Operand<Tf32>());
        case Precision::kFloat16:
            return f(Operand<Half>());
        case Precision::kBFloat16:
            return f(Operand<BFloat16>());
        default:
            return f(Operand<float>());
    }
}

}  // namespace vinr::cuda
