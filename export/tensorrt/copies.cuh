// Kernels that bring a node's tensors into the form that the ops' kernels take.
#pragma once

#include <stdexcept>

#include "common/cuda/primitives.cuh"
#include "device.h"

namespace vinr::tensorrt {

constexpr int kCopyThreads = 256;
constexpr int64_t kCopyBlocks = 1 << 20;  // of a grid at most; each makes what is left over in turn

inline void check(cuda::Error error) {
    if (error != cuda::kSuccess) throw std::runtime_error("a kernel did not start: " + error_text(int(error)));
}

// [batch, rows, columns] -> [batch, columns, rows], by tiles of 32 x 32.
template <typename T>
struct TransposeParameters {
    const T* from;
    T* to;
    int64_t batch, rows, columns;
    int64_t tiles_down, tiles_across;
};

template <typename T>
VINR_KERNEL(kCopyThreads, 1)
transpose_kernel(const TransposeParameters<T> p) {
    using namespace cuda;
    constexpr int kTile = 32, kPitch = kTile + 1;  // columns then lie in different banks
    VINR_STATIC_SHARED(T, tile, kTile * kPitch);
    const int column = lane(), first = warp();
    const int64_t a_batch = p.tiles_down * p.tiles_across;
    for (int64_t index = block_x(); index < p.batch * a_batch; index += grid_x()) {
        const int64_t start = index / a_batch * p.rows * p.columns, at = index % a_batch;
        const int64_t row0 = at / p.tiles_across * kTile, column0 = at % p.tiles_across * kTile;
        for (int row = first; row < kTile; row += kCopyThreads / kWarp) {
            if (row0 + row < p.rows && column0 + column < p.columns) {
                const T value = load(p.from + start + (row0 + row) * p.columns + column0 + column);
                store_shared(tile + (row * kPitch + column), value);
            }
        }
        barrier();
        for (int row = first; row < kTile; row += kCopyThreads / kWarp) {
            if (column0 + row < p.columns && row0 + column < p.rows) {
                const T value = load_shared<T>(tile + (column * kPitch + row));
                store(p.to + start + (column0 + row) * p.rows + row0 + column, value);
            }
        }
        barrier();
    }
}

template <typename T>
void transpose(const void* from, void* to, int64_t batch, int64_t rows, int64_t columns, cuda::Stream stream) {
    TransposeParameters<T> p{static_cast<const T*>(from), static_cast<T*>(to), batch, rows, columns, 0, 0};
    p.tiles_down = (rows + 31) / 32, p.tiles_across = (columns + 31) / 32;
    const int64_t tiles = batch * p.tiles_down * p.tiles_across;
    if (!tiles) return;
    const unsigned blocks = unsigned(tiles < kCopyBlocks ? tiles : kCopyBlocks);
    check(cuda::launch(&transpose_kernel<T>, p, {blocks}, kCopyThreads, 0, stream));
}

// float16 -> float32.
struct WidenParameters {
    const cuda::Half* from;
    float* to;
    int64_t count;
};

template <int kBlock>  // a template as a header may hold it
VINR_KERNEL(kBlock, 1) widen_kernel(const WidenParameters p) {
    using namespace cuda;
    for (int64_t i = int64_t(block_x()) * kBlock + thread_x(); i < p.count; i += int64_t(grid_x()) * kBlock)
        store(p.to + i, to_float(load(p.from + i)));
}

inline void widen(const void* from, float* to, int64_t count, cuda::Stream stream) {
    if (!count) return;
    const int64_t blocks = (count + kCopyThreads - 1) / kCopyThreads;
    const unsigned started = unsigned(blocks < kCopyBlocks ? blocks : kCopyBlocks);
    const WidenParameters p{static_cast<const cuda::Half*>(from), to, count};
    check(cuda::launch(&widen_kernel<kCopyThreads>, p, {started}, kCopyThreads, 0, stream));
}

}  // namespace vinr::tensorrt
