// Modulated deformable convolution on tensor cores, forward. A block makes a tile of 64 output pixels by 64 output
// channels: it samples the input at the deformed positions, 128 bytes of each pixel's taps and channels at a time, into
// shared memory beside the weights, and multiplies the two; nothing like an im2col tensor exists. While the warps
// multiply one chunk, the next one's weights arrive by cp.async.
#pragma once

#include "deform_conv2d/cuda_samples.cuh"

namespace vinr::cuda::deform {

constexpr int kWarps = kThreads / kWarp;
constexpr int kWarpPixels = 16, kWarpOutputs = 32;  // of a warp's part of the tile
constexpr int kOutputTiles = kWarpOutputs / 8;
static_assert(kWarps * kWarpPixels * kWarpOutputs == kPixels * kOutputs, "warps cover the tile");
constexpr int kSharedBytes = 4 * kTileBytes;  // samples and weights, two chunks of each; then the outputs

// What a block works on, of all pixels of the batch by all output channels of all groups.
struct Tile {
    int64_t first_pixel;
    int group, first_output;
};

VINR_HOST_DEVICE int64_t pixel_tiles(const DeformConv2dShape& s) {
    return (s.batch * s.out_pixels() + kPixels - 1) / kPixels;
}
VINR_HOST_DEVICE int64_t output_tiles(const DeformConv2dShape& s) {
    return (s.out_channels / s.groups + kOutputs - 1) / kOutputs;
}

// Neighbours share pixels, whose input is then still in the cache.
VINR_DEVICE Tile tile_at(const DeformConv2dShape& s, int64_t index) {
    const int64_t outputs = output_tiles(s), across = outputs * s.groups, part = index % across;
    return {index / across * kPixels, int(part / outputs), int(part % outputs) * kOutputs};
}

// The sums of a warp's 16 pixels by 32 outputs over one staged chunk.
template <typename Operands>
VINR_DEVICE void multiply(Shared<typename Operands::Element> samples, Shared<typename Operands::Element> weights,
                          float (&sums)[kOutputTiles][4]) {
    constexpr int kRow = kRowBytes / int(sizeof(typename Operands::Element));
    constexpr int kUnitElements = kUnit<typename Operands::Element>;
    const int first_pixel = warp() % (kPixels / kWarpPixels) * kWarpPixels;
    const int first_output = warp() / (kPixels / kWarpPixels) * kWarpOutputs;
    // The four 8-row matrices of a: rows 0 to 7 and 8 to 15 of the first 16 bytes, then of the second; of b: both
    // halves of outputs 0 to 7, then of 8 to 15.
    const auto a = samples + (first_pixel + lane() % 16) * kRow + lane() / 16 * kUnitElements;
    const auto b = weights + (first_output + lane() % 8 + lane() / 16 * 8) * kRow + lane() / 8 % 2 * kUnitElements;
    VINR_UNROLL
    for (int step = 0; step < kChunkBytes / 32; ++step) {
        typename Operands::template Fragment<4> fa;
        ldmatrix_x4(fa.word, a + step * 2 * kUnitElements);
        fa.prepare();
        VINR_UNROLL
        for (int pair = 0; pair < kOutputTiles / 2; ++pair) {
            uint32_t words[4];
            ldmatrix_x4(words, b + pair * 16 * kRow + step * 2 * kUnitElements);
            VINR_UNROLL
            for (int half = 0; half < 2; ++half) {
                typename Operands::template Fragment<2> fb;
                fb.word[0] = words[2 * half], fb.word[1] = words[2 * half + 1];
                fb.prepare();
                Operands::multiply(sums[2 * pair + half], fa, fb);
            }
        }
    }
}

template <typename T>
struct alignas(2 * sizeof(T)) Two {
    T value[2];
};

// Adds the bias and gathers the tile in shared memory, pixel by pixel, so that whole rows of it can be written.
template <typename T>
VINR_DEVICE void stage_outputs(const KernelParameters& p, const Tile& tile, const float (&sums)[kOutputTiles][4],
                               Shared<T> to) {
    constexpr int kRow = kOutputs + 16 / int(sizeof(T));
    const int pixel = warp() % (kPixels / kWarpPixels) * kWarpPixels + lane() / 4;
    const int first = warp() / (kPixels / kWarpPixels) * kWarpOutputs + lane() % 4 * 2;
    VINR_UNROLL
    for (int i = 0; i < kOutputTiles; ++i) {
        const int column = first + 8 * i;
        float bias[2] = {};
        VINR_UNROLL
        for (int k = 0; k < 2; ++k) {
            const int output = tile.first_output + column + k;
            if (p.bias && output < p.group_outputs) {
                bias[k] =
                    to_float(load(static_cast<const T*>(p.bias) + int64_t(tile.group) * p.group_outputs + output));
            }
        }
        VINR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const Two<T> two{
                {from_float<T>(sums[i][2 * half] + bias[0]), from_float<T>(sums[i][2 * half + 1] + bias[1])}};
            store_shared(to + (pixel + 8 * half) * kRow + column, two);
        }
    }
}

