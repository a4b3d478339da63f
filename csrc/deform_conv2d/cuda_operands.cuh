// Rows of 16 or 32 bit elements as the kernel of deform_conv2d stages and multiplies them: 32 bytes a step of a
// product, whatever the element, so that ldmatrix finds the fragments of mma in the same places for all.
#pragma once

#include "common/cuda/primitives.cuh"
#include "deform_conv2d/cuda_parameters.cuh"

namespace vinr::cuda::deform {

// What a thread stages at once: 16 bytes of a row.
template <typename T>
constexpr int kUnit = 16 / int(sizeof(T));

VINR_DEVICE void widen(Half, const Words4& words, float (&values)[8]) {
    VINR_UNROLL
    for (int i = 0; i < 4; ++i) unpack<Half>(words.word[i], values[2 * i], values[2 * i + 1]);
}
VINR_DEVICE void widen(BFloat16, const Words4& words, float (&values)[8]) {
    VINR_UNROLL
    for (int i = 0; i < 4; ++i) unpack<BFloat16>(words.word[i], values[2 * i], values[2 * i + 1]);
}
VINR_DEVICE void widen(float, const Words4& words, float (&values)[4]) {
    VINR_UNROLL
    for (int i = 0; i < 4; ++i) values[i] = as_float(words.word[i]);
}

template <typename T>
VINR_DEVICE Words4 narrow(const float (&values)[8]) {
    Words4 words;
    VINR_UNROLL
    for (int i = 0; i < 4; ++i) words.word[i] = pack<T>(values[2 * i], values[2 * i + 1]);
    return words;
}
template <typename T>
VINR_DEVICE Words4 narrow(const float (&values)[4]) {
    Words4 words;
    VINR_UNROLL
    for (int i = 0; i < 4; ++i) words.word[i] = as_word(values[i]);
    return words;
}

// d += a b over one step, for fragments as they came from shared memory. `prepare` splits or rounds them once before
// several products use them.
template <Precision precision>
struct Operands;

template <typename T>
struct SixteenBits {
    using Element = T;
    template <int words>
    struct Fragment {
        uint32_t word[words];
        VINR_DEVICE void prepare() {}
    };
    static VINR_DEVICE void multiply(float (&d)[4], const Fragment<4>& a, const Fragment<2>& b) {
        mma_m16n8k16(T(), d, a.word, b.word);
    }
};
template <>
struct Operands<Precision::kHalf> : SixteenBits<Half> {};
template <>
struct Operands<Precision::kBFloat16> : SixteenBits<BFloat16> {};

template <>
struct Operands<Precision::kTf32> {
    using Element = float;
    template <int words>
    struct Fragment {
        uint32_t word[words];
        VINR_DEVICE void prepare() {
            VINR_UNROLL
            for (int i = 0; i < words; ++i) word[i] = to_tf32(as_float(word[i]));
        }
    };
    static VINR_DEVICE void multiply(float (&d)[4], const Fragment<4>& a, const Fragment<2>& b) {
        mma_m16n8k8_tf32(d, a.word, b.word);
    }
};

// A number is the sum of two of TF32 to 22 bits; the product of the two small ones would not be seen. Infinity has no
// second part, and comes out as NaN.
template <>
struct Operands<Precision::kFloat32> {
    using Element = float;
    template <int words>
    struct Fragment {
        uint32_t word[words];
        uint32_t rest[words];
        VINR_DEVICE void prepare() {
            VINR_UNROLL
            for (int i = 0; i < words; ++i) {
                const float value = as_float(word[i]);
                word[i] = to_tf32(value);
                rest[i] = to_tf32(value - as_float(word[i]));
            }
        }
    };
    static VINR_DEVICE void multiply(float (&d)[4], const Fragment<4>& a, const Fragment<2>& b) {
        mma_m16n8k8_tf32(d, a.rest, b.word);
        mma_m16n8k8_tf32(d, a.word, b.rest);
        mma_m16n8k8_tf32(d, a.word, b.word);
    }
};

}  // namespace vinr::cuda::deform
