// Bindings of deform_conv2d on the CPU: checks, memory formats, and the choice of the kernel. float32 runs in the
// fast kernels, channels-last; float64, and images too large for those, in plain loops.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cmath>
#include <cstring>
#include <tuple>

#include "common/cpu/binding.h"
#include "deform_conv2d/arguments.h"
#include "deform_conv2d/cpu_plain.h"

namespace vinr {
namespace {

using torch::headeronly::ScalarType;

// An input of more numbers is not copied where its channels lie side by side, so that memory does not double.
constexpr int64_t kMostCopied = 1 << 28;

// [B, H, W, C] seen as [B, C, H, W]
Tensor as_nchw(const Tensor& t) { return torch::stable::transpose(torch::stable::transpose(t, 1, 3), 2, 3); }

// The pixels of a tensor as evenly spaced; copied to `held` where they are not.
template <typename scalar_t>
Planes<const scalar_t> planes(const Tensor& t, Tensor& held) {
    held = evenly_spaced(t);
    return {numbers<const scalar_t>(held), held.stride(0), held.stride(1), pixel_stride(held)};
}

template <typename scalar_t>
Planes<scalar_t> mutable_planes(Tensor& t) {
    Tensor held;
    const auto p = planes<scalar_t>(t, held);
    return {numbers<scalar_t>(t), p.image, p.channel, p.pixel};
}

// A bfloat16 tensor's numbers in float32.
std::vector<float> widened(const Tensor& t) {
    const Tensor held = torch::stable::contiguous(t);
    const auto* from = numbers<const uint16_t>(held);
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
            view.weight = numbers<const float>(weight);
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
        scalar_t* m = numbers<scalar_t>(mask);
        for (int64_t i = 0; i < mask->numel(); ++i) m[i] = scalar_t(1) / (scalar_t(1) + std::exp(-m[i]));
    }

    PlainArrays<scalar_t> arrays() const {
        return {numbers<const scalar_t>(input), numbers<const scalar_t>(offset), numbers<const scalar_t>(weight),
                numbers<const scalar_t>(mask)};
    }
};

bool is_fast(const DeformConv2dShape& s, const Tensor& input) {
    return input.scalar_type() == ScalarType::Float && fits_fast_kernels(s);
}

void check_beside_bfloat16(const char* op, const char* name, const Tensor& tensor) {
    STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Float, op, ": ", name,
                    " must be float32 where input is bfloat16");
}

