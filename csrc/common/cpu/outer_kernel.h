// The product that makes a weight's gradient, and its sums; included inside a variant's namespace, after a dense
// kernel.
#pragma once

#include "common/cpu/vectors.h"

// Rows [count, columns] as add_outer takes them: the numbers of kPair rows lie side by side, with zeros for those that
// the last ones lack. They are put in `room`, or stay where they are if that is the same; `stride` becomes the new one.
template <typename T>
inline const Operand* outer_operands(const T* rows, int64_t& stride, int64_t count, int64_t columns, Operand* room) {
    if constexpr (kPair == 1) {
        return rows;
    } else {
        for (int64_t r = 0; r < count; r += kPair) {
            const T* first = rows + r * stride;
            pair_rows(first, r + 1 < count ? first + stride : nullptr, columns, room + r * columns);
        }
        stride = kPair * columns;
        return room;
    }
}

template <int kVecs>
inline void outer_block(const Operand* x, int64_t x_stride, const Operand* dz, int64_t dz_stride, int64_t steps,
                        Scalar* sums, int64_t sums_stride) {
    Vec sum[kBlockRows][kVecs];
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[r][v] = Vec::load(sums + r * sums_stride + v * Vec::width);
    }
    for (int64_t i = 0; i < steps; ++i, x += x_stride, dz += dz_stride) {
        OperandVec d[kVecs];
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) d[v] = load_operands(dz + v * kPair * Vec::width);
#pragma GCC unroll 8
        for (int r = 0; r < kBlockRows; ++r) {
            const OperandVec a = repeat_operands(x + r * kPair);
#pragma GCC unroll 8
            for (int v = 0; v < kVecs; ++v) sum[r][v] = multiply_add(a, d[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[r][v].store(sums + r * sums_stride + v * Vec::width);
    }
}

// sums [inputs, outputs] += x^T dz of rows, `steps` times kPair of them as outer_operands gives them, a step `stride`
// operands after the other. Blocks of kBlockRows inputs: x and sums have room for the last one.
inline void add_outer(const Operand* x, int64_t x_stride, int64_t inputs, const Operand* dz, int64_t dz_stride,
                      int64_t outputs, int64_t steps, Scalar* sums) {
    for (int64_t column = 0; column < outputs; column += kPanelVecs * Vec::width) {
        const int64_t vecs = std::min<int64_t>(kPanelVecs, whole_vectors(outputs - column) / Vec::width);
        const Operand* d = dz + column * kPair;
        for (int64_t r = 0; r < inputs; r += kBlockRows) {
            const Operand* from = x + r * kPair;
            Scalar* to = sums + r * outputs + column;
            switch (vecs) {
                case 4:
                    if constexpr (kPanelVecs >= 4) outer_block<4>(from, x_stride, d, dz_stride, steps, to, outputs);
                    break;
                case 3:
                    if constexpr (kPanelVecs >= 3) outer_block<3>(from, x_stride, d, dz_stride, steps, to, outputs);
                    break;
                case 2:
                    outer_block<2>(from, x_stride, d, dz_stride, steps, to, outputs);
                    break;
                default:
                    outer_block<1>(from, x_stride, d, dz_stride, steps, to, outputs);
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
