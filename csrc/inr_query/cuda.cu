// Binding of the query on CUDA, forward: checks, memory, and the launches. Gradients are other backends'.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "common/cuda/binding.h"
#include "inr_query/arguments.h"
#include "inr_query/cuda.cuh"
#include "operands.h"

namespace vinr {
namespace {

constexpr const char* kOp = "inr_query";
constexpr size_t kHrBytes = size_t(256) << 20;  // of HR features of several images; one image may take more

cuda::Precision precision_of(Operands operands) {
    switch (operands) {
        case Operands::kTf32:
            return cuda::Precision::kTf32;
        case Operands::kFloat16:
            return cuda::Precision::kFloat16;
        case Operands::kBFloat16:
            return cuda::Precision::kBFloat16;
        default:
            return cuda::Precision::kFloat32;
    }
}

int counted(int64_t size) {
    STD_TORCH_CHECK(size <= INT32_MAX, kOp, ": a size of ", size, " is beyond what the cuda backend counts");
    return int(size);
}

cuda::Network network(const char* name, const std::vector<Tensor>& tensors, const Tensor& maps) {
    STD_TORCH_CHECK(tensors.size() <= 2 * cuda::kMaxLayers, kOp, ": ", name, " has ", tensors.size() / 2,
                    " layers, the cuda backend takes ", cuda::kMaxLayers);
    cuda::Network n{};
    for (size_t i = 0; i < tensors.size(); i += 2) {
        for (size_t k = i; k < i + 2; ++k) check_cuda(kOp, name, tensors[k], maps);
        n.layer[n.layers++] = {numbers<const float>(tensors[i]), numbers<const float>(tensors[i + 1]),
                               counted(tensors[i].size(1)), counted(tensors[i].size(0))};
    }
    return n;
}

cuda::DeviceLimits limits(int device) {
    int multiprocessors = 0, shared = 0;
    check_launch(kOp, cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
    check_launch(kOp, cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    return {multiprocessors, size_t(shared)};
}

std::tuple<Tensor, Tensor> inr_query(const Tensor& maps, std::optional<Tensor> colours, const Tensor& times,
                                     std::vector<int64_t> lr_size, std::vector<int64_t> size, int64_t frame_upsample,
                                     std::vector<Tensor> feat, std::vector<Tensor> flow, std::vector<Tensor> encode,
                                     double omega, std::string operands) {
    const cuda::Precision precision = precision_of(operands_of(kOp, operands));
    check_cuda(kOp, "maps", maps, maps);
    check_cuda(kOp, "times", times, maps);
    if (colours) check_cuda(kOp, "colours", *colours, maps);
    STD_TORCH_CHECK(maps.scalar_type() == torch::headeronly::ScalarType::Float, kOp,
                    ": maps must be float32 on the cuda backend");
    const QueryTensors t = checked_query(maps, colours, times, lr_size, size, frame_upsample, feat, flow, encode);
    cuda::QueryArguments a{};
    a.batch = counted(maps.size(0)), a.times = counted(times.size(0));
    a.map_height = counted(maps.size(1)), a.map_width = counted(maps.size(2));
    a.map_channels = counted(maps.size(3));
    a.lr_height = counted(lr_size[0]), a.lr_width = counted(lr_size[1]);
    a.height = counted(size[0]), a.width = counted(size[1]);
    a.upsample = t.colours ? counted(frame_upsample) : 1;
    a.omega = float(omega);
    a.maps = numbers<const float>(t.maps);
    a.colours = numbers<const float>(t.colours);
    a.time = numbers<const float>(t.times);
    a.feat = network("feat", t.feat, maps), a.flow = network("flow", t.flow, maps);
    a.encode = network("encode", t.encode, maps);

    const OnDeviceOf device(maps);
    const auto empty = [&](std::vector<int64_t> shape) { return torch::stable::new_empty(t.maps, shape); };
    Tensor image = empty({maps.size(0), times.size(0), t.encode.back().size(0), size[0], size[1]});
    Tensor flows = empty({maps.size(0), times.size(0), 4, size[0], size[1]});
    const int images = counted(maps.size(0) * times.size(0));
    if (images == 0) return {image, flows};
    a.image = numbers<float>(image);
    a.flows = numbers<float>(flows);
    with_operand(precision, [&](auto operand) {
        const cuda::InrQuery<decltype(operand)> query(a);
        const cuda::DeviceLimits device_limits = limits(maps.get_device_index());
        const char* refusal = query.refusal(device_limits);
        STD_TORCH_CHECK(refusal == nullptr, kOp, ": ", refusal);
        const cuda::WorkspaceBytes bytes = query.workspace();
        const int at_once = int(std::clamp<size_t>(kHrBytes / bytes.hr_image, 1, size_t(images)));
        const auto scratch = [&](size_t count) { return empty({int64_t((count + 3) / 4)}); };
        Tensor weights = scratch(bytes.weights), vectors = scratch(bytes.vectors);
        Tensor hr = scratch(bytes.hr_image * size_t(at_once));
        const cuda::Workspace workspace = {numbers<unsigned char>(weights), numbers<float>(vectors),
                                           hr.mutable_data_ptr()};
        check_launch(kOp, query.pack(workspace, device.stream()));
        check_launch(kOp, query.run(workspace, at_once, device_limits, device.stream()));
    });
    return {image, flows};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_IMPL(vinr, CUDA, m) { m.impl("inr_query", TORCH_BOX(&vinr::inr_query)); }
