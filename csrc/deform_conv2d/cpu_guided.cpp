// Deformable convolution whose offsets and masks a 3x3 convolution makes of a guide, in bands of rows: the offsets of a
// band are used while they are in the caches, and those of a whole map, three times as large as all else, are never
// held.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>

#include "common/cpu/binding.h"
#include "deform_conv2d/arguments.h"

namespace vinr {
namespace {

#include "common/cpu/kept.h"

constexpr const char* kOp = "deform_conv2d_guided";
constexpr int64_t kTaps = 9;
constexpr int64_t kBandBytes = 8 << 20;  // of offsets and masks, about
constexpr int64_t kBandRows = 4;         // rows of a band are a multiple of it: the convolution works in tiles of 4 x 4

struct Arguments {
    Tensor input, guide, offset_weight, weight;
    std::optional<Tensor> offset_bias, bias;
    DeformConv2dShape shape{};

    Arguments(const Tensor& input_, const Tensor& guide_, const Tensor& offset_weight_,
              const std::optional<Tensor>& offset_bias_, const Tensor& weight_, const std::optional<Tensor>& bias_) {
        check_rank(kOp, "input", input_, "[B, C, H, W]", 4);
        check_rank(kOp, "guide", guide_, "[B, D, H, W]", 4);
        check_rank(kOp, "offset_weight", offset_weight_, "[3*G*9, D, 3, 3]", 4);
        check_rank(kOp, "weight", weight_, "[O, C/groups, 3, 3]", 4);
        DeformConv2dShape& s = shape;
        s.batch = input_.size(0), s.channels = input_.size(1), s.height = input_.size(2), s.width = input_.size(3);
        s.out_channels = weight_.size(0), s.kernel_height = s.kernel_width = 3;
        s.out_height = s.height, s.out_width = s.width;
        for (int axis = 0; axis < 2; ++axis) s.stride[axis] = s.padding[axis] = s.dilation[axis] = 1;
        STD_TORCH_CHECK(s.height > 0 && s.width > 0 && fits_fast_kernels(s), kOp,
                        ": input must have pixels, fewer than 2^31 an image, got ", shape_string(input_.sizes()));
        const int64_t group_channels = weight_.size(1), maps = offset_weight_.size(0), D = guide_.size(1);
        STD_TORCH_CHECK(group_channels > 0 && s.channels % group_channels == 0, kOp,
                        ": input channels must be a multiple of weight.shape[1], got input ",
                        shape_string(input_.sizes()), ", weight ", shape_string(weight_.sizes()));
        s.groups = s.channels / group_channels, s.offset_groups = maps / (3 * kTaps);
        STD_TORCH_CHECK(s.groups > 0 && s.out_channels % s.groups == 0, kOp,
                        ": output channels must be a multiple of groups = ", s.groups, ", got weight ",
                        shape_string(weight_.sizes()));
        STD_TORCH_CHECK(s.offset_groups > 0 && maps % (3 * kTaps) == 0 && s.channels % s.offset_groups == 0 && D > 0,
                        kOp, ": offset_weight must be [3*G*9, D, 3, 3] with G dividing the input channels ", s.channels,
                        ", got ", shape_string(offset_weight_.sizes()));
        check_shape(kOp, "guide", guide_, "[B, D, H, W]", {s.batch, D, s.height, s.width});
        check_shape(kOp, "offset_weight", offset_weight_, "[3*G*9, D, 3, 3]", {maps, D, 3, 3});
        check_shape(kOp, "weight", weight_, "[O, C/groups, 3, 3]", {s.out_channels, group_channels, 3, 3});
        if (offset_bias_) check_shape(kOp, "offset_bias", *offset_bias_, "[3*G*9]", {maps});
        if (bias_) check_shape(kOp, "bias", *bias_, "[O]", {s.out_channels});
        input = numbers_of("input", input_), guide = channels_last(numbers_of("guide", guide_));
        offset_weight = torch::stable::contiguous(numbers_of("offset_weight", offset_weight_));
        weight = torch::stable::contiguous(numbers_of("weight", weight_));
        if (offset_bias_) offset_bias = torch::stable::contiguous(numbers_of("offset_bias", *offset_bias_));
        if (bias_) bias = torch::stable::contiguous(numbers_of("bias", *bias_));
    }

    static Tensor numbers_of(const char* name, const Tensor& t) {
        check_cpu(kOp, name, t);
        STD_TORCH_CHECK(t.scalar_type() == torch::headeronly::ScalarType::Float, kOp, ": ", name, " must be float32");
        return t;
    }

    int64_t maps() const { return offset_weight.size(0); }
};

template <typename scalar_t>
Planes<scalar_t> planes(const Tensor& t) {
    return {numbers<scalar_t>(t), t.stride(0), t.stride(1), pixel_stride(t)};
}

Tensor deform_conv2d_guided(const Tensor& input, const Tensor& guide, const Tensor& offset_weight,
                            std::optional<Tensor> offset_bias, const Tensor& weight, std::optional<Tensor> bias,
                            const std::string& operands) {
    const bool bfloat16 = rounds_to_bfloat16(kOp, operands);
    const Arguments a(input, guide, offset_weight, offset_bias, weight, bias);
    const DeformConv2dShape& s = a.shape;
    Tensor output = new_empty(input, {s.batch, s.out_channels, s.height, s.width}, true);
    const Tensor even = evenly_spaced(a.input);
    const Tensor bordered = torch::stable::empty({bordered_size(s)}, a.input.scalar_type());

    const int64_t maps = a.maps(), row = s.width * maps;
    const int64_t whole = (s.height + kBandRows - 1) / kBandRows * kBandRows;
    const int64_t fitting = kBandBytes / (row * int64_t(sizeof(float))) / kBandRows * kBandRows;
    const int64_t rows = std::min(whole, std::max(kBandRows, fitting));
    static thread_local Kept<float> kept_band;
    float* const band = kept_band.room(rows * row);

    DeformForward<float> d{};
    d.in.shape = s;
    d.in.input = planes<const float>(even);
    d.in.logits = true;
    d.in.weight = numbers<const float>(a.weight);
    d.bias = numbers<const float>(a.bias);
    d.output = planes<float>(output);
    d.bordered = numbers<float>(bordered);

    ChannelsLast<const float> of_image{};
    Conv3x3Parameters<float> c{};
    c.batch = 1, c.height = s.height, c.width = s.width;
    c.inputs = a.guide.size(1), c.outputs = maps;
    c.maps = &of_image, c.map_count = 1;
    c.weight = numbers<const float>(a.offset_weight), c.weight_stride = a.offset_weight.stride(0);
    c.bias = numbers<const float>(a.offset_bias);
    c.slope = 1;

    for (int64_t image = 0; image < s.batch; ++image) {
        const int64_t g = a.guide.stride(0);
        of_image = {numbers<const float>(a.guide) + image * g, c.inputs, g, s.width * c.inputs, c.inputs};
        for (int64_t y = 0; y < s.height; y += rows) {
            float* const first = band - y * row;  // where row 0 would lie
            c.first_row = y, c.last_row = std::min(y + rows, s.height);
            c.out = {first, maps, 0, row, maps};
            run_kernel(&Kernels<float>::conv3x3, false, c);
            d.in.offset = {first, 0, 1, maps};
            d.in.mask = {first + 2 * s.offset_groups * kTaps, 0, 1, maps};
            d.window = {image, c.first_row * s.width, c.last_row * s.width};
            run_kernel(&Kernels<float>::deform_conv2d, bfloat16, d);
            d.copied = true;
        }
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
