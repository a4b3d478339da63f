// Sixteen bytes of numbers for any machine: vector types of GCC and Clang, which become SSE2, NEON and others;
// `Scalar` is defined before.

typedef Scalar VecData __attribute__((vector_size(16)));

struct Vec {
    static constexpr int64_t width = 16 / sizeof(Scalar);
    VecData v;

    static Vec set1(Scalar x) { return {VecData{} + x}; }
    static Vec zero() { return {VecData{}}; }
    static Vec load(const Scalar* p) {
        Vec out;
        __builtin_memcpy(&out.v, p, sizeof(out.v));
        return out;
    }
    void store(Scalar* p) const { __builtin_memcpy(p, &v, sizeof(v)); }
};

inline Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
inline Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }

using HalfVec = Vec;

// out[i] = the sum of v[i]'s lanes.
inline void sum_lanes(const HalfVec v[4], Scalar* out) {
    for (int i = 0; i < 4; ++i) {
        out[i] = 0;
        for (int64_t lane = 0; lane < HalfVec::width; ++lane) out[i] += v[i].v[lane];
    }
}

// x minus the nearest whole number, with its sign turned where that number is odd.
inline Vec fold_half_turns(Vec x) {
    // Adding and subtracting 1.5 * 2^23 (2^52) rounds to the nearest whole number, in the default rounding mode.
    constexpr Scalar magic = sizeof(Scalar) == 4 ? Scalar(12582912.0) : Scalar(6755399441055744.0);
    const VecData whole = (x.v + magic) - magic;
    const VecData half = whole * Scalar(0.5);
    const VecData rest = x.v - whole;
    const VecData turned = (half + magic) - magic == half ? rest : -rest;
    // Numbers this large are whole and even; NaN is neither larger nor smaller, and stays.
    return {(x.v > magic / 4) | (x.v < -magic / 4) ? VecData{} : turned};
}

constexpr int kPanelVecs = 2;  // 6 x 2 accumulators, 2 weights and a broadcast fit 16 registers
constexpr int kBlockRows = 6;
