// Bindings of deform_conv2d on the CPU: checks, memory formats, and the choice of the kernel. float32 runs in the
// fast kernels, channels-last; float64, and images too large for those, in plain loops.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cmath>
#include <cstring>
#include <tuple>

#include "deform_conv2d/arguments.h"
#include "deform_conv2d/cpu_parameters.h"
#include "deform_conv2d/cpu_plain.h"
#include "isa/variant.h"
#include "operands.h"

namespace vinr {
namespace {

using torch::headeronly::ScalarType;

// An input of more numbers is not copied where its channels lie side by side, so that memory does not double.
constexpr int64_t kMostCopied = 1 << 28;

// [B, H, W, C] seen as [B, C, H, W]
Tensor as_nchw(const Tensor& t) { return torch::stable::transpose(torch::stable::transpose(t, 1, 3), 2, 3); }

Pair sizes_of(const Tensor& t) { return {t.sizes().begin(), t.sizes().end()}; }

// The pixels of a tensor as evenly spaced; copied to `held` where they are not.
template <typename scalar_t>
Planes<const scalar_t> planes(const Tensor& t, Tensor& held) {
    held = evenly_spaced(t);
    return {static_cast<const scalar_t*>(held.const_data_ptr()), held.stride(0), held.stride(1), pixel_stride(held)};
}

template <typename scalar_t>
Planes<scalar_t> mutable_planes(Tensor& t) {
    Tensor held;
    const auto p = planes<scalar_t>(t, held);
    return {static_cast<scalar_t*>(t.mutable_data_ptr()), p.image, p.channel, p.pixel};
}

template <typename scalar_t>
scalar_t* pointer(const std::optional<Tensor>& t) {
    return t ? static_cast<scalar_t*>(const_cast<void*>(t->const_data_ptr())) : nullptr;
}

void run_parallel(int64_t count, Body body, void* context) {
    torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) { body(begin, end, context); });
}

// With `bfloat16` the operands of the product are rounded to it, where the machine multiplies them so.
void run_forward(const DeformForward<float>& p, [[maybe_unused]] bool bfloat16) {
    switch (chosen_variant()) {
#if defined(__x86_64__) && defined(__GNUC__)
        case Variant::kAmxBf16:
            return bfloat16 ? amx_bf16::deform_conv2d(p, &run_parallel) : avx512::deform_conv2d(p, &run_parallel);
        case Variant::kAvx512Bf16:
            return bfloat16 ? avx512_bf16::deform_conv2d(p, &run_parallel) : avx512::deform_conv2d(p, &run_parallel);
        case Variant::kAvx512:
            return avx512::deform_conv2d(p, &run_parallel);
        case Variant::kAvx2:
            return avx2::deform_conv2d(p, &run_parallel);
#endif
        default:
            return portable::deform_conv2d(p, &run_parallel);
    }
}

void run_backward(const DeformBackward<float>& p) {
    switch (chosen_variant()) {
#if defined(__x86_64__) && defined(__GNUC__)
        case Variant::kAmxBf16:
        case Variant::kAvx512Bf16:
        case Variant::kAvx512:
            return avx512::deform_conv2d_grad(p, &run_parallel);
        case Variant::kAvx2:
            return avx2::deform_conv2d_grad(p, &run_parallel);
#endif
        default:
            return portable::deform_conv2d_grad(p, &run_parallel);
    }
}

// A bfloat16 tensor's numbers in float32.
std::vector<float> widened(const Tensor& t) {
    const Tensor held = torch::stable::contiguous(t);
    const auto* from = static_cast<const uint16_t*>(held.const_data_ptr());
    std::vector<float> out(held.numel());
    for (int64_t i = 0; i < held.numel(); ++i) {
        const uint32_t bits = uint32_t(from[i]) << 16;
        std::memcpy(&out[i], &bits, sizeof(bits));
    }
    return out;
}

// Tensors in the form that the fast kernels read, and pointers into them.
struct FastInputs {
    Tensor input, weight, offset, mask;
    std::vector<float> wide_weight;
    DeformInputs<float> view{};

    FastInputs(const DeformConv2dShape& s, const Tensor& input_, const Tensor& weight_, const Positions& at)
        : weight(torch::stable::contiguous(weight_)) {
        view.shape = s;
        if (input_.scalar_type() == ScalarType::BFloat16) {
            wide_weight = widened(weight);
            view.weight = wide_weight.data();
        } else {
            view.input = planes<float>(input_, input);
            view.weight = static_cast<const float*>(weight.const_data_ptr());
        }
        view.offset = planes<float>(at.offset, offset);
        if (at.mask) view.mask = planes<float>(*at.mask, mask);
        view.logits = at.logits;
    }
};

