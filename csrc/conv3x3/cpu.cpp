// Binding of the 3x3 convolution on the CPU: checks, and maps whose channels lie side by side.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>

#include "common/cpu/binding.h"

namespace vinr {
namespace {

constexpr const char* kOp = "conv3x3";

// The tensor, or a copy of it whose channels lie side by side.
Tensor side_by_side(const Tensor& t) {
    return t.stride(1) == 1 || t.size(1) == 1 ? t : torch::stable::contiguous(t, MemoryFormat::ChannelsLast);
}

template <typename scalar_t>
ChannelsLast<scalar_t> channels_last(const Tensor& t) {
    return {numbers<scalar_t>(t), t.size(1), t.stride(0), t.stride(2), t.stride(3)};
}

// The taps of a weight's input side by side, and its inputs; its outputs may lie further apart.
Tensor with_inputs_together(const Tensor& weight) {
    const bool together = weight.stride(3) == 1 && weight.stride(2) == 3 && weight.stride(1) == 9;
    return together ? weight : torch::stable::contiguous(weight);
}

void check_map(const char* name, const Tensor& t, const Tensor& like, int64_t channels) {
    check_cpu(kOp, name, t);
    check_same_dtype(kOp, name, t, like);
    check_shape(kOp, name, t, "[B, C, h, w]", {like.size(0), channels, like.size(2), like.size(3)});
}

// Maps of a call, checked: of one size, and their channels side by side.
class Maps {
 public:
    explicit Maps(const std::vector<Tensor>& given) {
        STD_TORCH_CHECK(!given.empty(), kOp, ": a map is needed");
        check_float32_or_float64(kOp, "maps", given[0]);
        for (const Tensor& map : given) {
            check_rank(kOp, "maps", map, "[B, C, h, w]", 4);
            check_map("maps", map, given[0], map.size(1));
            channels += map.size(1);
            maps.push_back(side_by_side(map));
        }
    }

    const Tensor& first() const { return maps[0]; }

    template <typename scalar_t>
    std::vector<ChannelsLast<const scalar_t>> views() const {
        std::vector<ChannelsLast<const scalar_t>> views;
        for (const Tensor& map : maps) views.push_back(channels_last<const scalar_t>(map));
        return views;
    }

    // Puts them into the parameters of a kernel, which point into `views`.
    template <typename scalar_t, typename Parameters>
    void into(Parameters& p, const std::vector<ChannelsLast<const scalar_t>>& views) const {
        p.batch = maps[0].size(0), p.height = maps[0].size(2), p.width = maps[0].size(3);
        p.inputs = channels, p.maps = views.data(), p.map_count = int64_t(views.size());
    }

    int64_t channels = 0;