Tensor forward(const char* op, const Tensor& input, const Positions& at, const Tensor& weight,
               const std::optional<Tensor>& bias_in, const Geometry& geometry, const std::string& operands) {
    check_each(op, input, at, weight, bias_in, check_cpu);
    const bool low = input.scalar_type() == ScalarType::BFloat16, bfloat16 = rounds_to_bfloat16(op, operands) || low;
    STD_TORCH_CHECK(low || is_float32_or_float64(input), op,
                    ": input must be float32 or float64 or bfloat16 on the cpu backend");
    const auto s = deform_conv2d_shape(op, input, at, weight, bias_in, geometry);
    const bool last = is_channels_last(input);
    const Pair sizes{s.batch, s.out_channels, s.out_height, s.out_width};
    std::optional<Tensor> bias;
    if (bias_in) bias = torch::stable::contiguous(*bias_in);
    if (low) check_beside_bfloat16(op, "offset", at.offset);
    if (low && at.mask) check_beside_bfloat16(op, "mask", *at.mask);
    STD_TORCH_CHECK(!low || fits_fast_kernels(s), op, ": bfloat16 input must have fewer than 2^31 pixels an image");
    if (low || is_fast(s, input)) {
        Tensor output = new_result(input, sizes, last), held_input;
        const FastInputs held(s, input, weight, at);
        const std::vector<float> wide_bias = low && bias ? widened(*bias) : std::vector<float>();
        const bool copied = low || bordered_size(s) <= kMostCopied || input.stride(1) != 1;
        const Tensor bordered = new_result(at.offset, {copied ? bordered_size(s) : 0});
        DeformForward<float> p{};
        p.in = held.view;
        p.bias = low && bias ? wide_bias.data() : numbers<const float>(bias);
        if (copied) p.bordered = numbers<float>(bordered);
        if (low) {
            p.low_input = planes<uint16_t>(input, held_input);
            p.low_output = mutable_planes<uint16_t>(output);
        } else {
            p.output = mutable_planes<float>(output);
        }
        run_kernel(&Kernels<float>::deform_conv2d, bfloat16, p);
        return output;
    }
    Tensor output = new_result(input, sizes);
    with_dtype(input, [&](auto zero) {
        using scalar_t = decltype(zero);
        const PlainInputs<scalar_t> held(input, weight, at);
        plain_forward(s, held.arrays(), numbers<const scalar_t>(bias), numbers<scalar_t>(output));
    });
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
    p.grad_output = numbers<const float>(grad);
    p.grad_input = numbers<float>(d_input);
    if (d.offset) p.grad_offset = mutable_planes<float>(*d.offset);
    if (d.mask) p.grad_mask = mutable_planes<float>(*d.mask);
    p.grad_weight = numbers<float>(d.weight);
    p.grad_bias = numbers<float>(d.bias);
    run_kernel(&Kernels<float>::deform_conv2d_backward, false, p);
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
    plain_backward(s, held.arrays(), numbers<const scalar_t>(grad),
                   {numbers<scalar_t>(flat.input), numbers<scalar_t>(flat.offset), numbers<scalar_t>(flat.weight),
                    numbers<scalar_t>(flat.bias), numbers<scalar_t>(flat.mask)});
    if (flat.mask && at.logits) {
        const scalar_t* m = numbers<const scalar_t>(held.mask);
        scalar_t* g = numbers<scalar_t>(flat.mask);
        for (int64_t i = 0; i < flat.mask->numel(); ++i) g[i] *= m[i] * (scalar_t(1) - m[i]);
    }
    const auto copy = [](std::optional<Tensor>& to, const std::optional<Tensor>& from) {
        if (to) torch::stable::copy_(*to, *from);
    };
    copy(d.input, flat.input), copy(d.offset, flat.offset), copy(d.mask, flat.mask);
    copy(d.weight, flat.weight), copy(d.bias, flat.bias);
}

Tensor empty_gradient(const Tensor& like) { return new_result(like, sizes_of(like), is_channels_last(like)); }

// Allocates what `wanted` says of input, weight and bias, and fills all of `d`.
void backward(const char* op, const Tensor& grad_output, const Tensor& input, const Positions& at, const Tensor& weight,
              const Geometry& geometry, const std::vector<bool>& wanted, const std::string& operands, Gradients& d) {
    operands_of(op, operands);
    check_each(op, input, at, weight, std::nullopt, check_cpu);
    check_float32_or_float64(op, "input", input);
    const auto s = deform_conv2d_shape(op, input, at, weight, std::nullopt, geometry);
    check_cpu(op, "grad_output", grad_output);
    check_shape(op, "grad_output", grad_output, "[B, O, H, W]", {s.batch, s.out_channels, s.out_height, s.out_width});
    check_same_dtype(op, "grad_output", grad_output, input);
    if (wanted[0]) d.input = empty_gradient(input);
    if (wanted[2]) d.weight = new_result(weight, sizes_of(weight));
    if (wanted[3]) d.bias = new_result(weight, {weight.size(0)});
    if (is_fast(s, input)) return fast_backward(s, grad_output, input, at, weight, d);
    with_dtype(input, [&](auto zero) { plain_gradients<decltype(zero)>(s, grad_output, input, at, weight, d); });
}

Tensor deform_conv2d(const Tensor& input, const Tensor& offset, const Tensor& weight, std::optional<Tensor> bias,
                     std::optional<Tensor> mask, Pair stride, Pair padding, Pair dilation, std::string operands) {
    return forward("deform_conv2d", input, {offset, mask}, weight, bias, {stride, padding, dilation}, operands);
}

