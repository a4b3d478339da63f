// Modulated deformable convolution on the CPU, float32 and float64, any stride, padding, dilation and groups.
// Output pixels are taken in tiles: a tile's samples fill a small column buffer, never a whole im2col tensor.
// The backward pass gives each thread channels of its own, so that it needs no atomics and its result does not depend
// on the number of threads.
#include "deform_conv2d.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "common/portable.h"

namespace vinr {
namespace {

#include "common/bilinear.h"

constexpr int64_t kTile = 64;  // output pixels a tile: a column buffer of 64 x 576 floats fits the L2 cache

template <typename scalar_t>
struct Arrays {
    const scalar_t* input;   // [B, C, H, W]
    const scalar_t* offset;  // [B, G, K, 2, oh, ow]
    const scalar_t* weight;  // [O, C/groups, K]
    const scalar_t* mask;    // [B, G, K, oh, ow] or null
};

// Corners and mask of `count` output pixels from `first` on, for one tap of one offset group of one image.
template <typename scalar_t>
void tile_corners(const DeformConv2dShape& s, const Arrays<scalar_t>& a, int64_t image, int64_t offset_group,
                  int64_t tap, int64_t first, int64_t count, Corners<scalar_t>* corners, scalar_t* mask) {
    const int64_t plane = (image * s.offset_groups + offset_group) * s.taps() + tap;
    const scalar_t* dy = a.offset + 2 * plane * s.out_pixels();
    const scalar_t* dx = dy + s.out_pixels();
    const scalar_t tap_y = scalar_t((tap / s.kernel_width) * s.dilation[0] - s.padding[0]);
    const scalar_t tap_x = scalar_t((tap % s.kernel_width) * s.dilation[1] - s.padding[1]);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t pixel = first + i;
        const scalar_t y = scalar_t(pixel / s.out_width * s.stride[0]) + tap_y + dy[pixel];
        const scalar_t x = scalar_t(pixel % s.out_width * s.stride[1]) + tap_x + dx[pixel];
        bilinear_corners(y, x, s.height, s.width, s.width, int64_t(1), corners[i]);
        mask[i] = a.mask ? a.mask[plane * s.out_pixels() + pixel] : scalar_t(1);
    }
}

template <typename scalar_t>
scalar_t sample(const scalar_t* plane, const Corners<scalar_t>& c) {
    return plane[c.offset[0]] * c.weight[0] + plane[c.offset[1]] * c.weight[1] + plane[c.offset[2]] * c.weight[2] +
           plane[c.offset[3]] * c.weight[3];
}

template <typename scalar_t>
void forward_tile(const DeformConv2dShape& s, const Arrays<scalar_t>& a, const scalar_t* bias, scalar_t* output,
                  int64_t image, int64_t first, int64_t count, std::vector<scalar_t>& columns) {
    Corners<scalar_t> corners[kTile];
    scalar_t mask[kTile];
    const int64_t group_channels = s.channels / s.groups, offset_channels = s.channels / s.offset_groups;
    columns.resize(s.channels * s.taps() * kTile);
    for (int64_t og = 0; og < s.offset_groups; ++og) {
        for (int64_t tap = 0; tap < s.taps(); ++tap) {
            tile_corners(s, a, image, og, tap, first, count, corners, mask);
            for (int64_t c = og * offset_channels; c < (og + 1) * offset_channels; ++c) {
                const scalar_t* plane = a.input + (image * s.channels + c) * s.height * s.width;
                scalar_t* column = columns.data() + (c * s.taps() + tap) * kTile;
                for (int64_t i = 0; i < count; ++i) column[i] = mask[i] * sample(plane, corners[i]);
                std::fill(column + count, column + kTile, scalar_t(0));
            }
        }
    }
    const int64_t depth = group_channels * s.taps(), out_group = s.out_channels / s.groups;
    for (int64_t o = 0; o < s.out_channels; ++o) {
        scalar_t sum[kTile];
        std::fill(sum, sum + kTile, bias ? bias[o] : scalar_t(0));
        const scalar_t* column = columns.data() + o / out_group * depth * kTile;
        for (int64_t d = 0; d < depth; ++d, column += kTile) {
            const scalar_t w = a.weight[o * depth + d];
            for (int64_t i = 0; i < kTile; ++i) sum[i] += w * column[i];
        }
        std::copy(sum, sum + count, output + (image * s.out_channels + o) * s.out_pixels() + first);
    }
}

template <typename scalar_t>
void forward(const DeformConv2dShape& s, const Arrays<scalar_t>& a, const scalar_t* bias, scalar_t* output) {
    const int64_t tiles = (s.out_pixels() + kTile - 1) / kTile;
    torch::stable::parallel_for(0, s.batch * tiles, 1, [&](int64_t begin, int64_t end) {
        std::vector<scalar_t> columns;
        for (int64_t task = begin; task < end; ++task) {
            const int64_t first = task % tiles * kTile;
            forward_tile(s, a, bias, output, task / tiles, first, std::min(kTile, s.out_pixels() - first), columns);
        }
    });
}

// Gradients of input, offset and mask for the channels of one offset group of one image; null where not wanted.
template <typename scalar_t>
void backward_samples(const DeformConv2dShape& s, const Arrays<scalar_t>& a, const scalar_t* grad_output,
                      scalar_t* grad_input, scalar_t* grad_offset, scalar_t* grad_mask, int64_t image, int64_t og) {
    Corners<scalar_t> corners[kTile];
    scalar_t mask[kTile], d_column[kTile], d_y[kTile], d_x[kTile], d_mask[kTile];
    const int64_t group_channels = s.channels / s.groups, offset_channels = s.channels / s.offset_groups;
    const int64_t out_group = s.out_channels / s.groups;
    for (int64_t first = 0; first < s.out_pixels(); first += kTile) {
        const int64_t count = std::min(kTile, s.out_pixels() - first);
        for (int64_t tap = 0; tap < s.taps(); ++tap) {
            tile_corners(s, a, image, og, tap, first, count, corners, mask);
            std::fill(d_y, d_y + count, scalar_t(0));
            std::fill(d_x, d_x + count, scalar_t(0));
            std::fill(d_mask, d_mask + count, scalar_t(0));
            for (int64_t c = og * offset_channels; c < (og + 1) * offset_channels; ++c) {
                const int64_t group = c / group_channels;
                std::fill(d_column, d_column + count, scalar_t(0));
                for (int64_t o = group * out_group; o < (group + 1) * out_group; ++o) {
                    const scalar_t w = a.weight[(o * group_channels + c % group_channels) * s.taps() + tap];
                    const scalar_t* g = grad_output + (image * s.out_channels + o) * s.out_pixels() + first;
                    for (int64_t i = 0; i < count; ++i) d_column[i] += w * g[i];
                }
                const int64_t plane = (image * s.channels + c) * s.height * s.width;
                for (int64_t i = 0; i < count; ++i) {
                    const Corners<scalar_t>& corner = corners[i];
                    const scalar_t d_value = d_column[i] * mask[i];
                    scalar_t value = 0, slope_y = 0, slope_x = 0;
                    for (int k = 0; k < 4; ++k) {
                        const scalar_t v = a.input[plane + corner.offset[k]];
                        value += v * corner.weight[k];
                        slope_y += v * corner.d_dy[k];
                        slope_x += v * corner.d_dx[k];
                        if (grad_input) grad_input[plane + corner.offset[k]] += d_value * corner.weight[k];
                    }
                    d_mask[i] += d_column[i] * value;
                    d_y[i] += d_value * slope_y;
                    d_x[i] += d_value * slope_x;
                }
            }
            const int64_t out = (image * s.offset_groups + og) * s.taps() + tap;
            if (grad_offset) {
                std::copy(d_y, d_y + count, grad_offset + 2 * out * s.out_pixels() + first);
                std::copy(d_x, d_x + count, grad_offset + (2 * out + 1) * s.out_pixels() + first);
            }
            if (grad_mask) std::copy(d_mask, d_mask + count, grad_mask + out * s.out_pixels() + first);
        }
    }
}

// Gradient of weight[:, c] of the group that input channel c belongs to, over the whole batch.
template <typename scalar_t>
void backward_weight(const DeformConv2dShape& s, const Arrays<scalar_t>& a, const scalar_t* grad_output,
                     scalar_t* grad_weight, int64_t c) {
    Corners<scalar_t> corners[kTile];
    scalar_t mask[kTile], column[kTile];
    const int64_t group_channels = s.channels / s.groups, out_group = s.out_channels / s.groups;
    const int64_t group = c / group_channels, og = c / (s.channels / s.offset_groups);
    for (int64_t image = 0; image < s.batch; ++image) {
        const scalar_t* plane = a.input + (image * s.channels + c) * s.height * s.width;
        for (int64_t first = 0; first < s.out_pixels(); first += kTile) {
            const int64_t count = std::min(kTile, s.out_pixels() - first);
            for (int64_t tap = 0; tap < s.taps(); ++tap) {
                tile_corners(s, a, image, og, tap, first, count, corners, mask);
                for (int64_t i = 0; i < count; ++i) column[i] = mask[i] * sample(plane, corners[i]);
                for (int64_t o = group * out_group; o < (group + 1) * out_group; ++o) {
                    const scalar_t* g = grad_output + (image * s.out_channels + o) * s.out_pixels() + first;
                    scalar_t sum = 0;
                    for (int64_t i = 0; i < count; ++i) sum += g[i] * column[i];
                    grad_weight[(o * group_channels + c % group_channels) * s.taps() + tap] += sum;
                }
            }
        }
    }
}

template <typename scalar_t>
void backward_bias(const DeformConv2dShape& s, const scalar_t* grad_output, scalar_t* grad_bias, int64_t o) {
    double sum = 0;
    for (int64_t image = 0; image < s.batch; ++image) {
        const scalar_t* g = grad_output + (image * s.out_channels + o) * s.out_pixels();
        for (int64_t i = 0; i < s.out_pixels(); ++i) sum += double(g[i]);
    }
    grad_bias[o] = scalar_t(sum);
}

template <typename scalar_t>
struct Contiguous {  // keeps contiguous copies alive beside the pointers into them
    Contiguous(const Tensor& input, const Tensor& offset, const Tensor& weight, const std::optional<Tensor>& mask)
        : input(torch::stable::contiguous(input)),
          offset(torch::stable::contiguous(offset)),
          weight(torch::stable::contiguous(weight)),
          mask(mask ? std::optional<Tensor>(torch::stable::contiguous(*mask)) : std::nullopt) {}

