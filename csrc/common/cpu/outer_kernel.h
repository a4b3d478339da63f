// The product that makes a weight's gradient, and its sums; included inside a variant's namespace, after
// dense_kernel.h.
#pragma once

template <int kVecs>
inline void outer_block(const Scalar* x, int64_t x_stride, const Scalar* dz, int64_t dz_stride, int64_t count,
                        Scalar* sums, int64_t sums_stride) {
    Vec sum[kBlockRows][kVecs];
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[r][v] = Vec::load(sums + r * sums_stride + v * Vec::width);
    }
    for (int64_t i = 0; i < count; ++i, x += x_stride, dz += dz_stride) {
        Vec d[kVecs];
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) d[v] = Vec::load(dz + v * Vec::width);
#pragma GCC unroll 8
        for (int r = 0; r < kBlockRows; ++r) {
            const Vec a = Vec::set1(x[r]);
#pragma GCC unroll 8
            for (int v = 0; v < kVecs; ++v) sum[r][v] = fma(a, d[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[r][v].store(sums + r * sums_stride + v * Vec::width);
    }
}

// sums [inputs, outputs] += x [count, inputs]^T dz [count, outputs]
inline void add_outer(const Scalar* x, int64_t x_stride, int64_t inputs, const Scalar* dz, int64_t dz_stride,
                      int64_t outputs, int64_t count, Scalar* sums) {
    constexpr int64_t vecs = kPanelVecs;
    for (int64_t column = 0; column < outputs; column += vecs * Vec::width) {
        const bool whole = column + vecs * Vec::width <= outputs;
        for (int64_t r = 0; r < inputs; r += kBlockRows) {
            if (whole) {
                outer_block<vecs>(x + r, x_stride, dz + column, dz_stride, count, sums + r * outputs + column, outputs);
            } else {
                for (int64_t c = column; c < outputs; c += Vec::width) {
                    outer_block<1>(x + r, x_stride, dz + c, dz_stride, count, sums + r * outputs + c, outputs);
                }
            }
        }
    }
}

constexpr int64_t kSlabs = 16;  // more than threads, fixed so that their number does not change the result

// Sums that slabs of tiles collect, each in a stretch of one buffer: which numbers come together, and in which order,
// does not depend on the number of threads.
class SlabSums {
 public:
    // `numbers` zeros a slab.
    void resize(int64_t numbers) {
        size = numbers;
        sums.assign(kSlabs * size, Scalar(0));
    }

    Scalar* of(int64_t slab) { return sums.data() + slab * size; }

    // Adds the slabs in their order. The first one holds the sum afterwards.
    const Scalar* add(ParallelFor parallel_for) {
        parallel_for((size + kAddBlock - 1) / kAddBlock, &add_blocks, this);
        return sums.data();
    }

 private:
    static constexpr int64_t kAddBlock = 4096;

    static void add_blocks(int64_t begin, int64_t end, void* context) {
        SlabSums& s = *static_cast<SlabSums*>(context);
        const int64_t first = begin * kAddBlock, last = std::min(end * kAddBlock, s.size);
        Scalar* sum = s.sums.data();
        for (int64_t slab = 1; slab < kSlabs; ++slab) {
            const Scalar* add = sum + slab * s.size;
            for (int64_t k = first; k < last; ++k) sum[k] += add[k];
        }
    }

    int64_t size = 0;
    LineVector<Scalar> sums;
};
