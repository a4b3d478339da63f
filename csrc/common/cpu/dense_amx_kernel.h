// A dense layer on AMX tiles: operands rounded to bfloat16, sums in float32; stands in for dense_kernel.h, with the
// same names. A tile register is 16 rows of 64 bytes; two by two of them sum a block of 32 pixels by 32 outputs.
#pragma once

#include "common/cpu/bfloat16.h"
#include "common/cpu/line_allocator.h"
// dense_into rounds its operands, since registers of tiles want other columns than rows have. Products that are no
// layer's multiply them as they are.
#include "common/cpu/plain_operands.h"

constexpr int64_t kTile = 64;   // pixels, two blocks
constexpr int64_t kSide = 16;   // rows of a tile register, and its columns of sums
constexpr int64_t kDepth = 32;  // inputs a tile register holds

struct PackedLayer {
    int64_t inputs = 0, outputs = 0;  // outputs padded to kWidthMultiple
    LineVector<uint16_t> weight;      // [outputs / 16, inputs / 32] registers of [16 pairs of inputs, 16 outputs, 2]
    LineVector<float> bias;           // [outputs]
};

// Packs columns [first, first + inputs) of the weight, and the bias.
inline PackedLayer pack_layer(const LayerView<float>& layer, int64_t first, int64_t inputs) {
    PackedLayer packed;
    packed.inputs = inputs;
    packed.outputs = padded_width(layer.outputs);
    const int64_t steps = (inputs + kDepth - 1) / kDepth;
    packed.weight.assign(steps * kDepth * packed.outputs, 0);
    packed.bias.assign(packed.outputs, 0.0f);
    for (int64_t o = 0; o < layer.outputs; ++o) {
        packed.bias[o] = layer.bias[o];
        for (int64_t i = 0; i < inputs; ++i) {
            const int64_t tile = o / kSide * steps + i / kDepth, within = i % kDepth;
            packed.weight[(tile * kSide + within / 2) * 2 * kSide + o % kSide * 2 + within % 2] =
                to_bfloat16(layer.weight[o * layer.inputs + first + i]);
        }
    }
    return packed;
}

// Configures this thread's tile registers, and gives them back.
struct DenseScope {
    DenseScope() {
        struct alignas(64) {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t bytes[16] = {};
            uint8_t rows[16] = {};
        } config;
        for (int i = 0; i < 8; ++i) config.bytes[i] = 64, config.rows[i] = 16;
        _tile_loadconfig(&config);
    }
    ~DenseScope() { _tile_release(); }
    DenseScope(const DenseScope&) = delete;
    DenseScope& operator=(const DenseScope&) = delete;
};

// Hands on one register of sums, 16 x 16.
template <typename Epilogue>
inline void finish_sums(const float* sums, const float* start, int64_t start_stride, const Epilogue& epilogue,
                        int64_t row, int64_t column) {
    for (int64_t r = 0; r < kSide; ++r) {
        epilogue(Vec::load(sums + r * kSide) + Vec::load(start + r * start_stride), row + r, column);
    }
}

// See dense_kernel.h; reads float32. Rows are taken 32 at a time.
template <typename Epilogue>
void dense_into(const PackedLayer& layer, int64_t rows, const float* in, int64_t in_stride, const float* start,
                int64_t start_stride, const Epilogue& epilogue) {
    const int64_t steps = (layer.inputs + kDepth - 1) / kDepth, stride = steps * kDepth;
    const int64_t blocks = (rows + 2 * kSide - 1) / (2 * kSide) * 2 * kSide;
    static thread_local LineVector<uint16_t> rounded;  // kept between calls: one a layer and tile
    if (int64_t(rounded.size()) < blocks * stride) rounded.resize(blocks * stride);
    round_rows(in, in_stride, blocks, layer.inputs, rounded.data(), stride);
    alignas(64) float sums[4][kSide * kSide];
    constexpr int64_t tile_size = kSide * kDepth;
    for (int64_t column = 0; column < layer.outputs; column += 2 * kSide) {
        const bool pair = column + kSide < layer.outputs;
        const uint16_t* left = layer.weight.data() + column * stride;
        const uint16_t* right = pair ? left + steps * tile_size : left;
        for (int64_t r = 0; r < rows; r += 2 * kSide) {
            const uint16_t* upper = rounded.data() + r * stride;
            const uint16_t* lower = upper + kSide * stride;
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            for (int64_t k = 0; k < steps; ++k) {
                _tile_loadd(4, upper + k * kDepth, stride * 2);
                _tile_loadd(6, left + k * tile_size, 64);
                _tile_dpbf16ps(0, 4, 6);
                _tile_loadd(5, lower + k * kDepth, stride * 2);
                _tile_dpbf16ps(2, 5, 6);
                if (pair) {
                    _tile_loadd(7, right + k * tile_size, 64);
                    _tile_dpbf16ps(1, 4, 7);
                    _tile_dpbf16ps(3, 5, 7);
                }
            }
            _tile_stored(0, sums[0], 64);
            _tile_stored(1, sums[1], 64);
            _tile_stored(2, sums[2], 64);
            _tile_stored(3, sums[3], 64);
            for (int64_t half = 0; half < 2; ++half) {
                const int64_t row = r + half * kSide;
                const float* s = start + row * start_stride + column;
                finish_sums(sums[2 * half], s, start_stride, epilogue, row, column);
                if (pair) finish_sums(sums[2 * half + 1], s + kSide, start_stride, epilogue, row, column + kSide);
            }
        }
    }
}