// The same for the plain loops, which take masks without a sigmoid.
template <typename scalar_t>
struct PlainInputs {
    Tensor input, weight, offset;
    std::optional<Tensor> mask;

    PlainInputs(const Tensor& input, const Tensor& weight, const Positions& at)
        : input(torch::stable::contiguous(input)),
          weight(torch::stable::contiguous(weight)),
          offset(torch::stable::contiguous(at.offset)) {
        if (!at.mask) return;
        mask = torch::stable::contiguous(*at.mask);
        if (!at.logits) return;
        mask = torch::stable::clone(*mask);
        scalar_t* m = pointer<scalar_t>(mask);
        for (int64_t i = 0; i < mask->numel(); ++i) m[i] = scalar_t(1) / (scalar_t(1) + std::exp(-m[i]));
    }

    PlainArrays<scalar_t> arrays() const {
        return {static_cast<const scalar_t*>(input.const_data_ptr()),
                static_cast<const scalar_t*>(offset.const_data_ptr()),
                static_cast<const scalar_t*>(weight.const_data_ptr()), pointer<const scalar_t>(mask)};
    }
};

bool is_fast(const DeformConv2dShape& s, const Tensor& input) {
    return input.scalar_type() == ScalarType::Float && fits_fast_kernels(s);
}

void check_float32(const char* op, const char* name, const Tensor& tensor) {
    STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Float, op, ": ", name,
                    " must be float32 where input is bfloat16");
}

Tensor forward(const char* op, const Tensor& input, const Positions& at, const Tensor& weight,
               const std::optional<Tensor>& bias_in, const Pair& stride, const Pair& padding, const Pair& dilation,
               const std::string& operands) {
    const bool bfloat16 = operands_of(op, operands) == Operands::kBFloat16;
    const auto s = deform_conv2d_shape(op, input, at.offset, weight, bias_in, at.mask, stride, padding, dilation);
    const bool last = is_channels_last(input);
    const Pair sizes{s.batch, s.out_channels, s.out_height, s.out_width};
    std::optional<Tensor> bias;
    if (bias_in) bias = torch::stable::contiguous(*bias_in);
    const bool low = input.scalar_type() == ScalarType::BFloat16;
    if (low) check_float32(op, "offset", at.offset);
    if (low && at.mask) check_float32(op, "mask", *at.mask);
    STD_TORCH_CHECK(!low || fits_fast_kernels(s), op, ": bfloat16 input must have fewer than 2^31 pixels an image");
    if (low || is_fast(s, input)) {
        Tensor output = new_empty(input, sizes, last), held_input;
        const FastInputs held(s, input, weight, at);
        const std::vector<float> wide_bias = low && bias ? widened(*bias) : std::vector<float>();
        const bool copied = low || bordered_size(s) <= kMostCopied || input.stride(1) != 1;
        const Tensor bordered = torch::stable::empty({copied ? bordered_size(s) : 0}, ScalarType::Float);
        DeformForward<float> p{};
        p.in = held.view;
        p.bias = low && bias ? wide_bias.data() : pointer<const float>(bias);
        if (copied) p.bordered = static_cast<float*>(bordered.mutable_data_ptr());
        if (low) {
            p.low_input = planes<uint16_t>(input, held_input);
            p.low_output = mutable_planes<uint16_t>(output);
        } else {
            p.output = mutable_planes<float>(output);
        }
        run_forward(p, bfloat16 || low);
        return output;
    }
    Tensor output = torch::stable::new_empty(input, sizes);
    const auto run = [&](auto zero) {
        using scalar_t = decltype(zero);
        const PlainInputs<scalar_t> held(input, weight, at);
        plain_forward(s, held.arrays(), pointer<const scalar_t>(bias),
                      static_cast<scalar_t*>(output.mutable_data_ptr()));
    };
    input.scalar_type() == ScalarType::Float ? run(0.0f) : run(0.0);
    return last ? channels_last(output) : output;
}

// Where gradients go, each in the memory format of its argument; none where it is not wanted.
struct Gradients {
    std::optional<Tensor> input, offset, weight, bias, mask;
};

