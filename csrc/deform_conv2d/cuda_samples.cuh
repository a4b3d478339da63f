// Staging of deform_conv2d's operands in shared memory: samples of the input at deformed positions, and weights. A row
// holds kChunkBytes of one output pixel's, or one output channel's, products; eight neighbouring threads stage it.
#pragma once

#include "deform_conv2d/cuda_operands.cuh"

namespace vinr::cuda::deform {

#include "common/bilinear.h"

constexpr int kThreads = 256;
constexpr int kPixels = 64, kOutputs = 64;       // of a block's tile
constexpr int kChunkBytes = 128;                 // of a row, staged at a time
constexpr int kRowBytes = kChunkBytes + 16;      // 16 of padding: eight rows of 16 bytes lie in different banks
constexpr int kTileBytes = kPixels * kRowBytes;  // samples; weights take as much
constexpr int kUnitsARow = kChunkBytes / 16;
constexpr int kRowsAtOnce = kThreads / kUnitsARow;
constexpr int kRounds = kPixels / kRowsAtOnce;
static_assert(kPixels == kOutputs, "both are staged in the same rounds");

// One output pixel of the tile, in shared memory. Elements from the start of the tensors.
struct alignas(16) PixelBases {
    int64_t input, offset;
};
struct alignas(16) PixelPosition {
    int64_t mask;
    float y, x;  // of the kernel's first tap in the input; NaN for a pixel past the last
};
struct alignas(16) PixelOutput {
    int64_t output;
    int64_t valid;
};

struct PixelTable {
    Shared<PixelBases> bases;
    Shared<PixelPosition> positions;
    Shared<PixelOutput> outputs;
};

// By the first kPixels threads; `first` counts output pixels over all images.
VINR_DEVICE void fill_pixels(const KernelParameters& p, int64_t first, const PixelTable& table) {
    const int row = thread_x();
    if (row >= kPixels) return;
    const DeformConv2dShape& s = p.shape;
    const int64_t index = first + row, all = s.batch * s.out_pixels();
    const bool valid = index < all;
    const int64_t image = valid ? index / s.out_pixels() : 0, pixel = valid ? index % s.out_pixels() : 0;
    const float y = float(pixel / s.out_width * s.stride[0] - s.padding[0]);
    const float x = float(pixel % s.out_width * s.stride[1] - s.padding[1]);
    const float nan = as_float(0x7fffffff);
    store_shared(table.bases + row,
                 PixelBases{image * s.pixels() * s.channels, image * p.offset.image + pixel * p.offset.pixel});
    store_shared(table.positions + row, PixelPosition{image * p.mask.image + pixel * p.mask.pixel, valid ? y : nan, x});
    store_shared(table.outputs + row, PixelOutput{image * p.out_image + pixel * p.out_pixel, valid});
}

template <typename T>
VINR_DEVICE float load_position(const Planes& planes, int64_t element) {
    if (planes.is_float) return load(static_cast<const float*>(planes.data) + element);
    return to_float(load(static_cast<const T*>(planes.data) + element));
}

// The tap and input channel of one column of the product, and the offset group of both.
struct Column {
    int tap, channel, offset_channel;
    float tap_y, tap_x;

