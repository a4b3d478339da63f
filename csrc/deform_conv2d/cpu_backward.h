// The backward pass of deform_conv2d; included inside a variant's namespace, after dense_kernel.h.
// Tiles are taken in bands. In a band, first each tap of each slab of tiles (a task owns its part of the weight's
// gradient, and the gradients of its offsets and masks) turns grad_output into gradients of the samples; then each
// range of channels of each image (a task owns them in grad_input) scatters those. Bands, slabs and ranges follow from
// the shape alone, so the result does not depend on the number of threads.
#pragma once

#include "common/cpu/outer_kernel.h"
#include "deform_conv2d/cpu_forward.h"

namespace deform {

constexpr int64_t kSlabs = 4;             // copies of the weight's gradient, summed in order at the end
constexpr int64_t kScatterChannels = 16;  // one cache line of floats belongs to one task
constexpr int64_t kBandFloats = 1 << 18;  // gradients of the samples that a band keeps: they stay in the L2 cache

// The weights of one tap and group as a layer for `dense`, from output to input channels.
inline PackedLayer pack_tap(const DeformInputs<Scalar>& in, int64_t tap, int64_t group) {
    const DeformConv2dShape& s = in.shape;
    const int64_t inputs = s.channels / s.groups, outputs = s.out_channels / s.groups;
    std::vector<Scalar> weight(inputs * outputs);
    const std::vector<Scalar> bias(inputs, Scalar(0));
    for (int64_t o = 0; o < outputs; ++o) {
        const Scalar* from = in.weight + (group * outputs + o) * inputs * s.taps() + tap;
        for (int64_t i = 0; i < inputs; ++i) weight[i * outputs + o] = from[i * s.taps()];
    }
    return pack_layer({outputs, inputs, weight.data(), bias.data()}, 0, outputs);
}

inline std::vector<PackedLayer> pack_taps(const DeformInputs<Scalar>& in) {
    std::vector<PackedLayer> packed;
    for (int64_t tap = 0; tap < in.shape.taps(); ++tap) {
        for (int64_t g = 0; g < in.shape.groups; ++g) packed.push_back(pack_tap(in, tap, g));
    }
    return packed;
}

// dots[i][k] = the sum over channels of corner k times d_columns; 0 for a corner outside.
template <int64_t kChannels>
inline void dot_channels(const Pixels<const Scalar>& image, int64_t channels, const Positions& p, int64_t count,
                         const Scalar* d_columns, int64_t stride, Scalar (*dots)[4]) {
    const int64_t n = kChannels ? kChannels : channels;
    for (int64_t i = 0; i < count; ++i, d_columns += stride) {
        if (p.corners[i] != kAllCorners) {
            for (int k = 0; k < 4; ++k) {
                dots[i][k] = 0;
                if ((p.corners[i] >> k & 1) == 0) continue;
                const Scalar* from = image.corner(p.pixel[i], k);
                for (int64_t c = 0; c < n; ++c) dots[i][k] += from[c] * d_columns[c];
            }
            continue;
        }
        const Scalar* corner[4];
        for (int k = 0; k < 4; ++k) corner[k] = image.corner(p.pixel[i], k);
        HalfVec sums[4] = {HalfVec::zero(), HalfVec::zero(), HalfVec::zero(), HalfVec::zero()};
        int64_t c = 0;
        for (; c + HalfVec::width <= n; c += HalfVec::width) {
            const HalfVec d = HalfVec::load(d_columns + c);
            for (int k = 0; k < 4; ++k) sums[k] = fma(HalfVec::load(corner[k] + c), d, sums[k]);
        }
        sum_lanes(sums, dots[i]);
        for (; c < n; ++c) {
            for (int k = 0; k < 4; ++k) dots[i][k] += corner[k][c] * d_columns[c];
        }
    }
}

template <int64_t kChannels>
inline void scatter_channels(const Pixels<Scalar>& image, int64_t channels, const Positions& p, int64_t count,
                             const Scalar* d_columns, int64_t stride) {
    for (int64_t i = 0; i < count; ++i, d_columns += stride) {
        for (int k = 0; k < 4; ++k) {
            if ((p.corners[i] >> k & 1) == 0) continue;
            const Scalar w = p.weight[k][i];
            Scalar* to = image.corner(p.pixel[i], k);
            for_channels<kChannels>(
                channels,
                [&](auto vec, int64_t c) {
                    using V = decltype(vec);
                    fma(V::load(d_columns + c), V::set1(w), V::load(to + c)).store(to + c);
                },
                [&](int64_t c) { to[c] += d_columns[c] * w; });
        }
    }
}

struct BackwardPass {
    const DeformBackward<Scalar>& p;
    const DeformConv2dShape& s;
    bool wants_samples, wants_positions;  // gradients of the samples; of offset or mask
    int64_t depth, outputs, padded;       // of one group: input and output channels, and those padded
    int64_t rows;                         // depth, in whole blocks
    int64_t d_stride;                     // of a pixel's sample gradients
    int64_t tiles, band;                  // in all, and in a band
    std::vector<PackedLayer> taps;        // [K, groups], from output to input channels
    std::vector<Scalar> zeros;
    std::vector<Scalar> d_columns;  // [band, K, kTile, d_stride]
    std::vector<Scalar> d_weight;   // [kSlabs, K, groups, rows, padded]
    std::vector<double> d_bias;     // [kSlabs, O]
    int64_t first = 0, last = 0;    // tiles of the present band

