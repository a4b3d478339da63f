// Deformable convolution whose offsets and masks a 3x3 convolution makes of a guide, in bands of rows: those of a whole
// map would be three times as large as all else.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>

#include "conv3x3/bands.h"
#include "deform_conv2d/arguments.h"

namespace vinr {
namespace {

constexpr const char* kOp = "deform_conv2d_guided";
constexpr int64_t kTaps = 9;

void check_numbers(const char* name, const Tensor& t) {
    check_cpu(kOp, name, t);
    check_float32(kOp, name, t);
}

DeformConv2dShape checked_shape(const Tensor& input, const Tensor& guide, const Tensor& offset_weight,
                                const Tensor& weight, const std::optional<Tensor>& bias) {
    check_numbers("input", input), check_numbers("guide", guide), check_numbers("weight", weight);
    if (bias) check_numbers("bias", *bias);
    DeformConv2dShape s = shape_without_positions(kOp, input, weight, bias, {{1, 1}, {1, 1}, {1, 1}});
    check_shape(kOp, "weight", weight, "[O, C/groups, 3, 3]", {s.out_channels, weight.size(1), 3, 3});
    STD_TORCH_CHECK(fits_fast_kernels(s), kOp, ": input must have fewer than 2^31 pixels an image, got ",
                    shape_string(input.sizes()));
    check_rank(kOp, "guide", guide, "[B, D, H, W]", 4);
    check_shape(kOp, "guide", guide, "[B, D, H, W]", {s.batch, guide.size(1), s.height, s.width});
    check_rank(kOp, "offset_weight", offset_weight, "[3*G*9, D, 3, 3]", 4);
    const int64_t maps = offset_weight.size(0);
    s.offset_groups = maps / (3 * kTaps);
    STD_TORCH_CHECK(s.offset_groups > 0 && maps % (3 * kTaps) == 0 && s.channels % s.offset_groups == 0, kOp,
                    ": offset_weight must be [3*G*9, D, 3, 3] with G dividing the input channels ", s.channels,
                    ", got ", shape_string(offset_weight.sizes()));
    return s;
}

template <typename scalar_t>
Planes<scalar_t> planes(const Tensor& t) {
    return {numbers<scalar_t>(t), t.stride(0), t.stride(1), pixel_stride(t)};
}

Tensor deform_conv2d_guided(const Tensor& input, const Tensor& guide, const Tensor& offset_weight,
                            std::optional<Tensor> offset_bias, const Tensor& weight, std::optional<Tensor> bias,
                            const std::string& operands) {
    const bool bfloat16 = rounds_to_bfloat16(kOp, operands);
    const DeformConv2dShape s = checked_shape(input, guide, offset_weight, weight, bias);
    Conv3x3Bands offsets(Conv3x3Arguments(kOp, {guide}, offset_weight, offset_bias, std::nullopt));
    Tensor output = new_result(input, {s.batch, s.out_channels, s.height, s.width}, true);
    const Tensor even = evenly_spaced(input), bordered = new_result(input, {bordered_size(s)});
    const Tensor held_weight = torch::stable::contiguous(weight);
    if (bias) bias = torch::stable::contiguous(*bias);

    DeformForward<float> d{};
    d.in.shape = s;
    d.in.input = planes<const float>(even);
    d.in.logits = true;
    d.in.weight = numbers<const float>(held_weight);
    d.bias = numbers<const float>(bias);
    d.output = planes<float>(output);
    d.bordered = numbers<float>(bordered);
    for (int64_t image = 0; image < s.batch; ++image) {
        offsets.of_image(image, [&](const float* sums, int64_t first_row, int64_t last_row) {
            const int64_t maps = 3 * kTaps * s.offset_groups, first = first_row * s.width;
            d.in.offset = {sums - first * maps, 0, 1, maps};  // from where row 0 would lie
            d.in.mask = {d.in.offset.data + 2 * s.offset_groups * kTaps, 0, 1, maps};
            d.window = {image, first, last_row * s.width};
            run_kernel(&Kernels<float>::deform_conv2d, bfloat16, d);
            d.copied = true;
        });
    }
    return output;
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // deform_conv2d_packed of input [B, C, H, W] with the offsets and mask logits that conv3x3 gives of guide [B, D, H,
    // W] by offset_weight [3*G*9, D, 3, 3], padded by 1. float32, no gradients.
    m.def(
        "deform_conv2d_guided(Tensor input, Tensor guide, Tensor offset_weight, Tensor? offset_bias, Tensor weight, "
        "Tensor? bias, str operands) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) { m.impl("deform_conv2d_guided", TORCH_BOX(&vinr::deform_conv2d_guided)); }
