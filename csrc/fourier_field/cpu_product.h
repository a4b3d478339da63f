// Rows times panels of columns, in single numbers or in pairs rounded to bfloat16; included inside a variant's
// namespace, after a dense kernel.
#pragma once

// What a product multiplies: numbers as they are,
struct Exact {
    using Number = Scalar;
    using Numbers = Vec;
    static constexpr int64_t pair = 1;
    static Vec load(const Scalar* from) { return Vec::load(from); }
    static Vec repeat(const Scalar* from) { return Vec::set1(*from); }
    static Vec add(Vec a, Vec b, Vec sum) { return fma(a, b, sum); }
};

// or what the dense kernel multiplies.
struct Rounded {
    using Number = Operand;
    using Numbers = OperandVec;
    static constexpr int64_t pair = kPair;
    static OperandVec load(const Operand* from) { return load_operands(from); }
    static OperandVec repeat(const Operand* from) { return repeat_operands(from); }
    static Vec add(OperandVec a, OperandVec b, Vec sum) { return multiply_add(a, b, sum); }
};

constexpr int64_t kPanel = kPanelVecs * Vec::width;

template <typename K, int kRows, int kVecs>
inline void product_block(const typename K::Number* in, int64_t in_stride, int64_t steps,
                          const typename K::Number* panel, Scalar* out, int64_t out_stride) {
    Vec sum[kRows][kVecs];
#pragma GCC unroll 32
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[r][v] = Vec::zero();
    }
    for (int64_t i = 0; i < steps; ++i, panel += K::pair * kVecs * Vec::width) {
        typename K::Numbers w[kVecs];
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) w[v] = K::load(panel + K::pair * v * Vec::width);
#pragma GCC unroll 32
        for (int r = 0; r < kRows; ++r) {
            const typename K::Numbers x = K::repeat(in + r * in_stride + K::pair * i);
#pragma GCC unroll 8
            for (int v = 0; v < kVecs; ++v) sum[r][v] = K::add(x, w[v], sum[r][v]);
        }
    }
#pragma GCC unroll 32
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[r][v].store(out + r * out_stride + v * Vec::width);
    }
}

template <typename K, int kVecs>
inline void product_rows(const typename K::Number* in, int64_t in_stride, int64_t rows, int64_t steps,
                         const typename K::Number* panel, Scalar* out, int64_t out_stride) {
    constexpr int kMost = kBlockRows * kPanelVecs / kVecs;  // as many sums whatever the panel's width
    int64_t r = 0;
    const auto blocks = [&](auto size) {
        constexpr int kRows = decltype(size)::value;
        for (; r + kRows <= rows; r += kRows) {
            product_block<K, kRows, kVecs>(in + r * in_stride, in_stride, steps, panel, out + r * out_stride,
                                           out_stride);
        }
    };
    blocks(std::integral_constant<int, kMost>());
    blocks(std::integral_constant<int, 6>());
    blocks(std::integral_constant<int, 1>());
}

// out [rows, lanes] = in [rows, steps * pair] times panels of kPanel lanes, [steps, lanes, pair] each, the last one of
// what is left; lanes is a whole number of vectors.
template <typename K>
void product(const typename K::Number* in, int64_t in_stride, int64_t rows, int64_t steps,
             const typename K::Number* panels, int64_t lanes, Scalar* out, int64_t out_stride) {
    for (int64_t lane = 0; lane < lanes; lane += kPanel) {
        const typename K::Number* panel = panels + lane * steps * K::pair;
        switch (std::min<int64_t>(kPanelVecs, (lanes - lane) / Vec::width)) {
            case 4:
                if constexpr (kPanelVecs >= 4)
                    product_rows<K, 4>(in, in_stride, rows, steps, panel, out + lane, out_stride);
                break;
            case 3:
                if constexpr (kPanelVecs >= 3)
                    product_rows<K, 3>(in, in_stride, rows, steps, panel, out + lane, out_stride);
                break;
            case 2:
                product_rows<K, 2>(in, in_stride, rows, steps, panel, out + lane, out_stride);
                break;
            default:
                product_rows<K, 1>(in, in_stride, rows, steps, panel, out + lane, out_stride);
        }
    }
}
