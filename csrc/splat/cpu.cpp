// Bindings of forward splatting on the CPU: sums, and sums divided by the sum of weights.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>
#include <string>
#include <tuple>

#include "common/cpu/binding.h"

namespace vinr {
namespace {

using Maybe = std::optional<Tensor>;

SplatEnding ending_of(const char* op, const std::string& name) {
    if (name == "add") return SplatEnding::kAdd;
    if (name == "zero") return SplatEnding::kZero;
    STD_TORCH_CHECK(name == "clip", op, ": eps must be one of add, zero and clip, got ", name);
    return SplatEnding::kClip;
}

// An op's arguments, checked and contiguous.
class Arguments {
 public:
    Arguments(const char* op, const Tensor& given_x, const Tensor& given_flow, const char* weight_name,
              const Maybe& given_weight, bool channels_last)
        : op(op), layout(channels_last ? "[B, H, W, C]" : "[B, C, H, W]"), channels_last(channels_last) {
        check_float32_or_float64(op, "x", given_x);
        check_rank(op, "x", given_x, layout, 4);
        const auto sizes = given_x.sizes();
        B = sizes[0], C = sizes[channels_last ? 3 : 1];
        H = sizes[channels_last ? 1 : 2], W = sizes[channels_last ? 2 : 3];
        STD_TORCH_CHECK(C > 0, op, ": x must have channels, got ", shape_string(sizes));
        STD_TORCH_CHECK(H == 0 || W < (int64_t(1) << 31) / H, op, ": an image must have fewer than 2^31 pixels, got ",
                        shape_string(sizes));
        x = checked("x", given_x, layout, sizes_of(given_x));
        flow = checked("flow", given_flow, "[B, 2, H, W]", {B, 2, H, W});
        if (given_weight) weight = checked(weight_name, *given_weight, "[B, 1, H, W]", {B, 1, H, W});
    }

    // A tensor of x's dtype, contiguous.
    Tensor checked(const char* name, const Tensor& t, const char* meaning, const std::vector<int64_t>& shape) const {
        check_cpu(op, name, t);
        if (x) check_same_dtype(op, name, t, *x);
        check_shape(op, name, t, meaning, shape);
        return torch::stable::contiguous(t);
    }

    Tensor new_tensor(const std::vector<int64_t>& shape) const { return new_result(*x, shape); }
    Tensor map(int64_t planes) const { return new_tensor({B, planes, H, W}); }
    Tensor map_if(bool wanted, int64_t planes) const { return wanted ? map(planes) : new_tensor({0}); }
    Tensor like_x() const { return new_tensor(sizes_of(*x)); }
    Tensor like_x_if(bool wanted) const { return wanted ? like_x() : new_tensor({0}); }
    // Room for x with its channels last, where they are not.
    Tensor turned() const { return like_x_if(!channels_last); }

    template <typename scalar_t>
    SplatParameters<scalar_t> parameters() const {
        SplatParameters<scalar_t> p{};
        p.batch = B, p.height = H, p.width = W, p.channels = C;
        p.channels_last = channels_last;
        p.x = numbers<const scalar_t>(*x), p.flow = numbers<const scalar_t>(*flow);
        p.weight = numbers<const scalar_t>(weight);
        return p;
    }

