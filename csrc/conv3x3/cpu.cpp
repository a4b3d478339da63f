// Binding of the 3x3 convolution on the CPU.
#include <torch/csrc/stable/library.h>

#include "conv3x3/cpu_arguments.h"

namespace vinr {
namespace {

constexpr const char* kOp = "conv3x3";

// A map's rows, moved so that row 0 is what row `first` was.
template <typename scalar_t>
ChannelsLast<scalar_t> from_row(ChannelsLast<scalar_t> map, int64_t first) {
    map.data -= first * map.row;
    return map;
}

// Fills `out`, whose channels lie side by side, with as many rows of the result as it has, from `first_row` on.
void conv3x3_into(Tensor& out, const std::vector<Tensor>& maps, const Tensor& weight, std::optional<Tensor> bias,
                  std::optional<Tensor> add, double slope, const std::string& operands, int64_t first_row) {
    check_rank(kOp, "out", out, "[B, O, rows, w]", 4);
    const Conv3x3Arguments a(kOp, maps, weight, bias, add, out.size(2));
    STD_TORCH_CHECK(slope >= 0, kOp, ": slope must be at least 0, got ", slope);
    check_cpu(kOp, "out", out);
    check_same_dtype(kOp, "out", out, a.maps.first());
    const Tensor& like = a.maps.first();
    const int64_t rows = out.size(2), last_row = first_row + rows;
    check_shape(kOp, "out", out, "[B, O, rows, w]", {like.size(0), a.outputs, rows, like.size(3)});
    STD_TORCH_CHECK(first_row >= 0 && last_row <= like.size(2), kOp, ": rows ", first_row, " to ", last_row,
                    " must lie in the maps' ", like.size(2));
    STD_TORCH_CHECK(out.stride(1) == 1 || a.outputs <= 1, kOp, ": the channels of out must lie side by side");
    if (out.numel() == 0) return;
    with_dtype(out, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.slope = scalar_t(slope);
        p.first_row = first_row, p.last_row = last_row;
        p.out = from_row(channels_last_view<scalar_t>(out), first_row);
        if (p.add.data) p.add = from_row(p.add, first_row);
        run_kernel(&Kernels<scalar_t>::conv3x3, rounds_to_bfloat16(kOp, operands), p);
    });
}

Tensor conv3x3(const std::vector<Tensor>& maps, const Tensor& weight, std::optional<Tensor> bias,
               std::optional<Tensor> add, double slope, const std::string& operands) {
    STD_TORCH_CHECK(!maps.empty(), kOp, ": a map is needed");
    check_rank(kOp, "maps", maps[0], "[B, C, h, w]", 4);
    check_rank(kOp, "weight", weight, "[O, C, 3, 3]", 4);
    Tensor out = new_result(maps[0], {maps[0].size(0), weight.size(0), maps[0].size(2), maps[0].size(3)}, true);
    conv3x3_into(out, maps, weight, bias, add, slope, operands, 0);
    return out;
}

Tensor conv3x3_weight(const Tensor& given_grad, const std::vector<Tensor>& given_maps, const std::string& operands) {
    const bool bfloat16 = rounds_to_bfloat16(kOp, operands);
    const Conv3x3Maps maps(kOp, given_maps);
    check_rank(kOp, "grad_output", given_grad, "[B, O, h, w]", 4);
    check_map(kOp, "grad_output", given_grad, maps.first(), given_grad.size(1));
    const std::vector<int64_t> shape = maps.weight_shape(kOp, given_grad.size(1));
    const Tensor grad = side_by_side(given_grad);
    Tensor weight = new_result(grad, shape);
    with_dtype(grad, [&](auto zero) {
        using scalar_t = decltype(zero);
        Conv3x3WeightGradient<scalar_t> p{};
        maps.into<scalar_t>(p);
        p.outputs = shape[0];
        p.grad = channels_last_view<const scalar_t>(grad);
        p.weight = numbers<scalar_t>(weight);
        run_kernel(&Kernels<scalar_t>::conv3x3_weight, bfloat16, p);
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
    // Rows of the convolution, as many as out and add have from first_row on, into memory that is there, which may be
    // that of add and may not be that of a map.
    m.def(
        "conv3x3_into(Tensor(a!) out, Tensor[] maps, Tensor weight, Tensor? bias, Tensor? add, float slope, "
        "str operands, int first_row) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("conv3x3", TORCH_BOX(&vinr::conv3x3));
    m.impl("conv3x3_weight", TORCH_BOX(&vinr::conv3x3_weight));
    m.impl("conv3x3_into", TORCH_BOX(&vinr::conv3x3_into));
}