    VINR_DEVICE Column(const KernelParameters& p, int group, int column) {
        tap = p.group_channels.quotient(column);
        channel = (group - tap) * p.group_channels.value + column;
        offset_channel = p.offset_channels.quotient(channel) * p.taps + tap;
        const int row = p.kernel_width.quotient(tap);
        tap_y = float(row * p.dilation_y);
        tap_x = float((tap - row * p.kernel_width.value) * p.dilation_x);
    }
};

// Where a pixel samples for a column, and how much that counts.
template <typename T>
VINR_DEVICE float locate(const KernelParameters& p, const Column& column, const PixelBases& bases,
                         const PixelPosition& position, Corners<float>& corners) {
    const int64_t offset = bases.offset + 2 * column.offset_channel * p.offset.channel;
    const float y = position.y + column.tap_y + load_position<T>(p.offset, offset);
    const float x = position.x + column.tap_x + load_position<T>(p.offset, offset + p.offset.channel);
    bilinear_corners(y, x, p.height, p.width, p.width * p.shape.channels, p.shape.channels, corners);
    if (!p.mask.data) return 1.0f;
    const float mask = load_position<T>(p.mask, position.mask + column.offset_channel * p.mask.channel);
    return p.logits ? sigmoid(mask) : mask;
}

// Eight or four channels, of one tap and one offset group: one load of 16 bytes a corner. Corners outside are not read:
// what another pixel holds does not count, NaN or not.
template <typename T>
VINR_DEVICE Words4 sample_unit(const KernelParameters& p, const Column& column, const PixelBases& bases,
                               const PixelPosition& position) {
    Corners<float> corners;
    const float mask = locate<T>(p, column, bases, position, corners);
    const T* from = static_cast<const T*>(p.input) + bases.input + column.channel;
    Words4 words[4];
    VINR_UNROLL
    for (int k = 0; k < 4; ++k) {
        words[k] = Words4{};
        if (corners.inside[k]) words[k] = load(reinterpret_cast<const Words4*>(from + corners.offset[k]));
    }
    float sum[kUnit<T>] = {};
    VINR_UNROLL
    for (int k = 0; k < 4; ++k) {
        float values[kUnit<T>];
        widen(T(), words[k], values);
        VINR_UNROLL
        for (int i = 0; i < kUnit<T>; ++i) sum[i] += corners.weight[k] * values[i];
    }
    VINR_UNROLL
    for (int i = 0; i < kUnit<T>; ++i) sum[i] *= mask;
    return narrow<T>(sum);
}

// One channel, for groups of any width.
template <typename T>
VINR_DEVICE float sample_channel(const KernelParameters& p, const Column& column, const PixelBases& bases,
                                 const PixelPosition& position) {
    Corners<float> corners;
    const float mask = locate<T>(p, column, bases, position, corners);
    const T* from = static_cast<const T*>(p.input) + bases.input + column.channel;
    float sum = 0;
    VINR_UNROLL
    for (int k = 0; k < 4; ++k) {
        if (corners.inside[k]) sum += corners.weight[k] * to_float(load(from + corners.offset[k]));
    }
    return sum * mask;
}

// Samples of a tile's pixels for the chunk of columns from `first` on; zeros past the last of `columns`.
template <typename T, bool kUnits>
VINR_DEVICE void stage_samples(const KernelParameters& p, int group, int first, const PixelTable& table, Shared<T> to) {
    const int unit = thread_x() % kUnitsARow, column = first + unit * kUnit<T>;
    const bool inside = column < p.columns;
    const Column at(p, group, inside ? column : 0);
    VINR_NO_UNROLL  // the registers of a second row would cost a block
        for (int round = 0; round < kRounds; ++round) {
        const int row = round * kRowsAtOnce + thread_x() / kUnitsARow;
        const Shared<T> place = to + row * (kRowBytes / int(sizeof(T))) + unit * kUnit<T>;
        const auto bases = load_shared<PixelBases>(table.bases + row);
        const auto position = load_shared<PixelPosition>(table.positions + row);
        if constexpr (kUnits) {
            store_shared(place, inside ? sample_unit<T>(p, at, bases, position) : Words4{});
        } else {
            for (int i = 0; i < kUnit<T>; ++i) {
                float value = 0;
                if (column + i < p.columns) {
                    value = sample_channel<T>(p, Column(p, group, column + i), bases, position);
                }
                place[i] = from_float<T>(value);
            }
        }
    }
}

// The same columns of the weights of output channels from `first_output` of a group on, zeros past its last.
template <typename T, bool kUnits>
VINR_DEVICE void stage_weights(const KernelParameters& p, int group, int first, int first_output, Shared<T> to) {
    const int unit = thread_x() % kUnitsARow, column = first + unit * kUnit<T>;
    const T* weight = static_cast<const T*>(p.weight) + int64_t(group) * p.group_outputs * p.columns;
    VINR_UNROLL
    for (int round = 0; round < kRounds; ++round) {
        const int row = round * kRowsAtOnce + thread_x() / kUnitsARow;
        const int output = first_output + row;
        const Shared<T> place = to + row * (kRowBytes / int(sizeof(T))) + unit * kUnit<T>;
        const bool inside = output < p.group_outputs && column < p.columns;
        const T* from = weight + (inside ? int64_t(output) * p.columns + column : 0);
        if constexpr (kUnits) {
            cp_async16(place, from, inside);
        } else {
            for (int i = 0; i < kUnit<T>; ++i) {
                place[i] = inside && column + i < p.columns ? load(from + i) : from_float<T>(0.0f);
            }
        }
    }
}

}  // namespace vinr::cuda::deform
