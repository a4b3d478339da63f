// Products of 16 x 16 tiles in the operand types of the query, float32 sums. What a lane holds is the same for all:
//
//   sums       the D fragment of m16n8: columns 2 t, 2 t + 1 of rows g and g + 8, with g = lane / 4, t = lane % 4
//   fragment   16 x 16 of the left factor, made of two such fragments of sums side by side with no exchange of data
//   tile       16 x 16 of the right factor, packed in memory as lanes read it, 16 bytes at a time; or 32 x 8, "narrow"
//
// Columns of a left factor are thus where sums leave them, and the packed weights follow: see tile_element.
#pragma once

#include "common/cuda/primitives.cuh"
#include "common/cuda/sine.cuh"

namespace vinr::cuda {

struct Tf32 {};

// A place in a tile: row k, column n.
struct TileElement {
    int k, n;
};

VINR_DEVICE int lane_row() { return lane() >> 2; }
VINR_DEVICE int lane_column() { return lane() & 3; }

// 16-byte pieces of packed tiles, in shared or global memory.
struct SharedTiles {
    Shared<unsigned char> base;
    VINR_DEVICE Words4 piece(int bytes) const { return load_shared<Words4>(base + bytes); }
    VINR_DEVICE SharedTiles from(int bytes) const { return {base + bytes}; }
};
struct GlobalTiles {
    const unsigned char* base;
    VINR_DEVICE Words4 piece(int bytes) const { return load(reinterpret_cast<const Words4*>(base + bytes)); }
    VINR_DEVICE GlobalTiles from(int64_t bytes) const { return {base + bytes}; }
};

// Half and BFloat16: mma.m16n8k16.
template <typename T>
struct Operand {
    using Stored = T;
    using Sine = ApproximateSine;
    static constexpr int kRowTiles = 2;  // of 16 pixels, that share one read of the weights
    static constexpr int kTileBytes = 512;
    struct Fragment {
        uint32_t word[4];
    };

    static VINR_HOST_DEVICE TileElement tile_element(int index, bool narrow) {
        const int lane = index / 8, word = index % 8 / 2, first = 2 * (lane % 4) + 8 * (word % 2) + index % 2;
        return {narrow ? first + 16 * (word / 2) : first, narrow ? lane / 4 : lane / 4 + 8 * (word / 2)};
    }

    // Row g (half 0) or g + 8 (half 1) of a fragment: columns 2 t, 2 t + 1, 8 + 2 t, 9 + 2 t.
    static VINR_DEVICE void set_row(Fragment& a, int half, float v0, float v1, float v2, float v3) {
        a.word[half] = pack<T>(v0, v1);
        a.word[half + 2] = pack<T>(v2, v3);
    }

    static VINR_DEVICE T packed(float weight) { return from_float<T>(weight); }

    // The same row of two fragments, eight numbers.
    static VINR_DEVICE void store_row(T* to, const Fragment& a, const Fragment& b, int half) {
        store(reinterpret_cast<Words4*>(to), Words4{{a.word[half], a.word[half + 2], b.word[half], b.word[half + 2]}});
    }

    static VINR_DEVICE void load8(const T* from, float (&v)[8]) {
        const Words4 words = load(reinterpret_cast<const Words4*>(from));
        VINR_UNROLL
        for (int i = 0; i < 4; ++i) unpack<T>(words.word[i], v[2 * i], v[2 * i + 1]);
    }

    // d += a w over kTilesK x kTilesN tiles, row after row, from column tile kFirst of a on.
    template <int kTilesK, int kTilesN, int kFirst = 0, int M, int kColumns, int kWidth, typename Tiles>
    static VINR_DEVICE void multiply(float (&d)[M][kColumns][4], const Fragment (&a)[M][kWidth], Tiles tiles) {
        static_assert(kColumns == 2 * kTilesN && kFirst + kTilesK <= kWidth);
        VINR_UNROLL
        for (int k = 0; k < kTilesK; ++k) {
            VINR_UNROLL
            for (int n = 0; n < kTilesN; ++n) {
                const Words4 w = tiles.piece((k * kTilesN + n) * kTileBytes + 16 * lane());
                const uint32_t b0[2] = {w.word[0], w.word[1]}, b1[2] = {w.word[2], w.word[3]};
                VINR_UNROLL
                for (int m = 0; m < M; ++m) {
                    mma_m16n8k16(T(), d[m][2 * n], a[m][kFirst + k].word, b0);
                    mma_m16n8k16(T(), d[m][2 * n + 1], a[m][kFirst + k].word, b1);
                }
            }
        }
    }

