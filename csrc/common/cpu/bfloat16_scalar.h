// One bfloat16 after the other, for any machine; included inside a variant's namespace.
#pragma once

// The nearest bfloat16, ties to even; NaN stays NaN.
inline uint16_t to_bfloat16(float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof(bits));
    if (x != x) return uint16_t((bits >> 16) | 0x40);
    return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float from_bfloat16(uint16_t x) {
    const uint32_t bits = uint32_t(x) << 16;
    float out;
    __builtin_memcpy(&out, &bits, sizeof(out));
    return out;
}
