// Warp-wide matrix operations as the PTX ISA 9.0 lays them out; section numbers are its.
#pragma once

#include <array>
#include <cstdint>

#include "simt/block.h"
#include "simt/numbers.h"

namespace simt {

// ldmatrix, 9.7.14.5.15: lane 8 m + r gives the address of row r of 8x8 matrix m. Lane i receives elements 2 (i % 4)
// and the next one of row i / 4; with .trans those of the transposed matrix.
struct LoadMatrix {
    size_t row;           // byte offset into shared memory
    uint32_t* registers;  // one a matrix
    int matrices;
    bool transposed;

    static void execute(const std::array<void*, kLanes>& arguments) {
        const auto lane = [&](int i) { return static_cast<LoadMatrix*>(arguments[i]); };
        Machine& machine = Machine::current();
        const int first = machine.thread() / kLanes * kLanes;
        for (int m = 0; m < lane(0)->matrices; ++m) {
            uint16_t rows[8][8];
            for (int r = 0; r < 8; ++r) {
                Access by = machine.access();
                by.thread = first + 8 * m + r;
                machine.shared().read(lane(8 * m + r)->row, rows[r], sizeof(rows[r]), by);
            }
            for (int i = 0; i < kLanes; ++i) {
                const int row = i / 4, column = i % 4 * 2;
                const bool t = lane(i)->transposed;
                const uint16_t low = t ? rows[column][row] : rows[row][column];
                const uint16_t high = t ? rows[column + 1][row] : rows[row][column + 1];
                lane(i)->registers[m] = uint32_t(high) << 16 | low;
            }
        }
    }
};

// mma.m16n8kK: d[16][8] += a[16][K] b[K][8], all lanes' registers together.
struct MultiplyAdd {
    float* d;
    const uint32_t *a, *b;

    // Rows and columns of the four accumulators of a lane: 9.7.14.5.7 and 9.7.14.5.8, "Accumulators".
    static int d_row(int lane, int i) { return lane / 4 + (i < 2 ? 0 : 8); }
    static int d_column(int lane, int i) { return lane % 4 * 2 + (i & 1); }

    // 9.7.14.5.8, f16 and bf16: elements 2 r and 2 r + 1 stand in register r, the first in its lower half.
    template <float (*convert)(uint16_t)>
    static void k16(const std::array<void*, kLanes>& arguments) {
        float a[16][16], b[16][8];
        for (int lane = 0; lane < kLanes; ++lane) {
            const auto* m = static_cast<MultiplyAdd*>(arguments[lane]);
            const int group = lane / 4, in_group = lane % 4;
            for (int i = 0; i < 8; ++i) {
                const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
                const int column = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
                a[row][column] = convert(uint16_t(m->a[i / 2] >> 16 * (i & 1)));
            }
            for (int i = 0; i < 4; ++i) {
                const int row = in_group * 2 + (i & 1) + (i < 2 ? 0 : 8);
                b[row][group] = convert(uint16_t(m->b[i / 2] >> 16 * (i & 1)));
            }
        }
        accumulate<16>(arguments, a, b);
    }

    // 9.7.14.5.7, tf32: the lower 13 bits of a register are not looked at.
    static void k8_tf32(const std::array<void*, kLanes>& arguments) {
        const auto convert = [](uint32_t word) { return bit_cast<float>(word & ~0x1fffu); };
        float a[16][8], b[8][8];
        for (int lane = 0; lane < kLanes; ++lane) {
            const auto* m = static_cast<MultiplyAdd*>(arguments[lane]);
            const int group = lane / 4, in_group = lane % 4;
            for (int i = 0; i < 4; ++i) {
                const int row = i == 0 || i == 2 ? group : group + 8;
                a[row][i < 2 ? in_group : in_group + 4] = convert(m->a[i]);
            }
            for (int i = 0; i < 2; ++i) b[i == 0 ? in_group : in_group + 4][group] = convert(m->b[i]);
        }
        accumulate<8>(arguments, a, b);
    }

 private:
    template <int K>
    static void accumulate(const std::array<void*, kLanes>& arguments, const float (&a)[16][K],
                           const float (&b)[K][8]) {
        float d[16][8] = {};
        for (int row = 0; row < 16; ++row) {
            for (int k = 0; k < K; ++k) {
                for (int column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
            }
        }
        for (int lane = 0; lane < kLanes; ++lane) {
            auto* m = static_cast<MultiplyAdd*>(arguments[lane]);
            for (int i = 0; i < 4; ++i) m->d[i] += d[d_row(lane, i)][d_column(lane, i)];
        }
    }
};

}  // namespace simt