Tensor deform_conv2d_packed(const Tensor& input, const Tensor& offset_mask, const Tensor& weight,
                            std::optional<Tensor> bias, Pair stride, Pair padding, Pair dilation,
                            std::string operands) {
    const char* op = "deform_conv2d_packed";
    const Positions at = unpacked(op, offset_mask, weight);
    return forward(op, input, at, weight, bias, {stride, padding, dilation}, operands);
}

Tensor or_empty(const std::optional<Tensor>& t, const Tensor& like) { return t ? *t : new_result(like, {0}); }

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& offset, const Tensor& weight,
    std::optional<Tensor> mask, Pair stride, Pair padding, Pair dilation, std::vector<bool> output_mask,
    std::string operands) {
    const char* op = "deform_conv2d_backward";
    STD_TORCH_CHECK(output_mask.size() == 5, op, ": output_mask must have 5 entries");
    STD_TORCH_CHECK(mask || !output_mask[4], op, ": no gradient of a mask that was not given");
    Gradients d;
    if (output_mask[1]) d.offset = empty_gradient(offset);
    if (output_mask[4]) d.mask = empty_gradient(*mask);
    const Geometry geometry{stride, padding, dilation};
    backward(op, grad_output, input, {offset, mask}, weight, geometry, output_mask, operands, d);
    return {or_empty(d.input, input), or_empty(d.offset, input), or_empty(d.weight, input), or_empty(d.bias, input),
            or_empty(d.mask, input)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_packed_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& offset_mask, const Tensor& weight, Pair stride,
    Pair padding, Pair dilation, std::vector<bool> output_mask, std::string operands) {
    const char* op = "deform_conv2d_packed_backward";
    STD_TORCH_CHECK(output_mask.size() == 4, op, ": output_mask must have 4 entries");
    const Positions at = unpacked(op, offset_mask, weight);
    Gradients d;
    std::optional<Tensor> d_offset_mask;
    if (output_mask[1]) {
        d_offset_mask = empty_gradient(offset_mask);
        const Positions views = unpacked(op, *d_offset_mask, weight);
        d.offset = views.offset, d.mask = views.mask;
    }
    backward(op, grad_output, input, at, weight, {stride, padding, dilation}, output_mask, operands, d);
    return {or_empty(d.input, input), or_empty(d_offset_mask, input), or_empty(d.weight, input),
            or_empty(d.bias, input)};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // operands, of every op, names what products multiply: operands.h. input, weight and bias may be bfloat16
    // themselves, with float32 offsets and masks; CUDA takes float16 as well, and either with offsets and masks in its
    // own dtype. The backward ops take neither, and CUDA has none.
    m.def(
        "deform_conv2d(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, "
        "int[2] stride, int[2] padding, int[2] dilation, str operands) -> Tensor");
    // Gradients of input, offset, weight, bias, mask; an empty tensor where output_mask is false.
    m.def(
        "deform_conv2d_backward(Tensor grad_output, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
        "int[2] stride, int[2] padding, int[2] dilation, bool[5] output_mask, str operands) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
    // The same with offsets and mask logits in one tensor, [B, 3*G*K, H, W]; gradients of input, offset_mask, weight,
    // bias.
    m.def(
        "deform_conv2d_packed(Tensor input, Tensor offset_mask, Tensor weight, Tensor? bias, "
        "int[2] stride, int[2] padding, int[2] dilation, str operands) -> Tensor");
    m.def(
        "deform_conv2d_packed_backward(Tensor grad_output, Tensor input, Tensor offset_mask, Tensor weight, "
        "int[2] stride, int[2] padding, int[2] dilation, bool[4] output_mask, str operands) "
        "-> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("deform_conv2d", TORCH_BOX(&vinr::deform_conv2d));
    m.impl("deform_conv2d_backward", TORCH_BOX(&vinr::deform_conv2d_backward));
    m.impl("deform_conv2d_packed", TORCH_BOX(&vinr::deform_conv2d_packed));
    m.impl("deform_conv2d_packed_backward", TORCH_BOX(&vinr::deform_conv2d_packed_backward));
}
