// The product that makes a weight's gradient; included inside a variant's namespace, after dense_kernel.h.

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
