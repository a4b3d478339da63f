// Bindings of deform_conv2d on CUDA, forward: checks, memory formats, and the launch. Gradients are other backends'.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include "common/cuda/binding.h"
#include "deform_conv2d/arguments.h"
#include "deform_conv2d/cuda.cuh"
#include "operands.h"

namespace vinr {
namespace {

using cuda::deform::Precision;
using torch::headeronly::ScalarType;

Precision precision_of(const char* op, const Tensor& input, const std::string& operands) {
    const bool tf32 = operands_of(op, operands) == Operands::kTf32;
    switch (input.scalar_type()) {
        case ScalarType::Half:
            return Precision::kHalf;
        case ScalarType::BFloat16:
            return Precision::kBFloat16;
        case ScalarType::Float:
            return tf32 ? Precision::kTf32 : Precision::kFloat32;
        default:
            STD_TORCH_CHECK(false, op, ": input must be float32, float16 or bfloat16 on the cuda backend");
    }
}

// `held` keeps a copy alive, where one is needed.
cuda::deform::Planes planes(const Tensor& t, Tensor& held) {
    held = evenly_spaced(t);
    return {held.const_data_ptr(), held.stride(0), held.stride(1), pixel_stride(held),
            t.scalar_type() == ScalarType::Float};
}

Tensor forward(const char* op, const Tensor& input, const Positions& at, const Tensor& weight,
               const std::optional<Tensor>& bias, const Geometry& geometry, const std::string& operands) {
    check_each(op, input, at, weight, bias, [&](auto... given) { check_cuda(given..., input); });
    cuda::deform::Parameters p{};
    p.shape = deform_conv2d_shape(op, input, at, weight, bias, geometry);
    const DeformConv2dShape& s = p.shape;
    STD_TORCH_CHECK(cuda::deform::fits(s), op, ": sizes are beyond what the cuda backend counts, got input ",
                    shape_string(input.sizes()), ", weight ", shape_string(weight.sizes()));
    const Precision precision = precision_of(op, input, operands);
    const OnDeviceOf device(input);
    const Tensor pixels = channels_last(input), taps = channels_last(weight);
    Tensor offset, mask, bias_held;
    p.input = pixels.const_data_ptr(), p.weight = taps.const_data_ptr();
    p.offset = planes(at.offset, offset);
    if (at.mask) p.mask = planes(*at.mask, mask);
    p.logits = at.logits;
    if (bias) {
        bias_held = torch::stable::contiguous(*bias);
        p.bias = bias_held.const_data_ptr();
    }
    Tensor output = new_empty(input, {s.batch, s.out_channels, s.out_height, s.out_width}, is_channels_last(input));
    p.output = output.mutable_data_ptr();
    p.out_image = output.stride(0), p.out_channel = output.stride(1), p.out_pixel = pixel_stride(output);
    check_launch(op, cuda::deform::run(p, precision, device.stream()));
    return output;
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

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_IMPL(vinr, CUDA, m) {
    m.impl("deform_conv2d", TORCH_BOX(&vinr::deform_conv2d));
    m.impl("deform_conv2d_packed", TORCH_BOX(&vinr::deform_conv2d_packed));
}
