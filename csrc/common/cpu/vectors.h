// Rows that are no whole number of vectors; included inside a variant's namespace, after its Vec.
#pragma once

// The least whole number of vectors that holds n numbers, in numbers.
inline int64_t whole_vectors(int64_t n) { return (n + Vec::width - 1) / Vec::width * Vec::width; }

// The first `count` of a vector's numbers, if that is less than all: what lies behind them may belong to someone else.
inline Vec load_part(const Scalar* from, int64_t count) {
    if (count >= Vec::width) return Vec::load(from);
    Scalar part[Vec::width] = {};
    std::copy_n(from, count, part);
    return Vec::load(part);
}

inline void store_part(Vec x, Scalar* to, int64_t count) {
    if (count >= Vec::width) return x.store(to);
    Scalar part[Vec::width];
    x.store(part);
    std::copy_n(part, count, to);
}