    explicit BackwardPass(const DeformBackward<Scalar>& p)
        : p(p),
          s(p.in.shape),
          wants_samples(p.grad_input || p.grad_offset.data || p.grad_mask.data),
          wants_positions(p.grad_offset.data || p.grad_mask.data),
          depth(s.channels / s.groups),
          outputs(s.out_channels / s.groups),
          padded(padded_width(outputs)),
          rows((depth + kBlockRows - 1) / kBlockRows * kBlockRows),
          d_stride(s.channels - depth + padded_width(depth)),
          tiles(count_tiles(s)),
          band(std::max(kSlabs, kBandFloats / (s.taps() * kTile * d_stride))),
          zeros(padded_width(depth), Scalar(0)),
          d_bias(p.grad_bias ? kSlabs * s.out_channels : 0) {
        if (wants_samples) taps = pack_taps(p.in);
        if (p.grad_input) d_columns.resize(std::min(band, tiles) * s.taps() * kTile * d_stride);
        if (p.grad_weight) d_weight.resize(kSlabs * s.taps() * s.groups * rows * padded);
    }

    // grad_output of a tile: rows of O, with room behind the last pixel and the last channel for whole blocks.
    const Scalar* tile_gradient(const Tile& tile, Scalar* buffer) const {
        const Scalar* from = p.grad_output + (tile.image * s.out_pixels() + tile.first) * s.out_channels;
        if (tile.count == kTile && outputs == padded) return from;
        std::copy(from, from + tile.count * s.out_channels, buffer);
        return buffer;
    }

    Pixels<const Scalar> group_pixels(int64_t image, int64_t g) const {
        const auto& input = p.in.input;
        return {input.at(image, g * (s.channels / s.offset_groups), 0), input.pixel, input.pixel * s.width};
    }