    // d += a w, one narrow tile.
    template <int M, typename Tiles>
    static VINR_DEVICE void multiply_narrow(float (&d)[M][4], const Fragment (&a)[M][2], Tiles tile) {
        const Words4 w = tile.piece(16 * lane());
        const uint32_t b0[2] = {w.word[0], w.word[1]}, b1[2] = {w.word[2], w.word[3]};
        VINR_UNROLL
        for (int m = 0; m < M; ++m) {
            mma_m16n8k16(T(), d[m], a[m][0].word, b0);
            mma_m16n8k16(T(), d[m], a[m][1].word, b1);
        }
    }
};

// What both operands of 4 bytes share: float in memory.
struct SingleOperand {
    using Stored = float;
    static constexpr int kRowTiles = 1;  // two would not fit the registers
    static constexpr int kTileBytes = 1024;

    static VINR_DEVICE void load8(const float* from, float (&v)[8]) {
        VINR_UNROLL
        for (int i = 0; i < 2; ++i) {
            const Words4 words = load(reinterpret_cast<const Words4*>(from + 4 * i));
            VINR_UNROLL
            for (int k = 0; k < 4; ++k) v[4 * i + k] = as_float(words.word[k]);
        }
    }
};

// mma.m16n8k8. Its left factor has columns t and t + 4 where sums have 2 t and 2 t + 1: rows of the tile are swapped.
template <>
struct Operand<Tf32> : SingleOperand {
    using Sine = ApproximateSine;
    struct Fragment {
        uint32_t word[8];  // columns 0 to 7, then 8 to 15
    };

    static VINR_HOST_DEVICE TileElement tile_element(int index, bool narrow) {
        const int half = index / 128, lane = index % 128 / 4, word = index % 4, first = 2 * (lane % 4) + word % 2;
        if (narrow) return {8 * (2 * half + word / 2) + first, lane / 4};
        return {8 * half + first, lane / 4 + 8 * (word / 2)};
    }

    static VINR_DEVICE float packed(float weight) { return as_float(to_tf32(weight)); }

    static VINR_DEVICE void set_row(Fragment& a, int half, float v0, float v1, float v2, float v3) {
        a.word[half] = to_tf32(v0);
        a.word[half + 2] = to_tf32(v1);
        a.word[half + 4] = to_tf32(v2);
        a.word[half + 6] = to_tf32(v3);
    }

    static VINR_DEVICE void store_row(float* to, const Fragment& a, const Fragment& b, int half) {
        store(reinterpret_cast<Words4*>(to),
              Words4{{a.word[half], a.word[half + 2], a.word[half + 4], a.word[half + 6]}});
        store(reinterpret_cast<Words4*>(to + 4),
              Words4{{b.word[half], b.word[half + 2], b.word[half + 4], b.word[half + 6]}});
    }

    static VINR_DEVICE void multiply8(float (&d)[4], const Fragment& a, int step, uint32_t w0, uint32_t w1) {
        const uint32_t left[4] = {a.word[4 * step], a.word[4 * step + 1], a.word[4 * step + 2], a.word[4 * step + 3]};
        const uint32_t b[2] = {w0, w1};
        mma_m16n8k8_tf32(d, left, b);
    }

    template <int kTilesK, int kTilesN, int kFirst = 0, int M, int kColumns, int kWidth, typename Tiles>
    static VINR_DEVICE void multiply(float (&d)[M][kColumns][4], const Fragment (&a)[M][kWidth], Tiles tiles) {
        static_assert(kColumns == 2 * kTilesN && kFirst + kTilesK <= kWidth);
        VINR_UNROLL
        for (int k = 0; k < kTilesK; ++k) {
            VINR_UNROLL
            for (int n = 0; n < kTilesN; ++n) {
                VINR_UNROLL
                for (int step = 0; step < 2; ++step) {
                    const Words4 w = tiles.piece((k * kTilesN + n) * kTileBytes + 512 * step + 16 * lane());
                    VINR_UNROLL
                    for (int m = 0; m < M; ++m) {
                        multiply8(d[m][2 * n], a[m][kFirst + k], step, w.word[0], w.word[1]);
                        multiply8(d[m][2 * n + 1], a[m][kFirst + k], step, w.word[2], w.word[3]);
                    }
                }
            }
        }
    }

    template <int M, typename Tiles>
    static VINR_DEVICE void multiply_narrow(float (&d)[M][4], const Fragment (&a)[M][2], Tiles tile) {
        VINR_UNROLL
        for (int k = 0; k < 2; ++k) {
            const Words4 w = tile.piece(512 * k + 16 * lane());
            VINR_UNROLL
            for (int m = 0; m < M; ++m) {
                multiply8(d[m], a[m][k], 0, w.word[0], w.word[1]);
                multiply8(d[m], a[m][k], 1, w.word[2], w.word[3]);
            }
        }
    }
};

// No matrix instruction: each lane sums its own columns, and rows of the left factor go round the four lanes of a row.
template <>
struct Operand<float> : SingleOperand {
    using Sine = PolynomialSine;
    struct Fragment {
        float value[2][4];  // as sums lie: columns 0 to 7, then 8 to 15
    };

