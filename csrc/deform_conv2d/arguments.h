// Checks of deform_conv2d and memory formats of its tensors, shared by its CPU and CUDA bindings.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <optional>

#include "checks.h"
#include "deform_conv2d/shape.h"

namespace vinr {

using Pair = std::vector<int64_t>;

// Whether a tensor is channels-last and not NCHW as well; results take the memory format of what they belong to.
inline bool is_channels_last(const Tensor& t) {
    int64_t expected = 1;
    for (const int64_t dim : {1, 3, 2, 0}) {
        if (t.size(dim) != 1 && t.stride(dim) != expected) return false;
        expected *= t.size(dim);
    }
    return !t.is_contiguous();
}

inline Tensor channels_last(const Tensor& t) { return torch::stable::contiguous(t, MemoryFormat::ChannelsLast); }

// The offsets and mask of a call; of the packed form, views of one tensor.
struct Positions {
    Tensor offset;
    std::optional<Tensor> mask;
    bool logits = false;
};

// A tensor, or a copy of it, whose pixels lie evenly spaced in memory: pixel_stride apart.
inline Tensor evenly_spaced(const Tensor& t) {
    const bool even = t.size(2) <= 1 || t.size(3) <= 1 || t.stride(2) == t.size(3) * t.stride(3);
    return even ? t : torch::stable::contiguous(t);
}
inline int64_t pixel_stride(const Tensor& t) { return t.stride(t.size(3) > 1 ? 3 : 2); }

// Offsets and masks of 16-bit inputs may be float32 as well.
inline void check_position_dtype(const char* op, const char* name, const Tensor& tensor, const Tensor& input) {
    using torch::headeronly::ScalarType;
    const auto dtype = input.scalar_type();
    const bool narrow = dtype == ScalarType::Half || dtype == ScalarType::BFloat16;
    if (!narrow || tensor.scalar_type() != ScalarType::Float) check_same_dtype(op, name, tensor, input);
}

struct Geometry {
    Pair stride, padding, dilation;  // (y, x) each
};

// Checks every argument but the positions, and derives what follows from them: all but offset_groups. Throws
// std::runtime_error.
inline DeformConv2dShape shape_without_positions(const char* op, const Tensor& input, const Tensor& weight,
                                                 const std::optional<Tensor>& bias, const Geometry& geometry) {
    const auto& [stride, padding, dilation] = geometry;
    check_rank(op, "input", input, "[B, C, H, W]", 4);
    check_rank(op, "weight", weight, "[O, C/groups, kh, kw]", 4);
    STD_TORCH_CHECK(stride.size() == 2 && padding.size() == 2 && dilation.size() == 2, op,
                    ": stride, padding and dilation must be (y, x) pairs");
    DeformConv2dShape s{};
    s.batch = input.size(0), s.channels = input.size(1), s.height = input.size(2), s.width = input.size(3);
    s.out_channels = weight.size(0), s.kernel_height = weight.size(2), s.kernel_width = weight.size(3);
    STD_TORCH_CHECK(s.height > 0 && s.width > 0, op, ": input must have pixels, got ", shape_string(input.sizes()));
    int64_t out[2];
    for (int axis = 0; axis < 2; ++axis) {
        s.stride[axis] = stride[axis], s.padding[axis] = padding[axis], s.dilation[axis] = dilation[axis];
        const int64_t kernel = weight.size(2 + axis), size = input.size(2 + axis);
        STD_TORCH_CHECK(stride[axis] > 0 && padding[axis] >= 0 && dilation[axis] > 0 && kernel > 0, op,
                        ": stride, dilation and kernel must be positive and padding not negative, got stride ",
                        shape_string(stride), ", padding ", shape_string(padding), ", dilation ",
                        shape_string(dilation), ", weight ", shape_string(weight.sizes()));
        const int64_t span = size + 2 * padding[axis] - (dilation[axis] * (kernel - 1) + 1);
        STD_TORCH_CHECK(span >= 0, op, ": the dilated kernel must fit the padded input, got input ",
                        shape_string(input.sizes()), ", weight ", shape_string(weight.sizes()), ", padding ",
                        shape_string(padding), ", dilation ", shape_string(dilation));
        out[axis] = span / stride[axis] + 1;
    }
    s.out_height = out[0], s.out_width = out[1];
    STD_TORCH_CHECK(weight.size(1) > 0 && s.channels % weight.size(1) == 0, op,
                    ": input channels must be a multiple of weight.shape[1], got input ", shape_string(input.sizes()),
                    ", weight ", shape_string(weight.sizes()));
    s.groups = s.channels / weight.size(1);
    STD_TORCH_CHECK(s.groups > 0 && s.out_channels % s.groups == 0, op,
                    ": output channels must be a multiple of groups = ", s.groups, ", got weight ",
                    shape_string(weight.sizes()));
    check_same_dtype(op, "weight", weight, input);
    if (bias) {
        check_shape(op, "bias", *bias, "[O]", {s.out_channels});
        check_same_dtype(op, "bias", *bias, input);
    }
    return s;
}

// Checks every argument against the others and derives the shape. Throws std::runtime_error.
inline DeformConv2dShape deform_conv2d_shape(const char* op, const Tensor& input, const Positions& at,
                                             const Tensor& weight, const std::optional<Tensor>& bias,
                                             const Geometry& geometry) {
    const auto& [offset, mask, logits] = at;
    DeformConv2dShape s = shape_without_positions(op, input, weight, bias, geometry);
    check_rank(op, "offset", offset, "[B, 2*G*K, H, W]", 4);
    s.offset_groups = offset.size(1) / (2 * s.taps());
    STD_TORCH_CHECK(s.offset_groups > 0 && offset.size(1) % (2 * s.taps()) == 0 && s.channels % s.offset_groups == 0,
                    op, ": offset channels must be 2*G*K with K = ", s.taps(),
                    " taps and G dividing the input channels ", s.channels, ", got offset ",
                    shape_string(offset.sizes()));
    check_shape(op, "offset", offset, "[B, 2*G*K, H, W]",
                {s.batch, 2 * s.offset_groups * s.taps(), s.out_height, s.out_width});
    check_position_dtype(op, "offset", offset, input);
    if (mask) {
        check_shape(op, "mask", *mask, "[B, G*K, H, W]",
                    {s.batch, s.offset_groups * s.taps(), s.out_height, s.out_width});
        check_position_dtype(op, "mask", *mask, input);
    }
    return s;
}

// Views of an offset_mask [B, 3*G*K, H, W]: 2*G*K channels of offsets, then G*K of mask logits.
inline Positions unpacked(const char* op, const Tensor& offset_mask, const Tensor& weight) {
    check_rank(op, "offset_mask", offset_mask, "[B, 3*G*K, H, W]", 4);
    check_rank(op, "weight", weight, "[O, C/groups, kh, kw]", 4);
    const int64_t taps = weight.size(2) * weight.size(3), channels = offset_mask.size(1);
    STD_TORCH_CHECK(taps > 0 && channels > 0 && channels % (3 * taps) == 0, op,
                    ": offset_mask channels must be 3*G*K with K = ", taps, " taps, got offset_mask ",
                    shape_string(offset_mask.sizes()));
    const auto narrow = [&](int64_t first, int64_t count) {
        return torch::stable::narrow(const_cast<Tensor&>(offset_mask), 1, first, count);
    };
    return {narrow(0, channels / 3 * 2), narrow(channels / 3 * 2, channels / 3), true};
}

// Calls check(op, name, tensor) for every tensor that is given.
template <typename Check>
void check_each(const char* op, const Tensor& input, const Positions& at, const Tensor& weight,
                const std::optional<Tensor>& bias, Check&& check) {
    check(op, "input", input), check(op, "offset", at.offset), check(op, "weight", weight);
    if (bias) check(op, "bias", *bias);
    if (at.mask) check(op, "mask", *at.mask);
}

}  // namespace vinr
