// Deformable convolution on the CPU in plain loops over NCHW: float64, and images too large for the fast kernels.
// Output pixels are taken in tiles: a tile's samples fill a small column buffer, never a whole im2col tensor.
// The backward pass gives each thread channels of its own, so that it needs no atomics and its result does not depend
// on the number of threads.
#include "deform_conv2d/cpu_plain.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <vector>

#include "common/portable.h"

namespace vinr {
namespace {

#include "common/bilinear.h"

constexpr int64_t kTile = 64;  // output pixels a tile: a column buffer of 64 x 576 floats fits the L2 cache

// Corners and mask of `count` output pixels from `first` on, for one tap of one offset group of one image.
template <typename scalar_t>
void tile_corners(const DeformConv2dShape& s, const PlainArrays<scalar_t>& a, int64_t image, int64_t offset_group,
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

// What lies at a corner outside is not read, whatever it holds.
template <typename scalar_t>
scalar_t sample(const scalar_t* plane, const Corners<scalar_t>& c) {
    scalar_t sum = 0;
    for (int k = 0; k < 4; ++k) {
        if (c.inside[k]) sum += plane[c.offset[k]] * c.weight[k];
    }
    return sum;
}

template <typename scalar_t>
void forward_tile(const DeformConv2dShape& s, const PlainArrays<scalar_t>& a, const scalar_t* bias, scalar_t* output,
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

// Gradients of input, offset and mask for the channels of one offset group of one image; null where not wanted.
template <typename scalar_t>
void backward_samples(const DeformConv2dShape& s, const PlainArrays<scalar_t>& a, const scalar_t* grad_output,
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
                        if (!corner.inside[k]) continue;
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
void backward_weight(const DeformConv2dShape& s, const PlainArrays<scalar_t>& a, const scalar_t* grad_output,
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

}  // namespace

template <typename scalar_t>
void plain_forward(const DeformConv2dShape& s, const PlainArrays<scalar_t>& a, const scalar_t* bias, scalar_t* output) {
    const int64_t tiles = (s.out_pixels() + kTile - 1) / kTile;
    torch::stable::parallel_for(0, s.batch * tiles, 1, [&](int64_t begin, int64_t end) {
        std::vector<scalar_t> columns;
        for (int64_t task = begin; task < end; ++task) {
            const int64_t first = task % tiles * kTile;
            forward_tile(s, a, bias, output, task / tiles, first, std::min(kTile, s.out_pixels() - first), columns);
        }
    });
}

template <typename scalar_t>
void plain_backward(const DeformConv2dShape& s, const PlainArrays<scalar_t>& a, const scalar_t* grad_output,
                    const PlainGradients<scalar_t>& d) {
    const int64_t samples = d.input || d.offset || d.mask ? s.batch * s.offset_groups : 0;
    torch::stable::parallel_for(0, samples, 1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
            backward_samples(s, a, grad_output, d.input, d.offset, d.mask, task / s.offset_groups,
                             task % s.offset_groups);
        }
    });
    torch::stable::parallel_for(0, d.weight ? s.channels : 0, 1, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) backward_weight(s, a, grad_output, d.weight, c);
    });
    torch::stable::parallel_for(0, d.bias ? s.out_channels : 0, 1, [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) backward_bias(s, grad_output, d.bias, o);
    });
}

#define VINR_PLAIN(scalar_t)                                                                                         \
    template void plain_forward(const DeformConv2dShape&, const PlainArrays<scalar_t>&, const scalar_t*, scalar_t*); \
    template void plain_backward(const DeformConv2dShape&, const PlainArrays<scalar_t>&, const scalar_t*,            \
                                 const PlainGradients<scalar_t>&);
VINR_PLAIN(float)
VINR_PLAIN(double)
#undef VINR_PLAIN

}  // namespace vinr
