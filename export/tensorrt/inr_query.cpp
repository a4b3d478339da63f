#include "inr_query.h"

#include <cmath>

#include "inr_query/cuda_parameters.cuh"

namespace vinr::tensorrt {
namespace {

constexpr int32_t kColourChannels = 6, kStoredColours = 8;  // both frames'; two zeros follow
constexpr int32_t kWidest = 1 << 16;                        // of a layer, so that products of widths fit

void check_widths(const char* name, const Integers& widths, int32_t inputs, int32_t outputs) {
    bool positive = true;
    for (const int32_t width : widths) positive = positive && width >= 1 && width <= kWidest;
    if (!positive || widths.size() < 3 || widths.size() > cuda::kMaxLayers + 1)
        throw std::invalid_argument(std::string(name) + " must be the widths of an input and of 2 to " +
                                    std::to_string(cuda::kMaxLayers) + " layers");
    if (widths[0] != inputs)
        throw std::invalid_argument(std::string(name) + " must start with " + std::to_string(inputs) + ", got " +
                                    std::to_string(widths[0]));
    if (outputs && widths.back() != outputs)
        throw std::invalid_argument(std::string(name) + " must end in " + std::to_string(outputs) + ", got " +
                                    std::to_string(widths.back()));
}

// Of the maps: what the first layer of each network takes, encode's twice.
int64_t map_channels(const InrQueryAttributes& a) {
    return padded_width(a.feat_widths[1]) + padded_width(a.flow_widths[1]) + 2 * padded_width(a.encode_widths[1]);
}

int counted(int64_t size) {
    if (size < 1 || size > INT32_MAX)
        throw std::invalid_argument("a size of " + std::to_string(size) + " is not one that the kernels count");
    return int(size);
}

}  // namespace

void InrQueryAttributes::check() const {
    check_widths("feat_widths", feat_widths, 3, 0);
    const int32_t features = feat_widths.back();
    const int32_t sampled = !flow_widths.empty() && flow_widths[0] == features + 1 ? 0 : kColourChannels;
    check_widths("flow_widths", flow_widths, features + sampled + 1, 4);
    check_widths("encode_widths", encode_widths, 2 * (features + sampled) + 1, 0);
    if (!std::isfinite(omega) || omega <= 0) throw std::invalid_argument("omega must be positive");
}

void InrQuery::check_inputs(int32_t count) const {
    const int32_t wanted = attributes.colours() ? kColours + 1 : kColours;
    if (count != wanted)
        throw std::invalid_argument(std::string("inputs must be maps, times, weights, lr_rows, lr_columns, rows, "
                                                "columns") +
                                    (attributes.colours() ? ", colours" : " without colours") + ", got " +
                                    std::to_string(count));
}

void InrQuery::output_shapes(const nvinfer1::DimsExprs* inputs, nvinfer1::DimsExprs* outputs,
                             nvinfer1::IExprBuilder& builder) const {
    for (const Input position : {kTimes, kRows, kColumns}) {
        if (inputs[position].nbDims != 1) throw std::invalid_argument("times, rows and columns have one size");
    }
    const int32_t channels[] = {attributes.encode_widths.back(), attributes.flow_widths.back()};
    for (const int i : {0, 1}) {
        outputs[i].nbDims = 5;
        outputs[i].d[0] = builder.constant(1);
        outputs[i].d[1] = inputs[kTimes].d[0];
        outputs[i].d[2] = builder.constant(channels[i]);
        outputs[i].d[3] = inputs[kRows].d[0];
        outputs[i].d[4] = inputs[kColumns].d[0];
    }
}

bool InrQuery::supports(int32_t position, const Descriptions& all, int32_t inputs) const {
    const auto& tensor = all[size_t(position)];
    if (tensor.format != TensorFormat::kLINEAR) return false;
    if (position == kMaps) return is_float_type(tensor.type);
    const bool like_maps = position == kWeights || (position == kColours && position < inputs);
    return tensor.type == (like_maps ? all[kMaps].type : DataType::kFLOAT);
}

InrQueryCall InrQuery::call(const Descriptions& all, int32_t inputs) const {
    const auto dims = [&](int32_t position) -> const Dims& { return all[size_t(position)].dims; };
    const Dims& maps = dims(kMaps);
    const char* const names[] = {"maps", "times", "weights", "lr_rows", "lr_columns", "rows", "columns"};
    check_rank("maps", maps, "[1, h', w', M]", 4);
    for (const Input position : {kTimes, kWeights, kLrRows, kLrColumns, kRows, kColumns})
        check_rank(names[position], dims(position), "[N]", 1);
    const InrQueryAttributes& a = attributes;
    check_shape("maps", maps, "[1, h', w', M]", {1, maps.d[1], maps.d[2], map_channels(a)});
    check_shape("weights", dims(kWeights), "[N]",
                {parameters_of(a.feat_widths) + parameters_of(a.flow_widths) + parameters_of(a.encode_widths)});
    InrQueryCall c{};
    c.times = int(dims(kTimes).d[0]);
    c.map_height = counted(maps.d[1]), c.map_width = counted(maps.d[2]), c.map_channels = counted(maps.d[3]);
    c.lr_height = counted(dims(kLrRows).d[0]), c.lr_width = counted(dims(kLrColumns).d[0]);
    c.height = counted(dims(kRows).d[0]), c.width = counted(dims(kColumns).d[0]);
    if (c.lr_height > c.map_height || c.lr_width > c.map_width)
        throw std::invalid_argument("lr_rows and lr_columns must lie within maps " + shape_text(maps.d, 4) + ", got " +
                                    std::to_string(c.lr_height) + " and " + std::to_string(c.lr_width));
    c.upsample = 1;
    if (inputs > kColours) {
        const Dims& colours = dims(kColours);
        check_rank("colours", colours, "[1, u h', u w', 8]", 4);
        const int64_t u = colours.d[1] / maps.d[1];
        check_shape("colours", colours, "[1, u h', u w', 8]", {1, u * maps.d[1], u * maps.d[2], kStoredColours});
        c.upsample = counted(u);
    }
    const Dims &image = dims(inputs), &flow = dims(inputs + 1);
    check_shape("image", image, "[1, N, C, HH, WW]", {1, c.times, a.encode_widths.back(), c.height, c.width});
    check_shape("flow", flow, "[1, N, 4, HH, WW]", {1, c.times, a.flow_widths.back(), c.height, c.width});
    c.omega = a.omega;
    c.half = all[kMaps].type == DataType::kHALF;
    c.feat = a.feat_widths, c.flow = a.flow_widths, c.encode = a.encode_widths;
    return c;
}

size_t InrQuery::workspace_bytes(const Descriptions& all, int32_t inputs) const {
    const InrQueryCall c = call(all, inputs);
    return c.times ? inr_query_workspace(c) : 0;
}

void InrQuery::run(const Descriptions& all, int32_t inputs, const void* const* input, void* const* output,
                   void* workspace, cudaStream_t stream) const {
    InrQueryCall c = call(all, inputs);
    if (!c.times) return;
    c.maps = input[kMaps], c.weights = input[kWeights];
    c.colours = inputs > kColours ? input[kColours] : nullptr;
    c.time = static_cast<const float*>(input[kTimes]);
    c.image = static_cast<float*>(output[0]), c.flows = static_cast<float*>(output[1]);
    inr_query(c, workspace, stream);
}

}  // namespace vinr::tensorrt