template <typename T>
VINR_DEVICE void write_outputs(const KernelParameters& p, const Tile& tile, const PixelTable& table, Shared<T> from) {
    constexpr int kRow = kOutputs + 16 / int(sizeof(T));
    const int left = p.group_outputs - tile.first_output;
    T* const output =
        static_cast<T*>(p.output) + (int64_t(tile.group) * p.group_outputs + tile.first_output) * p.out_channel;
    if (p.whole_outputs) {
        constexpr int kUnits = kOutputs / kUnit<T>;
        VINR_NO_UNROLL
        for (int round = 0; round < kPixels * kUnits / kThreads; ++round) {
            const int i = round * kThreads + thread_x();
            const int row = i / kUnits, column = i % kUnits * kUnit<T>;
            const auto at = load_shared<PixelOutput>(table.outputs + row);
            if (!at.valid || column >= left) continue;
            store(reinterpret_cast<Words4*>(output + at.output + column),
                  load_shared<Words4>(from + row * kRow + column));
        }
        return;
    }
    VINR_NO_UNROLL
    for (int round = 0; round < kPixels * kOutputs / kThreads; ++round) {
        const int i = round * kThreads + thread_x();
        const int row = i % kPixels, column = i / kPixels;
        const auto at = load_shared<PixelOutput>(table.outputs + row);
        if (!at.valid || column >= left) continue;
        store(output + at.output + column * p.out_channel, load_shared<T>(from + row * kRow + column));
    }
}

template <Precision precision, bool kUnits>
VINR_KERNEL(kThreads, 3)
kernel(KernelParameters p) {
    using Operand = Operands<precision>;
    using T = typename Operand::Element;
    constexpr int kChunk = kChunkBytes / int(sizeof(T)), kTileElements = kTileBytes / int(sizeof(T));
    const DeformConv2dShape& s = p.shape;
    VINR_STATIC_SHARED(PixelBases, bases, kPixels);
    VINR_STATIC_SHARED(PixelPosition, positions, kPixels);
    VINR_STATIC_SHARED(PixelOutput, pixel_outputs, kPixels);
    const PixelTable table{bases, positions, pixel_outputs};
    const auto samples = [&](int chunk) {
        return dynamic_shared<T>(size_t(chunk % 2) * 2 * kTileBytes, kTileElements);
    };
    const auto weights = [&](int chunk) {
        return dynamic_shared<T>(size_t(chunk % 2 * 2 + 1) * kTileBytes, kTileElements);
    };
    const int chunks = (p.columns + kChunk - 1) / kChunk;
    const int64_t tiles = pixel_tiles(s) * output_tiles(s) * s.groups;
    for (int64_t index = block_x(); index < tiles; index += grid_x()) {
        const Tile tile = tile_at(s, index);
        const auto stage_weights_of = [&](int chunk) {
            stage_weights<T, kUnits>(p, tile.group, chunk * kChunk, tile.first_output, weights(chunk));
            cp_async_commit();
        };
        const auto stage_samples_of = [&](int chunk) {
            stage_samples<T, kUnits>(p, tile.group, chunk * kChunk, table, samples(chunk));
        };
        fill_pixels(p, tile.first_pixel, table);
        stage_weights_of(0);
        barrier();
        stage_samples_of(0);
        float sums[kOutputTiles][4] = {};
        for (int chunk = 0; chunk < chunks; ++chunk) {
            cp_async_wait<0>();
            barrier();  // the chunk is complete, and nobody reads the one before it any more
            if (chunk + 1 < chunks) stage_weights_of(chunk + 1);
            multiply<Operand>(samples(chunk), weights(chunk), sums);
            if (chunk + 1 < chunks) stage_samples_of(chunk + 1);
        }
        barrier();
        const auto outputs = dynamic_shared<T>();
        stage_outputs<T>(p, tile, sums, outputs);
        barrier();
        write_outputs<T>(p, tile, table, outputs);
        barrier();
    }
}

inline bool is_aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// Whether 16 bytes of channels always belong to one tap, group and offset group, and lie where they can be loaded.
template <typename T>
bool has_whole_units(const Parameters& p) {
    const DeformConv2dShape& s = p.shape;
    return s.channels / s.groups % kUnit<T> == 0 && s.channels / s.offset_groups % kUnit<T> == 0 &&
           is_aligned(p.input) && is_aligned(p.weight);
}

constexpr int64_t kMostBlocks = 0x7fffffff;  // of a grid

template <Precision precision>
Error launch_as(const Parameters& p, Stream stream, int64_t most_blocks) {
    using T = typename Operands<precision>::Element;
    const DeformConv2dShape& s = p.shape;
    const int64_t tiles = pixel_tiles(s) * output_tiles(s) * s.groups;
    if (tiles == 0) return kSuccess;
    const Grid grid{unsigned(tiles < most_blocks ? tiles : most_blocks)};
    KernelParameters k(p);
    k.whole_outputs = p.out_channel == 1 && p.out_pixel % kUnit<T> == 0 && p.out_image % kUnit<T> == 0 &&
                      s.out_channels / s.groups % kUnit<T> == 0 && is_aligned(p.output);
    const auto run = has_whole_units<T>(p) ? &kernel<precision, true> : &kernel<precision, false>;
    return launch(run, k, grid, kThreads, size_t(kSharedBytes), stream);
}

// Starts deform_conv2d on the current device. `p` must describe tensors that `fits` and checks of shapes have passed.
// Of fewer blocks than there are tiles, each makes several.
inline Error run(const Parameters& p, Precision precision, Stream stream, int64_t most_blocks = kMostBlocks) {
    switch (precision) {
        case Precision::kHalf:
            return launch_as<Precision::kHalf>(p, stream, most_blocks);
        case Precision::kBFloat16:
            return launch_as<Precision::kBFloat16>(p, stream, most_blocks);
        case Precision::kTf32:
            return launch_as<Precision::kTf32>(p, stream, most_blocks);
        default:
            return launch_as<Precision::kFloat32>(p, stream, most_blocks);
    }
}

}  // namespace vinr::cuda::deform