    const char* op;
    const char* layout;
    bool channels_last;
    int64_t B, C, H, W;
    Maybe x, flow, weight;
};

template <typename scalar_t>
scalar_t* if_wanted(bool wanted, const Tensor& t) {
    return wanted ? numbers<scalar_t>(t) : nullptr;
}

template <typename scalar_t>
void run_forward(const Arguments& a, SplatParameters<scalar_t>& p) {
    if (a.B * a.H * a.W == 0) return;
    const Tensor turned = a.turned();
    p.turned = if_wanted<scalar_t>(!a.channels_last, turned);
    run_kernel(&Kernels<scalar_t>::splat_forward, false, p);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> splat_sum(const Tensor& x, const Tensor& flow, Maybe weight,
                                                     bool channels_last, bool count, bool maximum) {
    const Arguments a("splat_sum", x, flow, "weight", weight, channels_last);
    Tensor numerator = a.like_x(), denominator = a.map(1);
    Tensor counts = a.map_if(count, 1), largest = a.map_if(maximum, 1);
    with_dtype(x, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.out = numbers<scalar_t>(numerator), p.denominator = numbers<scalar_t>(denominator);
        p.count = if_wanted<scalar_t>(count, counts), p.max = if_wanted<scalar_t>(maximum, largest);
        run_forward(a, p);
    });
    return {numerator, denominator, counts, largest};
}

std::tuple<Tensor, Tensor> splat(const Tensor& x, const Tensor& flow, Maybe metric, bool channels_last,
                                 bool exponential, std::string eps) {
    const Arguments a("splat", x, flow, "metric", metric, channels_last);
    STD_TORCH_CHECK(metric || !exponential, "splat: exponentials need a metric");
    Tensor out = a.like_x(), norm = a.map(3);
    with_dtype(x, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.exponential = exponential, p.ending = ending_of("splat", eps);
        p.out = numbers<scalar_t>(out), p.norm = numbers<scalar_t>(norm);
        run_forward(a, p);
    });
    return {out, norm};
}

// Gradients of x, flow and weight, those that are wanted; `set` gives what the two backward passes differ in.
template <typename Set>
std::tuple<Tensor, Tensor, Tensor> run_backward(const Arguments& a, const Tensor& grad_output, bool exponential,
                                                const std::vector<bool>& mask, const Set& set) {
    STD_TORCH_CHECK(mask.size() == 3, a.op, ": output_mask must have 3 entries, got ", mask.size());
    const Tensor grad = a.checked("grad_output", grad_output, a.layout, sizes_of(*a.x));
    const bool of_weight = mask[2] && a.weight;
    Tensor d_x = a.like_x_if(mask[0]), d_flow = a.map_if(mask[1], 2), d_weight = a.map_if(of_weight, 1);
    if (a.B * a.H * a.W == 0 || !(mask[0] || mask[1] || of_weight)) return {d_x, d_flow, d_weight};
    const Tensor turned = a.turned(), pull = a.map(1);
    with_dtype(*a.x, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.exponential = exponential;
        SplatGradients<scalar_t> g{};
        g.grad_output = numbers<const scalar_t>(grad);
        g.turned = numbers<scalar_t>(turned), g.pull = numbers<scalar_t>(pull);
        g.x = if_wanted<scalar_t>(mask[0], d_x), g.flow = if_wanted<scalar_t>(mask[1], d_flow);
        g.weight = if_wanted<scalar_t>(of_weight, d_weight);
        set(g, zero);
        run_kernel(&Kernels<scalar_t>::splat_backward, false, p, g);
    });
    return {d_x, d_flow, d_weight};
}

std::tuple<Tensor, Tensor, Tensor> splat_sum_backward(const Tensor& grad_numerator, const Tensor& grad_denominator,
                                                      const Tensor& x, const Tensor& flow, Maybe weight,
                                                      bool channels_last, std::vector<bool> output_mask) {
    const Arguments a("splat_sum", x, flow, "weight", weight, channels_last);
    const Tensor of_weights = a.checked("grad_denominator", grad_denominator, "[B, 1, H, W]", {a.B, 1, a.H, a.W});
    return run_backward(a, grad_numerator, false, output_mask,
                        [&](auto& g, auto zero) { g.grad_denominator = numbers<const decltype(zero)>(of_weights); });
}

std::tuple<Tensor, Tensor, Tensor> splat_backward(const Tensor& grad_output, const Tensor& given_out,
                                                  const Tensor& given_norm, const Tensor& x, const Tensor& flow,
                                                  Maybe metric, bool channels_last, bool exponential,
                                                  std::vector<bool> output_mask) {
    const Arguments a("splat", x, flow, "metric", metric, channels_last);
    STD_TORCH_CHECK(metric || !exponential, "splat: exponentials need a metric");
    const Tensor out = a.checked("out", given_out, a.layout, sizes_of(*a.x));
    const Tensor norm = a.checked("norm", given_norm, "[B, 3, H, W]", {a.B, 3, a.H, a.W});
    return run_backward(a, grad_output, exponential, output_mask, [&](auto& g, auto zero) {
        g.out = numbers<const decltype(zero)>(out), g.norm = numbers<const decltype(zero)>(norm);
    });
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // x [B, H, W, C] if channels_last, else [B, C, H, W], flow [B, 2, H, W] (x, y) and weight [B, 1, H, W] -> the sum
    // like x, and of weights, taps' number and largest weight [B, 1, H, W]; what is not asked for is empty.
    m.def(
        "splat_sum(Tensor x, Tensor flow, Tensor? weight, bool channels_last, bool count, bool maximum) "
        "-> (Tensor, Tensor, Tensor, Tensor)");
    // Gradients of x, flow and weight; empty tensors where output_mask is false.
    m.def(
        "splat_sum_backward(Tensor grad_numerator, Tensor grad_denominator, Tensor x, Tensor flow, Tensor? weight, "
        "bool channels_last, bool[3] output_mask) -> (Tensor, Tensor, Tensor)");
    // The quotient, and what its gradient needs: [B, 3, H, W].
    m.def(
        "splat(Tensor x, Tensor flow, Tensor? metric, bool channels_last, bool exponential, str eps) "
        "-> (Tensor, Tensor)");
    m.def(
        "splat_backward(Tensor grad_output, Tensor out, Tensor norm, Tensor x, Tensor flow, Tensor? metric, "
        "bool channels_last, bool exponential, bool[3] output_mask) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("splat_sum", TORCH_BOX(&vinr::splat_sum));
    m.impl("splat_sum_backward", TORCH_BOX(&vinr::splat_sum_backward));
    m.impl("splat", TORCH_BOX(&vinr::splat));
    m.impl("splat_backward", TORCH_BOX(&vinr::splat_backward));
}
