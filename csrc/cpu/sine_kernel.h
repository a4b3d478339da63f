// The activation of SIREN layers; included inside a variant's namespace, after its Vec.

enum class Activation { kNone, kSine };

// sin(pi x), x in half turns: to 2e-7 in single precision. The argument is exact after folding, since a period is a
// whole number; a period of pi would need a subtraction in several parts.
inline Vec sine_half_turns(Vec x) {
    const Vec r = fold_half_turns(x);
    const Vec s = r * r;
    if constexpr (sizeof(Scalar) == 4) {
        // The minimax polynomial of sin(pi r) / r in r^2 for |r| <= 1/2; benchmarks/sine_polynomial.py finds it.
        Vec p = fma(Vec::set1(0.07722015632f), s, Vec::set1(-0.5980451887f));
        p = fma(p, s, Vec::set1(2.550031380f));
        p = fma(p, s, Vec::set1(-5.167706879f));
        p = fma(p, s, Vec::set1(3.141592580f));
        return r * p;
    } else {
        Scalar lanes[Vec::width];
        r.store(lanes);
        for (Scalar& lane : lanes) lane = std::sin(Scalar(3.14159265358979323846) * lane);
        return Vec::load(lanes);
    }
}