void fast_backward(const DeformConv2dShape& s, const Tensor& grad_output, const Tensor& input, const Positions& at,
                   const Tensor& weight, Gradients& d) {
    const FastInputs held(s, channels_last(input), weight, at);
    const Tensor grad = channels_last(grad_output);
    std::optional<Tensor> d_input;
    if (d.input) d_input = torch::stable::new_zeros(input, {s.batch, s.height, s.width, s.channels});
    DeformBackward<float> p{};
    p.in = held.view;
    p.grad_output = static_cast<const float*>(grad.const_data_ptr());
    p.grad_input = pointer<float>(d_input);
    if (d.offset) p.grad_offset = mutable_planes<float>(*d.offset);
    if (d.mask) p.grad_mask = mutable_planes<float>(*d.mask);
    p.grad_weight = pointer<float>(d.weight);
    p.grad_bias = pointer<float>(d.bias);
    run_backward(p);
    if (d.input) d.input = is_channels_last(input) ? as_nchw(*d_input) : torch::stable::contiguous(as_nchw(*d_input));
}

template <typename scalar_t>
void plain_gradients(const DeformConv2dShape& s, const Tensor& grad_output, const Tensor& input, const Positions& at,
                     const Tensor& weight, Gradients& d) {
    const PlainInputs<scalar_t> held(input, weight, at);
    const Tensor grad = torch::stable::contiguous(grad_output);
    Gradients flat;
    const auto zeros = [](std::optional<Tensor>& to, const std::optional<Tensor>& like) {
        if (like) to = torch::stable::new_zeros(*like, sizes_of(*like));
    };
    zeros(flat.input, d.input), zeros(flat.offset, d.offset), zeros(flat.mask, d.mask);
    zeros(flat.weight, d.weight), zeros(flat.bias, d.bias);
    plain_backward(s, held.arrays(), static_cast<const scalar_t*>(grad.const_data_ptr()),
                   {pointer<scalar_t>(flat.input), pointer<scalar_t>(flat.offset), pointer<scalar_t>(flat.weight),
                    pointer<scalar_t>(flat.bias), pointer<scalar_t>(flat.mask)});
    if (flat.mask && at.logits) {
        const scalar_t* m = pointer<const scalar_t>(held.mask);
        scalar_t* g = pointer<scalar_t>(flat.mask);
        for (int64_t i = 0; i < flat.mask->numel(); ++i) g[i] *= m[i] * (scalar_t(1) - m[i]);
    }
    const auto copy = [](std::optional<Tensor>& to, const std::optional<Tensor>& from) {
        if (to) torch::stable::copy_(*to, *from);
    };
    copy(d.input, flat.input), copy(d.offset, flat.offset), copy(d.mask, flat.mask);
    copy(d.weight, flat.weight), copy(d.bias, flat.bias);
}

Tensor empty_gradient(const Tensor& like) { return new_empty(like, sizes_of(like), is_channels_last(like)); }

// Allocates what `wanted` says of input, weight and bias, and fills all of `d`.
void backward(const char* op, const Tensor& grad_output, const Tensor& input, const Positions& at, const Tensor& weight,
              const Pair& stride, const Pair& padding, const Pair& dilation, Gradients& d) {
    const auto s = deform_conv2d_shape(op, input, at.offset, weight, std::nullopt, at.mask, stride, padding, dilation);
    check_cpu(op, "grad_output", grad_output);
    check_shape(op, "grad_output", grad_output, "[B, O, H, W]", {s.batch, s.out_channels, s.out_height, s.out_width});
    check_same_dtype(op, "grad_output", grad_output, input);
    if (is_fast(s, input)) {
        fast_backward(s, grad_output, input, at, weight, d);
    } else if (input.scalar_type() == ScalarType::Float) {
        plain_gradients<float>(s, grad_output, input, at, weight, d);
    } else {
        plain_gradients<double>(s, grad_output, input, at, weight, d);
    }
}

void check_device_and_dtype(const char* op, const Tensor& input, const Tensor& offset, const char* offset_name,
                            const Tensor& weight, const std::optional<Tensor>& bias, const std::optional<Tensor>& mask,
                            bool takes_bfloat16) {
    check_cpu(op, "input", input);
    check_cpu(op, offset_name, offset);
    check_cpu(op, "weight", weight);
    if (bias) check_cpu(op, "bias", *bias);
    if (mask) check_cpu(op, "mask", *mask);
    const auto dtype = input.scalar_type();
    STD_TORCH_CHECK(
        dtype == ScalarType::Float || dtype == ScalarType::Double || (takes_bfloat16 && dtype == ScalarType::BFloat16),
        op, ": input must be float32 or float64", takes_bfloat16 ? " or bfloat16" : "", " on the cpu backend");
}

