// Binding of the phase-linear op on the CPU: checks, and which output pixels each input pixel holds.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <numeric>
#include <optional>
#include <tuple>

#include "common/cpu/binding.h"

namespace vinr {
namespace {

constexpr const char* kOp = "phase_linear";

PhaseAxis axis_of(int64_t inputs, int64_t outputs) {
    const int64_t divisor = std::gcd(inputs, outputs);
    PhaseAxis axis{inputs, outputs, outputs / divisor, inputs / divisor, {}};
    for (int64_t i = 0, o = 0; i <= inputs; ++i) {
        // Output o's centre lies (2 o + 1) inputs / (2 outputs) input pixels from the edge.
        while (o < outputs && (2 * o + 1) * inputs < 2 * outputs * i) ++o;
        axis.first.push_back(o);
    }
    return axis;
}

// An op's arguments, checked; a pixel's channels side by side, and all but the maps contiguous.
class Arguments {
 public:
    Arguments(const Tensor& given_maps, const Tensor& given_weights, const std::optional<Tensor>& given_base,
              const std::vector<int64_t>& size) {
        check_float32_or_float64(kOp, "maps", given_maps);
        check_cpu(kOp, "maps", given_maps);
        check_rank(kOp, "maps", given_maps, "[B, h, w, K]", 4);
        const auto sizes = given_maps.sizes();
        STD_TORCH_CHECK(sizes[1] > 0 && sizes[2] > 0 && sizes[3] > 0, kOp, ": maps must have pixels and channels, got ",
                        shape_string(sizes));
        STD_TORCH_CHECK(size.size() == 2 && size[0] > 0 && size[1] > 0, kOp,
                        ": size must be two numbers of at least 1, got ", shape_string(size));
        y = axis_of(sizes[1], size[0]), x = axis_of(sizes[2], size[1]);
        check_cpu(kOp, "weights", given_weights);
        check_same_dtype(kOp, "weights", given_weights, given_maps);
        check_rank(kOp, "weights", given_weights, "[Py, Px, C, K]", 4);
        check_shape(kOp, "weights", given_weights, "[Py, Px, C, K]",
                    {y.phases, x.phases, given_weights.size(2), sizes[3]});
        const bool side_by_side = given_maps.stride(3) == 1 || sizes[3] == 1;
        maps = side_by_side ? given_maps : torch::stable::contiguous(given_maps);
        weights = torch::stable::contiguous(given_weights);
        if (!given_base) return;
        check_cpu(kOp, "base", *given_base);
        check_same_dtype(kOp, "base", *given_base, given_maps);
        check_shape(kOp, "base", *given_base, "[B, C, H, W]", shape());
        base = torch::stable::contiguous(*given_base);
    }

    // That of the output.
    std::vector<int64_t> shape() const { return {maps.size(0), weights.size(2), y.outputs, x.outputs}; }

    template <typename scalar_t>
    PhaseLinearParameters<scalar_t> parameters() const {
        PhaseLinearParameters<scalar_t> p{};
        p.batch = maps.size(0), p.channels = maps.size(3), p.colours = weights.size(2);
        p.y = y, p.x = x;
        p.image_stride = maps.stride(0), p.row_stride = maps.stride(1), p.pixel_stride = maps.stride(2);
        p.maps = numbers<const scalar_t>(maps), p.weights = numbers<const scalar_t>(weights);
        p.base = numbers<const scalar_t>(base);
        return p;
    }

    Tensor maps, weights;
    std::optional<Tensor> base;
    PhaseAxis y, x;
};

Tensor phase_linear(const Tensor& maps, const Tensor& weights, std::optional<Tensor> base, std::vector<int64_t> size) {
    const Arguments a(maps, weights, base, size);
    Tensor out = new_result(a.maps, a.shape());
    with_dtype(a.maps, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.out = numbers<scalar_t>(out);
        run_kernel(&Kernels<scalar_t>::phase_linear, false, p);
    });
    return out;
}

std::tuple<Tensor, Tensor> phase_linear_backward(const Tensor& grad_output, const Tensor& maps, const Tensor& weights,
                                                 std::vector<int64_t> size, std::vector<bool> output_mask) {
    const Arguments a(maps, weights, std::nullopt, size);
    check_cpu(kOp, "grad_output", grad_output);
    check_same_dtype(kOp, "grad_output", grad_output, maps);
    check_shape(kOp, "grad_output", grad_output, "[B, C, H, W]", a.shape());
    STD_TORCH_CHECK(output_mask.size() == 2, kOp, ": output_mask must have 2 entries, got ", output_mask.size());
    const Tensor grad = torch::stable::contiguous(grad_output);
    const auto result = [&](bool wanted, const Tensor& like) {
        const auto sizes = like.sizes();
        return new_result(like, wanted ? std::vector<int64_t>{sizes.begin(), sizes.end()} : std::vector<int64_t>{0});
    };
    Tensor d_maps = result(output_mask[0], a.maps), d_weights = result(output_mask[1], a.weights);
    with_dtype(a.maps, [&](auto zero) {
        using scalar_t = decltype(zero);
        const auto p = a.parameters<scalar_t>();
        PhaseLinearGradients<scalar_t> g{};
        g.grad_output = numbers<const scalar_t>(grad);
        g.maps = output_mask[0] ? numbers<scalar_t>(d_maps) : nullptr;
        g.weights = output_mask[1] ? numbers<scalar_t>(d_weights) : nullptr;
        run_kernel(&Kernels<scalar_t>::phase_linear_backward, false, p, g);
    });
    return {d_maps, d_weights};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // Maps [B, h, w, K], weights [Py, Px, C, K] and base [B, C, H, W], which is added -> [B, C, H, W].
    m.def("phase_linear(Tensor maps, Tensor weights, Tensor? base, int[2] size) -> Tensor");
    // Gradients of maps and weights; empty tensors where output_mask is false. That of base is grad_output.
    m.def(
        "phase_linear_backward(Tensor grad_output, Tensor maps, Tensor weights, int[2] size, bool[2] output_mask) "
        "-> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("phase_linear", TORCH_BOX(&vinr::phase_linear));
    m.impl("phase_linear_backward", TORCH_BOX(&vinr::phase_linear_backward));
}