 private:
    std::vector<Tensor> maps;
};

void check_sizes(const Maps& maps, const std::vector<int64_t>& weight) {
    const Tensor& like = maps.first();
    STD_TORCH_CHECK(like.size(2) > 0 && like.size(3) > 0 && weight[0] > 0 && weight[1] > 0, kOp,
                    ": there must be pixels and channels, got maps of ", like.size(2), " x ", like.size(3),
                    " pixels, weight ", shape_string(weight));
}

// Fills `out`, whose channels lie side by side.
void conv3x3_into(Tensor& out, const std::vector<Tensor>& given_maps, const Tensor& given_weight,
                  std::optional<Tensor> bias, std::optional<Tensor> given_add, double slope,
                  const std::string& operands) {
    const Maps maps(given_maps);
    const Tensor& like = maps.first();
    check_cpu(kOp, "weight", given_weight);
    check_same_dtype(kOp, "weight", given_weight, like);
    check_rank(kOp, "weight", given_weight, "[O, C, 3, 3]", 4);
    const int64_t outputs = given_weight.size(0);
    check_shape(kOp, "weight", given_weight, "[O, C, 3, 3]", {outputs, maps.channels, 3, 3});
    check_sizes(maps, {outputs, maps.channels, 3, 3});
    const Tensor weight = with_inputs_together(given_weight);
    if (bias) {
        check_cpu(kOp, "bias", *bias);
        check_same_dtype(kOp, "bias", *bias, like);
        check_shape(kOp, "bias", *bias, "[O]", {outputs});
        bias = torch::stable::contiguous(*bias);
    }
    std::optional<Tensor> add;
    if (given_add) {
        check_map("add", *given_add, like, outputs);
        add = side_by_side(*given_add);
    }
    STD_TORCH_CHECK(slope >= 0, kOp, ": slope must be at least 0, got ", slope);
    check_map("out", out, like, outputs);
    STD_TORCH_CHECK(out.stride(1) == 1 || outputs <= 1, kOp, ": the channels of out must lie side by side");
    if (out.numel() == 0) return;
    with_dtype(like, [&](auto zero) {
        using scalar_t = decltype(zero);
        const auto views = maps.views<scalar_t>();
        Conv3x3Parameters<scalar_t> p{};
        maps.into(p, views);
        p.outputs = outputs, p.last_row = p.height;
        p.weight = numbers<const scalar_t>(weight), p.weight_stride = weight.stride(0);
        p.bias = numbers<const scalar_t>(bias);
        if (add) p.add = channels_last<const scalar_t>(*add);
        p.slope = scalar_t(slope);
        p.out = channels_last<scalar_t>(out);
        run_kernel(&Kernels<scalar_t>::conv3x3, rounds_to_bfloat16(kOp, operands), p);
    });
}

Tensor conv3x3(const std::vector<Tensor>& maps, const Tensor& weight, std::optional<Tensor> bias,
               std::optional<Tensor> add, double slope, const std::string& operands) {
    STD_TORCH_CHECK(!maps.empty(), kOp, ": a map is needed");
    check_rank(kOp, "maps", maps[0], "[B, C, h, w]", 4);
    check_rank(kOp, "weight", weight, "[O, C, 3, 3]", 4);
    Tensor out = new_empty(maps[0], {maps[0].size(0), weight.size(0), maps[0].size(2), maps[0].size(3)}, true);
    conv3x3_into(out, maps, weight, bias, add, slope, operands);
    return out;
}

Tensor conv3x3_weight(const Tensor& given_grad, const std::vector<Tensor>& given_maps, const std::string& operands) {
    rounds_to_bfloat16(kOp, operands);  // only checked: a gradient is a long sum
    const Maps maps(given_maps);
    check_rank(kOp, "grad_output", given_grad, "[B, O, h, w]", 4);
    check_map("grad_output", given_grad, maps.first(), given_grad.size(1));
    const std::vector<int64_t> shape{given_grad.size(1), maps.channels, 3, 3};
    check_sizes(maps, shape);
    const Tensor grad = side_by_side(given_grad);
    Tensor weight = torch::stable::new_empty(grad, shape);
    with_dtype(grad, [&](auto zero) {
        using scalar_t = decltype(zero);
        const auto views = maps.views<scalar_t>();
        Conv3x3WeightGradient<scalar_t> p{};
        maps.into(p, views);
        p.outputs = shape[0];
        p.grad = channels_last<const scalar_t>(grad);
        p.weight = numbers<scalar_t>(weight);
        run_kernel(&Kernels<scalar_t>::conv3x3_weight, false, p);
    });
    return weight;
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // activation(convolution of maps [B, C_i, h, w], joined, by weight [O, sum C_i, 3, 3], + bias + add [B, O, h, w]),
    // padded by 1; the activation multiplies what is not positive by slope. Channels last. operands: operands.h.
    m.def("conv3x3(Tensor[] maps, Tensor weight, Tensor? bias, Tensor? add, float slope, str operands) -> Tensor");
    // The gradient of that weight, of the maps and the gradient of the convolution's sums.
    m.def("conv3x3_weight(Tensor grad_output, Tensor[] maps, str operands) -> Tensor");
    // The convolution into memory that is there, which may be that of add and may not be that of a map.
    m.def(
        "conv3x3_into(Tensor(a!) out, Tensor[] maps, Tensor weight, Tensor? bias, Tensor? add, float slope, "
        "str operands) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("conv3x3", TORCH_BOX(&vinr::conv3x3));
    m.impl("conv3x3_weight", TORCH_BOX(&vinr::conv3x3_weight));
    m.impl("conv3x3_into", TORCH_BOX(&vinr::conv3x3_into));
}