Tensor deform_conv2d(const Tensor& input, const Tensor& offset, const Tensor& weight, std::optional<Tensor> bias,
                     std::optional<Tensor> mask, Pair stride, Pair padding, Pair dilation, std::string operands) {
    const char* op = "deform_conv2d";
    check_device_and_dtype(op, input, offset, "offset", weight, bias, mask, true);
    return forward(op, input, {offset, mask}, weight, bias, stride, padding, dilation, operands);
}

Tensor deform_conv2d_packed(const Tensor& input, const Tensor& offset_mask, const Tensor& weight,
                            std::optional<Tensor> bias, Pair stride, Pair padding, Pair dilation,
                            std::string operands) {
    const char* op = "deform_conv2d_packed";
    check_device_and_dtype(op, input, offset_mask, "offset_mask", weight, bias, std::nullopt, true);
    const int64_t groups = packed_offset_groups(op, offset_mask, weight);
    const Positions at = unpacked(offset_mask, groups, weight.size(2) * weight.size(3));
    return forward(op, input, at, weight, bias, stride, padding, dilation, operands);
}

// input, weight and bias of the gradients.
Gradients wanted_gradients(const Tensor& input, const Tensor& weight, bool wants_input, bool wants_weight,
                           bool wants_bias) {
    Gradients d;
    if (wants_input) d.input = empty_gradient(input);
    if (wants_weight) d.weight = torch::stable::new_empty(weight, sizes_of(weight));
    if (wants_bias) d.bias = torch::stable::new_empty(weight, {weight.size(0)});
    return d;
}

Tensor or_empty(const std::optional<Tensor>& t, const Tensor& like) {
    return t ? *t : torch::stable::new_empty(like, {0});
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& offset, const Tensor& weight,
    std::optional<Tensor> mask, Pair stride, Pair padding, Pair dilation, std::vector<bool> output_mask,
    std::string operands) {
    const char* op = "deform_conv2d_backward";
    operands_of(op, operands);
    check_device_and_dtype(op, input, offset, "offset", weight, std::nullopt, mask, false);
    STD_TORCH_CHECK(output_mask.size() == 5, op, ": output_mask must have 5 entries");
    STD_TORCH_CHECK(mask || !output_mask[4], op, ": no gradient of a mask that was not given");
    check_rank(op, "weight", weight, "[O, C/groups, kh, kw]", 4);
    Gradients d = wanted_gradients(input, weight, output_mask[0], output_mask[2], output_mask[3]);
    if (output_mask[1]) d.offset = empty_gradient(offset);
    if (output_mask[4]) d.mask = empty_gradient(*mask);
    backward(op, grad_output, input, {offset, mask}, weight, stride, padding, dilation, d);
    return {or_empty(d.input, input), or_empty(d.offset, input), or_empty(d.weight, input), or_empty(d.bias, input),
            or_empty(d.mask, input)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_packed_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& offset_mask, const Tensor& weight, Pair stride,
    Pair padding, Pair dilation, std::vector<bool> output_mask, std::string operands) {
    const char* op = "deform_conv2d_packed_backward";
    operands_of(op, operands);
    check_device_and_dtype(op, input, offset_mask, "offset_mask", weight, std::nullopt, std::nullopt, false);
    STD_TORCH_CHECK(output_mask.size() == 4, op, ": output_mask must have 4 entries");
    const int64_t groups = packed_offset_groups(op, offset_mask, weight), taps = weight.size(2) * weight.size(3);
    Gradients d = wanted_gradients(input, weight, output_mask[0], output_mask[2], output_mask[3]);
    std::optional<Tensor> d_offset_mask;
    if (output_mask[1]) {
        d_offset_mask = empty_gradient(offset_mask);
        const Positions views = unpacked(*d_offset_mask, groups, taps);
        d.offset = views.offset, d.mask = views.mask;
    }
    backward(op, grad_output, input, unpacked(offset_mask, groups, taps), weight, stride, padding, dilation, d);
    return {or_empty(d.input, input), or_empty(d_offset_mask, input), or_empty(d.weight, input),
            or_empty(d.bias, input)};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("deform_conv2d", TORCH_BOX(&vinr::deform_conv2d));
    m.impl("deform_conv2d_backward", TORCH_BOX(&vinr::deform_conv2d_backward));
    m.impl("deform_conv2d_packed", TORCH_BOX(&vinr::deform_conv2d_packed));
    m.impl("deform_conv2d_packed_backward", TORCH_BOX(&vinr::deform_conv2d_packed_backward));
}
