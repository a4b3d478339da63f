// Starts the query on a node's tensors.
#include <algorithm>

#include "copies.cuh"
#include "inr_query/cuda.cuh"
#include "launch.h"

namespace vinr::tensorrt {
namespace {

constexpr size_t kHrBytes = size_t(256) << 20;  // of HR features of several images; one image may take more

// A network whose layers lie in `weights` one after the other, weight and bias in turn; moves on past them.
cuda::Network network(const std::vector<int32_t>& widths, const float*& weights) {
    cuda::Network n{};
    for (size_t i = 1; i < widths.size(); ++i) {
        const int inputs = widths[i - 1], outputs = widths[i];
        const float* const bias = weights ? weights + int64_t(inputs) * outputs : nullptr;
        n.layer[n.layers++] = {weights, bias, inputs, outputs};
        if (weights) weights = bias + outputs;
    }
    return n;
}

cuda::QueryArguments arguments(const InrQueryCall& c, const float* maps, const float* colours, const float* weights) {
    cuda::QueryArguments a{};
    a.batch = 1, a.times = c.times;
    a.map_height = c.map_height, a.map_width = c.map_width, a.map_channels = c.map_channels;
    a.lr_height = c.lr_height, a.lr_width = c.lr_width;
    a.height = c.height, a.width = c.width;
    a.upsample = c.upsample, a.omega = c.omega;
    a.maps = maps, a.colours = colours, a.time = c.time;
    a.feat = network(c.feat, weights), a.flow = network(c.flow, weights), a.encode = network(c.encode, weights);
    a.image = c.image, a.flows = c.flows;
    return a;
}

// The kernels read float32 from memory and round the factors of products themselves; float16 tensors are widened.
struct InrQueryParts {
    int64_t map_numbers, colour_numbers, weight_numbers;
    float *maps = nullptr, *colours = nullptr, *weights = nullptr;
    cuda::Workspace query;
    int at_once;  // images whose HR features there is room for
    size_t bytes;

    InrQueryParts(const InrQueryCall& c, const cuda::WorkspaceBytes& needed, void* workspace)
        : map_numbers(int64_t(c.map_height) * c.map_width * c.map_channels),
          colour_numbers(c.upsample > 1 ? int64_t(c.upsample) * c.upsample * c.map_height * c.map_width * 8 : 0),
          weight_numbers(parameters_of(c.feat) + parameters_of(c.flow) + parameters_of(c.encode)) {
        Parts parts(workspace);
        if (c.half) {
            maps = parts.take<float>(size_t(map_numbers) * sizeof(float));
            colours = parts.take<float>(size_t(colour_numbers) * sizeof(float));
            weights = parts.take<float>(size_t(weight_numbers) * sizeof(float));
        }
        at_once = int(std::clamp<size_t>(kHrBytes / needed.hr_image, 1, size_t(c.times)));
        // Not at_once images: of smaller ones more fit, and the room for the largest must do for them.
        const size_t hr = std::max(needed.hr_image, std::min(kHrBytes, needed.hr_image * size_t(c.times)));
        query = {parts.take<unsigned char>(needed.weights), parts.take<float>(needed.vectors), parts.take(hr)};
        bytes = parts.used();
    }
};

template <typename F>
auto with_operand(bool half, F&& f) {
    return half ? f(cuda::Operand<cuda::Half>()) : f(cuda::Operand<float>());
}

}  // namespace

size_t inr_query_workspace(const InrQueryCall& call) {
    const cuda::QueryArguments a = arguments(call, nullptr, nullptr, nullptr);
    return with_operand(call.half, [&](auto operand) {
        return InrQueryParts(call, cuda::InrQuery<decltype(operand)>(a).workspace(), nullptr).bytes;
    });
}

void inr_query(const InrQueryCall& call, void* workspace, void* stream) {
    const auto on = static_cast<cuda::Stream>(stream);
    const Device device = current_device();
    const cuda::DeviceLimits limits = {device.multiprocessors, device.shared_bytes};
    with_operand(call.half, [&](auto operand) {
        using Query = cuda::InrQuery<decltype(operand)>;
        const cuda::QueryArguments sizes = arguments(call, nullptr, nullptr, nullptr);
        const InrQueryParts parts(call, Query(sizes).workspace(), workspace);
        if (const char* reason = Query(sizes).refusal(limits)) throw std::runtime_error(reason);
        if (call.half) {
            widen(call.maps, parts.maps, parts.map_numbers, on);
            if (call.colours) widen(call.colours, parts.colours, parts.colour_numbers, on);
            widen(call.weights, parts.weights, parts.weight_numbers, on);
        }
        const auto wide = [&](const void* given, const float* widened) {
            return call.half && given ? widened : static_cast<const float*>(given);
        };
        const cuda::QueryArguments a = arguments(call, wide(call.maps, parts.maps), wide(call.colours, parts.colours),
                                                 wide(call.weights, parts.weights));
        const Query query(a);
        check(query.pack(parts.query, on));
        check(query.run(parts.query, parts.at_once, limits, on));
    });
}

}  // namespace vinr::tensorrt
