// Binding of local correlation on the CPU: checks, and how far each displacement goes in each map.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cmath>
#include <tuple>

#include "common/cpu/binding.h"

namespace vinr {
namespace {

constexpr const char* kOp = "local_correlation";

// An op's arguments, checked and contiguous.
class Arguments {
 public:
    Arguments(const Tensor& given_first, const Tensor& given_second, const Tensor& given_times, int64_t radius)
        : radius(radius) {
        check_float32_or_float64(kOp, "first", given_first);
        check_rank(kOp, "first", given_first, "[B, h, w, C]", 4);
        const auto sizes = given_first.sizes();
        STD_TORCH_CHECK(sizes[3] > 0, kOp, ": maps must have channels, got ", shape_string(sizes));
        STD_TORCH_CHECK(radius >= 0, kOp, ": radius must be at least 0, got ", radius);
        check_cpu(kOp, "second", given_second);
        check_same_dtype(kOp, "second", given_second, given_first);
        check_shape(kOp, "second", given_second, "[B, h, w, C]", {sizes.begin(), sizes.end()});
        check_cpu(kOp, "times", given_times);
        check_same_dtype(kOp, "times", given_times, given_first);
        check_shape(kOp, "times", given_times, "[B]", {sizes[0]});
        first = torch::stable::contiguous(given_first);
        second = torch::stable::contiguous(given_second);
        times = torch::stable::contiguous(given_times);
    }

    std::vector<int64_t> shape() const {
        return {first.size(0), first.size(1), first.size(2), (2 * radius + 1) * (2 * radius + 1)};
    }

    template <typename scalar_t>
    LocalCorrelationParameters<scalar_t> parameters() const {
        LocalCorrelationParameters<scalar_t> p{};
        p.batch = first.size(0), p.height = first.size(1), p.width = first.size(2), p.channels = first.size(3);
        p.radius = radius;
        p.first = numbers<const scalar_t>(first), p.second = numbers<const scalar_t>(second);
        for (int64_t b = 0; b < p.batch; ++b) {
            const scalar_t t = numbers<const scalar_t>(times)[b];
            STD_TORCH_CHECK(t >= 0 && t <= 1, kOp, ": times must lie in [0, 1], got ", t);
            for (int64_t d = -radius; d <= radius; ++d) {
                p.back.push_back(int64_t(std::floor(t * scalar_t(d) + scalar_t(0.5))));
            }
        }
        return p;
    }

    Tensor first, second, times;
    int64_t radius;
};

Tensor local_correlation(const Tensor& first, const Tensor& second, const Tensor& times, int64_t radius) {
    const Arguments a(first, second, times, radius);
    Tensor out = new_result(a.first, a.shape());
    with_dtype(a.first, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.out = numbers<scalar_t>(out);
        run_kernel(&Kernels<scalar_t>::local_correlation, false, p);
    });
    return out;
}

std::tuple<Tensor, Tensor> local_correlation_backward(const Tensor& grad_output, const Tensor& first,
                                                      const Tensor& second, const Tensor& times, int64_t radius,
                                                      std::vector<bool> output_mask) {
    const Arguments a(first, second, times, radius);
    check_cpu(kOp, "grad_output", grad_output);
    check_same_dtype(kOp, "grad_output", grad_output, first);
    check_shape(kOp, "grad_output", grad_output, "[B, h, w, K]", a.shape());
    STD_TORCH_CHECK(output_mask.size() == 2, kOp, ": output_mask must have 2 entries, got ", output_mask.size());
    const Tensor grad = torch::stable::contiguous(grad_output);
    const auto sizes = a.first.sizes();
    const std::vector<int64_t> whole{sizes.begin(), sizes.end()}, none{0};
    Tensor d_first = new_result(a.first, output_mask[0] ? whole : none);
    Tensor d_second = new_result(a.first, output_mask[1] ? whole : none);
    with_dtype(a.first, [&](auto zero) {
        using scalar_t = decltype(zero);
        const auto p = a.parameters<scalar_t>();
        LocalCorrelationGradients<scalar_t> g{};
        g.grad_output = numbers<const scalar_t>(grad);
        g.first = output_mask[0] ? numbers<scalar_t>(d_first) : nullptr;
        g.second = output_mask[1] ? numbers<scalar_t>(d_second) : nullptr;
        run_kernel(&Kernels<scalar_t>::local_correlation_backward, false, p, g);
    });
    return {d_first, d_second};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // Maps [B, h, w, C] and times [B] -> [B, h, w, (2 radius + 1)^2].
    m.def("local_correlation(Tensor first, Tensor second, Tensor times, int radius) -> Tensor");
    // Gradients of the maps; empty tensors where output_mask is false.
    m.def(
        "local_correlation_backward(Tensor grad_output, Tensor first, Tensor second, Tensor times, int radius, "
        "bool[2] output_mask) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("local_correlation", TORCH_BOX(&vinr::local_correlation));
    m.impl("local_correlation_backward", TORCH_BOX(&vinr::local_correlation_backward));
}
