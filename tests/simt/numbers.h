// 16-bit and TF32 numbers on the host, rounded as the GPU's conversions round them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace simt {

template <typename To, typename From>
To bit_cast(const From& from) {
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

inline float half_to_float(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float magnitude;
    if (exponent == 31) {
        magnitude = fraction ? NAN : INFINITY;
    } else if (exponent == 0) {
        magnitude = std::ldexp(float(fraction), -24);
    } else {
        magnitude = bit_cast<float>(uint32_t(exponent + 112) << 23 | uint32_t(fraction) << 13);
    }
    return bits >> 15 ? -magnitude : magnitude;
}

// Keeps the upper bits of `word`, rounded to nearest even; a carry into the exponent is right as it is.
inline uint32_t round_off(uint32_t word, int bits) {
    const uint32_t half = uint32_t(1) << (bits - 1);
    return (word + half - 1 + (word >> bits & 1)) >> bits;
}

inline uint16_t float_to_half(float value) {
    const uint32_t word = bit_cast<uint32_t>(value), sign = word >> 16 & 0x8000, magnitude = word & 0x7fffffff;
    if (magnitude > 0x7f800000) return 0x7fff;
    if (magnitude >= 0x47800000) return uint16_t(sign | 0x7c00);  // 65536 and more
    // Below 2^-14 the last place is worth 2^-24; adding 0.5, whose last place is the same, makes the hardware round.
    if (magnitude < 0x38800000) {
        return uint16_t(sign | (bit_cast<uint32_t>(bit_cast<float>(magnitude) + 0.5f) & 0x7fffff));
    }
    return uint16_t(sign | (round_off(magnitude, 13) - (112 << 10)));
}

inline float bfloat16_to_float(uint16_t bits) { return bit_cast<float>(uint32_t(bits) << 16); }

inline uint16_t float_to_bfloat16(float value) {
    if (std::isnan(value)) return 0x7fff;
    return uint16_t(round_off(bit_cast<uint32_t>(value), 16));
}

// cvt.rna.tf32.f32: to 10 bits of fraction, ties away from zero.
inline uint32_t float_to_tf32(float value) {
    const uint32_t word = bit_cast<uint32_t>(value);
    return std::isfinite(value) ? (word + 0x1000) & ~0x1fffu : word & ~0x1fffu;
}

}  // namespace simt