    // Gradients of one tap's offsets and masks of one offset group.
    void grad_positions(const Tile& tile, int64_t g, int64_t tap, const Scalar* d_tile, const Positions& at) const {
        const int64_t channels = s.channels / s.offset_groups;
        Scalar dots[kTile][4] = {}, d_y[kTile], d_x[kTile], d_mask[kTile];
        with_channels(channels, [&](auto fixed) {
            dot_channels<decltype(fixed)::value>(group_pixels(tile.image, g), channels, at, tile.count,
                                                 d_tile + g * channels, d_stride, dots);
        });
        for (int64_t i = 0; i < kTile; ++i) {
            const Scalar left = dots[i][0] + at.fy[i] * (dots[i][2] - dots[i][0]);
            const Scalar right = dots[i][1] + at.fy[i] * (dots[i][3] - dots[i][1]);
            const Scalar upper = dots[i][0] + at.fx[i] * (dots[i][1] - dots[i][0]);
            const Scalar lower = dots[i][2] + at.fx[i] * (dots[i][3] - dots[i][2]);
            d_y[i] = at.mask[i] * (lower - upper);
            d_x[i] = at.mask[i] * (right - left);
            d_mask[i] = left + at.fx[i] * (right - left);
            if (p.in.logits) d_mask[i] *= at.mask[i] * (Scalar(1) - at.mask[i]);
        }
        const int64_t plane = g * s.taps() + tap;
        if (p.grad_offset.data) {
            write_channel(p.grad_offset, tile, 2 * plane, d_y);
            write_channel(p.grad_offset, tile, 2 * plane + 1, d_x);
        }
        if (p.grad_mask.data) write_channel(p.grad_mask, tile, plane, d_mask);
    }

    struct Scratch {
        std::vector<Scalar> grad, columns, d_tile, bias;
        TileParameters parameters;
        Positions at;

        explicit Scratch(const BackwardPass& b)
            : grad(kTile * b.s.out_channels + b.padded),
              columns(kTile * b.s.channels + kBlockRows),
              d_tile(b.p.grad_input ? 0 : kTile * b.d_stride),
              bias(b.s.out_channels),
              parameters(1) {}
    };

    void run_tap(int64_t index, int64_t slab, int64_t tap, Scratch& scratch) {
        const Tile tile(s, index);
        const Scalar* grad = tile_gradient(tile, scratch.grad.data());
        if (p.grad_bias && tap == 0) {
            Scalar* sums = scratch.bias.data();
            std::copy(grad, grad + s.out_channels, sums);
            for (int64_t i = 1; i < tile.count; ++i) {
                for (int64_t o = 0; o < s.out_channels; ++o) sums[o] += grad[i * s.out_channels + o];
            }
            for (int64_t o = 0; o < s.out_channels; ++o) d_bias[slab * s.out_channels + o] += double(sums[o]);
        }
        Scalar* d_tile = p.grad_input ? d_tile_of(index, tap) : scratch.d_tile.data();
        if (wants_samples) {
            // In this order: a group's padding lies where the next group's gradients come to be.
            for (int64_t g = 0; g < s.groups; ++g) {
                dense<Activation::kNone>(taps[tap * s.groups + g], tile.count, grad + g * outputs, s.out_channels,
                                         zeros.data(), 0, d_tile + g * depth, d_stride, Scalar(0));
            }
        }
        for (int64_t g = 0; (wants_positions || p.grad_weight) && g < s.offset_groups; ++g) {
            scratch.parameters.read(p.in, tile, g, tap, 1);
            locate<For::kGradients>(s, tile, scratch.parameters, 0, tap, scratch.at);
            if (wants_positions) grad_positions(tile, g, tap, d_tile, scratch.at);
            if (p.grad_weight) {
                const int64_t channels = s.channels / s.offset_groups;
                sample<false>(group_pixels(tile.image, g), channels, scratch.at, tile.count,
                              scratch.columns.data() + g * channels, s.channels);
            }
        }
        if (p.grad_weight) {
            for (int64_t g = 0; g < s.groups; ++g) {
                add_outer(scratch.columns.data() + g * depth, s.channels, depth, grad + g * outputs, s.out_channels,
                          padded, tile.count,
                          d_weight.data() + ((slab * s.taps() + tap) * s.groups + g) * rows * padded);
            }
        }
    }

    Scalar* d_tile_of(int64_t index, int64_t tap) {
        return d_columns.data() + ((index - first) * s.taps() + tap) * kTile * d_stride;
    }