    static VINR_HOST_DEVICE TileElement tile_element(int index, bool narrow) {
        const int row = index / 16, first = 2 * (index % 16 / 4) + index % 2, word = index % 4;
        if (narrow) return {2 * row + word / 2, first};
        return {row, first + 8 * (word / 2)};
    }

    static VINR_DEVICE float packed(float weight) { return weight; }

    static VINR_DEVICE void set_row(Fragment& a, int half, float v0, float v1, float v2, float v3) {
        a.value[0][2 * half] = v0;
        a.value[0][2 * half + 1] = v1;
        a.value[1][2 * half] = v2;
        a.value[1][2 * half + 1] = v3;
    }

    static VINR_DEVICE void store_row(float* to, const Fragment& a, const Fragment& b, int half) {
        VINR_UNROLL
        for (int i = 0; i < 2; ++i) {
            const Fragment& from = i ? b : a;
            store(reinterpret_cast<Words4*>(to + 4 * i),
                  Words4{{as_word(from.value[0][2 * half]), as_word(from.value[0][2 * half + 1]),
                          as_word(from.value[1][2 * half]), as_word(from.value[1][2 * half + 1])}});
        }
    }

    // d += column k of a times (w0, w1).
    static VINR_DEVICE void multiply_column(float (&d)[4], float top, float bottom, uint32_t w0, uint32_t w1) {
        d[0] = fmaf(top, as_float(w0), d[0]);
        d[1] = fmaf(top, as_float(w1), d[1]);
        d[2] = fmaf(bottom, as_float(w0), d[2]);
        d[3] = fmaf(bottom, as_float(w1), d[3]);
    }

    template <int kTilesK, int kTilesN, int kFirst = 0, int M, int kColumns, int kWidth, typename Tiles>
    static VINR_DEVICE void multiply(float (&d)[M][kColumns][4], const Fragment (&a)[M][kWidth], Tiles tiles) {
        static_assert(kColumns == 2 * kTilesN && kFirst + kTilesK <= kWidth);
        const int row = (lane() & ~3), column = 16 * lane_column();
        VINR_UNROLL
        for (int k = 0; k < 16 * kTilesK; ++k) {
            float top[M], bottom[M];
            VINR_UNROLL
            for (int m = 0; m < M; ++m) {
                const auto& v = a[m][kFirst + k / 16].value[k % 16 / 8];
                top[m] = shuffle(v[k % 2], row + k % 8 / 2);
                bottom[m] = shuffle(v[k % 2 + 2], row + k % 8 / 2);
            }
            VINR_UNROLL
            for (int n = 0; n < kTilesN; ++n) {
                const Words4 w = tiles.piece((k / 16 * kTilesN + n) * kTileBytes + k % 16 * 64 + column);
                VINR_UNROLL
                for (int m = 0; m < M; ++m) {
                    multiply_column(d[m][2 * n], top[m], bottom[m], w.word[0], w.word[1]);
                    multiply_column(d[m][2 * n + 1], top[m], bottom[m], w.word[2], w.word[3]);
                }
            }
        }
    }

    template <int M, typename Tiles>
    static VINR_DEVICE void multiply_narrow(float (&d)[M][4], const Fragment (&a)[M][2], Tiles tile) {
        const int row = (lane() & ~3), column = 16 * lane_column();
        VINR_UNROLL
        for (int k = 0; k < 32; k += 2) {
            const Words4 w = tile.piece(k / 2 * 64 + column);
            VINR_UNROLL
            for (int m = 0; m < M; ++m) {
                const auto& v = a[m][k / 16].value[k % 16 / 8];
                const int source = row + k % 8 / 2;
                multiply_column(d[m], shuffle(v[0], source), shuffle(v[2], source), w.word[0], w.word[1]);
                multiply_column(d[m], shuffle(v[1], source), shuffle(v[3], source), w.word[2], w.word[3]);
            }
        }
    }
};

// Two neighbouring tiles of sums as a left factor, through the sine or as they are.
template <typename O, bool kSine>
VINR_DEVICE void set_fragment(typename O::Fragment& a, const float (&low)[4], const float (&high)[4]) {
    VINR_UNROLL
    for (int half = 0; half < 2; ++half) {
        const float v[4] = {low[2 * half], low[2 * half + 1], high[2 * half], high[2 * half + 1]};
        if constexpr (kSine) {
            using Sine = typename O::Sine;
            O::set_row(a, half, Sine::of(v[0]), Sine::of(v[1]), Sine::of(v[2]), Sine::of(v[3]));
        } else {
            O::set_row(a, half, v[0], v[1], v[2], v[3]);
        }
    }
}

}  // namespace vinr::cuda