    Arrays<scalar_t> arrays() const {
        return {static_cast<const scalar_t*>(input.const_data_ptr()),
                static_cast<const scalar_t*>(offset.const_data_ptr()),
                static_cast<const scalar_t*>(weight.const_data_ptr()),
                mask ? static_cast<const scalar_t*>(mask->const_data_ptr()) : nullptr};
    }

    Tensor input, offset, weight;
    std::optional<Tensor> mask;
};

void check_device_and_dtype(const char* op, const Tensor& input, const Tensor& offset, const Tensor& weight,
                            const std::optional<Tensor>& bias, const std::optional<Tensor>& mask) {
    check_cpu(op, "offset", offset);
    check_cpu(op, "weight", weight);
    if (bias) check_cpu(op, "bias", *bias);
    if (mask) check_cpu(op, "mask", *mask);
    const auto dtype = input.scalar_type();
    STD_TORCH_CHECK(dtype == torch::headeronly::ScalarType::Float || dtype == torch::headeronly::ScalarType::Double, op,
                    ": input must be float32 or float64 on the cpu backend");
}

Tensor deform_conv2d(const Tensor& input, const Tensor& offset, const Tensor& weight, std::optional<Tensor> bias,
                     std::optional<Tensor> mask, std::vector<int64_t> stride, std::vector<int64_t> padding,
                     std::vector<int64_t> dilation) {
    const char* op = "deform_conv2d";
    const auto s = deform_conv2d_shape(op, input, offset, weight, bias, mask, stride, padding, dilation);
    check_device_and_dtype(op, input, offset, weight, bias, mask);
    Tensor output = torch::stable::new_empty(input, {s.batch, s.out_channels, s.out_height, s.out_width});
    const Tensor flat_bias = bias ? torch::stable::contiguous(*bias) : torch::stable::new_empty(input, {0});
    const auto run = [&](auto zero) {
        using scalar_t = decltype(zero);
        const Contiguous<scalar_t> held(input, offset, weight, mask);
        forward(s, held.arrays(), bias ? static_cast<const scalar_t*>(flat_bias.const_data_ptr()) : nullptr,
                static_cast<scalar_t*>(output.mutable_data_ptr()));
    };
    input.scalar_type() == torch::headeronly::ScalarType::Float ? run(0.0f) : run(0.0);
    return output;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& offset, const Tensor& weight,
    std::optional<Tensor> mask, std::vector<int64_t> stride, std::vector<int64_t> padding,
    std::vector<int64_t> dilation, std::vector<bool> output_mask) {
    const char* op = "deform_conv2d_backward";
    const auto s = deform_conv2d_shape(op, input, offset, weight, std::nullopt, mask, stride, padding, dilation);
    check_device_and_dtype(op, input, offset, weight, grad_output, mask);
    check_shape(op, "grad_output", grad_output, "[B, O, H, W]", {s.batch, s.out_channels, s.out_height, s.out_width});
    check_same_dtype(op, "grad_output", grad_output, input);
    STD_TORCH_CHECK(output_mask.size() == 5, op, ": output_mask must have 5 entries");
    STD_TORCH_CHECK(mask || !output_mask[4], op, ": no gradient of a mask that was not given");

    const auto zeros = [&](bool wanted, const Tensor& like) {
        return wanted ? torch::stable::new_zeros(like, like.sizes()) : torch::stable::new_empty(like, {0});
    };
    Tensor grad_input = zeros(output_mask[0], input);
    Tensor grad_offset = zeros(output_mask[1], offset);
    Tensor grad_weight = zeros(output_mask[2], weight);
    Tensor grad_bias = torch::stable::new_zeros(weight, {output_mask[3] ? s.out_channels : 0});
    Tensor grad_mask = zeros(output_mask[4], mask ? *mask : offset);
    const Tensor flat_grad = torch::stable::contiguous(grad_output);

    const auto run = [&](auto zero) {
        using scalar_t = decltype(zero);
        const Contiguous<scalar_t> held(input, offset, weight, mask);
        const Arrays<scalar_t> arrays = held.arrays();
        const auto* grad = static_cast<const scalar_t*>(flat_grad.const_data_ptr());
        const auto pointer = [](bool wanted, Tensor& t) {
            return wanted ? static_cast<scalar_t*>(t.mutable_data_ptr()) : nullptr;
        };
        scalar_t* d_input = pointer(output_mask[0], grad_input);
        scalar_t* d_offset = pointer(output_mask[1], grad_offset);
        scalar_t* d_weight = pointer(output_mask[2], grad_weight);
        scalar_t* d_bias = pointer(output_mask[3], grad_bias);
        scalar_t* d_mask = pointer(output_mask[4], grad_mask);
        const int64_t samples = d_input || d_offset || d_mask ? s.batch * s.offset_groups : 0;
        torch::stable::parallel_for(0, samples, 1, [&](int64_t begin, int64_t end) {
            for (int64_t task = begin; task < end; ++task) {
                backward_samples(s, arrays, grad, d_input, d_offset, d_mask, task / s.offset_groups,
                                 task % s.offset_groups);
            }
        });
        torch::stable::parallel_for(0, d_weight ? s.channels : 0, 1, [&](int64_t begin, int64_t end) {
            for (int64_t c = begin; c < end; ++c) backward_weight(s, arrays, grad, d_weight, c);
        });
        torch::stable::parallel_for(0, d_bias ? s.out_channels : 0, 1, [&](int64_t begin, int64_t end) {
            for (int64_t o = begin; o < end; ++o) backward_bias(s, grad, d_bias, o);
        });
    };
    input.scalar_type() == torch::headeronly::ScalarType::Float ? run(0.0f) : run(0.0);
    return {grad_input, grad_offset, grad_weight, grad_bias, grad_mask};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("deform_conv2d", TORCH_BOX(&vinr::deform_conv2d));
    m.impl("deform_conv2d_backward", TORCH_BOX(&vinr::deform_conv2d_backward));
}