    void run_taps(int64_t begin, int64_t end) {
        Scratch scratch(*this);
        const int64_t count = last - first;
        for (int64_t task = begin; task < end; ++task) {
            const int64_t slab = task / s.taps(), tap = task % s.taps();
            for (int64_t t = first + slab * count / kSlabs; t < first + (slab + 1) * count / kSlabs; ++t) {
                run_tap(t, slab, tap, scratch);
            }
        }
    }

    int64_t ranges() const { return (s.channels + kScatterChannels - 1) / kScatterChannels; }

    void scatter(int64_t begin, int64_t end) {
        const int64_t channels = s.channels / s.offset_groups;
        TileParameters parameters(1);
        Positions at;
        for (int64_t task = begin; task < end; ++task) {
            const int64_t image = Tile(s, first).image + task / ranges();
            const int64_t start = task % ranges() * kScatterChannels;
            const int64_t stop = std::min(start + kScatterChannels, s.channels);
            for (int64_t t = first; t < last; ++t) {
                const Tile tile(s, t);
                if (tile.image != image) continue;
                for (int64_t tap = 0; tap < s.taps(); ++tap) {
                    for (int64_t g = start / channels; g * channels < stop; ++g) {
                        const int64_t c = std::max(start, g * channels), n = std::min(stop, (g + 1) * channels) - c;
                        parameters.read(p.in, tile, g, tap, 1);
                        locate<For::kSamples>(s, tile, parameters, 0, tap, at);
                        const Pixels<Scalar> pixels{p.grad_input + image * s.pixels() * s.channels + c, s.channels,
                                                    s.channels * s.width};
                        with_channels(n, [&](auto fixed) {
                            scatter_channels<decltype(fixed)::value>(pixels, n, at, tile.count, d_tile_of(t, tap) + c,
                                                                     d_stride);
                        });
                    }
                }
            }
        }
    }

    void finish(int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) {
            if (p.grad_bias) {
                double sum = 0;
                for (int64_t slab = 0; slab < kSlabs; ++slab) sum += d_bias[slab * s.out_channels + o];
                p.grad_bias[o] = Scalar(sum);
            }
            if (p.grad_weight == nullptr) continue;
            const int64_t block = rows * padded, all = s.taps() * s.groups * block;
            for (int64_t c = 0; c < depth; ++c) {
                for (int64_t tap = 0; tap < s.taps(); ++tap) {
                    const Scalar* from = d_weight.data() + (tap * s.groups + o / outputs) * block + c * padded;
                    Scalar sum = 0;
                    for (int64_t slab = 0; slab < kSlabs; ++slab) sum += from[slab * all + o % outputs];
                    p.grad_weight[(o * depth + c) * s.taps() + tap] = sum;
                }
            }
        }
    }
};

template <void (BackwardPass::*kMethod)(int64_t, int64_t)>
void in_parallel(BackwardPass& pass, int64_t count, ParallelFor parallel_for) {
    const Body body = [](int64_t begin, int64_t end, void* context) {
        (static_cast<BackwardPass*>(context)->*kMethod)(begin, end);
    };
    parallel_for(count, body, &pass);
}

}  // namespace deform

void deform_conv2d_backward(const DeformBackward<Scalar>& parameters, ParallelFor parallel_for) {
    deform::BackwardPass pass(parameters);
    for (pass.first = 0; pass.first < pass.tiles; pass.first = pass.last) {
        pass.last = std::min(pass.tiles, pass.first + pass.band);
        deform::in_parallel<&deform::BackwardPass::run_taps>(pass, deform::kSlabs * pass.s.taps(), parallel_for);
        if (parameters.grad_input == nullptr) continue;
        const int64_t images = deform::Tile(pass.s, pass.last - 1).image - deform::Tile(pass.s, pass.first).image + 1;
        deform::in_parallel<&deform::BackwardPass::scatter>(pass, images * pass.ranges(), parallel_for);
    }
    deform::in_parallel<&deform::BackwardPass::finish>(pass, pass.s.out_channels, parallel_for);
}
