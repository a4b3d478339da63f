// Binding of the head of B-splines on the CPU: checks and strides.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>
#include <tuple>

#include "common/cpu/binding.h"

namespace vinr {
namespace {

constexpr const char* kOp = "bspline_head";

// An op's arguments: checked, a pixel's splines side by side, the rest contiguous.
class Arguments {
 public:
    Arguments(const Tensor& given_coef, const Tensor& given_knot, const Tensor& given_dilation, const Tensor& given_t,
              const Tensor& given_weight, const std::optional<Tensor>& given_bias) {
        check_float32_or_float64(kOp, "coef", given_coef);
        check_cpu(kOp, "coef", given_coef);
        check_rank(kOp, "coef", given_coef, "[B, P, K]", 3);
        const auto sizes = sizes_of(given_coef);
        STD_TORCH_CHECK(sizes[2] > 0, kOp, ": splines are needed, got coef ", shape_string(sizes));
        const auto checked = [&](const char* name, const Tensor& t, const char* meaning,
                                 const std::vector<int64_t>& expected) {
            check_cpu(kOp, name, t);
            check_same_dtype(kOp, name, t, given_coef);
            check_shape(kOp, name, t, meaning, expected);
            return torch::stable::contiguous(t);
        };
        check_cpu(kOp, "knot", given_knot);
        check_same_dtype(kOp, "knot", given_knot, given_coef);
        check_shape(kOp, "knot", given_knot, "[B, P, K]", sizes);
        coef = splines_together(given_coef), knot = splines_together(given_knot);
        dilation = checked("dilation", given_dilation, "[K]", {sizes[2]});
        check_rank(kOp, "t", given_t, "[T, B]", 2);
        t = checked("t", given_t, "[T, B]", {given_t.size(0), sizes[0]});
        check_rank(kOp, "weight", given_weight, "[out, K]", 2);
        weight = checked("weight", given_weight, "[out, K]", {given_weight.size(0), sizes[2]});
        STD_TORCH_CHECK(weight.size(0) > 0, kOp, ": weight must have outputs, got ", shape_string(weight.sizes()));
        if (given_bias) bias = checked("bias", *given_bias, "[out]", {weight.size(0)});
    }

    // Of the result.
    std::vector<int64_t> shape() const { return {t.size(0), coef.size(0), coef.size(1), weight.size(0)}; }

    template <typename scalar_t>
    BsplineHeadParameters<scalar_t> parameters() const {
        BsplineHeadParameters<scalar_t> p{};
        p.times = t.size(0), p.batch = coef.size(0), p.pixels = coef.size(1);
        p.splines = coef.size(2), p.outputs = weight.size(0);
        p.coef = {coef.stride(0), coef.stride(1), numbers<const scalar_t>(coef)};
        p.knot = {knot.stride(0), knot.stride(1), numbers<const scalar_t>(knot)};
        p.dilation = numbers<const scalar_t>(dilation), p.t = numbers<const scalar_t>(t);
        p.weight = numbers<const scalar_t>(weight), p.bias = numbers<const scalar_t>(bias);
        return p;
    }

    Tensor coef, knot, dilation, t, weight;
    std::optional<Tensor> bias;

 private:
    static Tensor splines_together(const Tensor& rows) {
        return rows.stride(2) == 1 || rows.size(2) == 1 ? rows : torch::stable::contiguous(rows);
    }
};

Tensor bspline_head(const Tensor& coef, const Tensor& knot, const Tensor& dilation, const Tensor& t,
                    const Tensor& weight, std::optional<Tensor> bias) {
    const Arguments a(coef, knot, dilation, t, weight, bias);
    Tensor out = new_result(a.coef, a.shape());
    with_dtype(a.coef, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.out = numbers<scalar_t>(out);
        run_kernel(&Kernels<scalar_t>::bspline_head, false, p);
    });
    return out;
}

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Gradients bspline_head_backward(const Tensor& grad_output, const Tensor& coef, const Tensor& knot,
                                const Tensor& dilation, const Tensor& t, const Tensor& weight,
                                std::vector<bool> output_mask) {
    const Arguments a(coef, knot, dilation, t, weight, std::nullopt);
    check_cpu(kOp, "grad_output", grad_output);
    check_same_dtype(kOp, "grad_output", grad_output, coef);
    check_shape(kOp, "grad_output", grad_output, "[T, B, P, out]", a.shape());
    STD_TORCH_CHECK(output_mask.size() == 6, kOp, ": output_mask must have 6 entries, got ", output_mask.size());
    const Tensor grad = torch::stable::contiguous(grad_output);
    const std::vector<int64_t> rows = sizes_of(coef), none{0};
    const std::vector<std::vector<int64_t>> shapes{
        rows, rows, sizes_of(dilation), sizes_of(t), sizes_of(weight), {weight.size(0)}};
    std::vector<Tensor> d;
    for (size_t i = 0; i < shapes.size(); ++i) d.push_back(new_result(a.coef, output_mask[i] ? shapes[i] : none));
    with_dtype(a.coef, [&](auto zero) {
        using scalar_t = decltype(zero);
        const auto p = a.parameters<scalar_t>();
        const auto wanted = [&](int i) { return output_mask[i] ? numbers<scalar_t>(d[i]) : nullptr; };
        BsplineHeadGradients<scalar_t> g{};
        g.grad_output = numbers<const scalar_t>(grad);
        g.coef = wanted(0), g.knot = wanted(1), g.dilation = wanted(2), g.t = wanted(3);
        g.weight = wanted(4), g.bias = wanted(5);
        run_kernel(&Kernels<scalar_t>::bspline_head_backward, false, p, g);
    });
    return {d[0], d[1], d[2], d[3], d[4], d[5]};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // coef, knot [B, P, K], dilation [K], t [T, B], weight [out, K], bias [out] -> [T, B, P, out].
    m.def("bspline_head(Tensor coef, Tensor knot, Tensor dilation, Tensor t, Tensor weight, Tensor? bias) -> Tensor");
    // Gradients of all of them; empty tensors where output_mask is false.
    m.def(
        "bspline_head_backward(Tensor grad_output, Tensor coef, Tensor knot, Tensor dilation, Tensor t, Tensor weight, "
        "bool[6] output_mask) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("bspline_head", TORCH_BOX(&vinr::bspline_head));
    m.impl("bspline_head_backward", TORCH_BOX(&vinr::bspline_head_backward));
}
