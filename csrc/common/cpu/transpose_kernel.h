// Matrices turned round; included inside a variant's namespace, after its Vec.
#pragma once

// to[c * to_stride + r] = from[r * from_stride + c]
inline void transpose(const Scalar* from, int64_t from_stride, int64_t rows, int64_t columns, Scalar* to,
                      int64_t to_stride) {
    const int64_t whole_rows = rows / kTurn * kTurn, whole_columns = columns / kTurn * kTurn;
    for (int64_t r = 0; r < whole_rows; r += kTurn) {
        for (int64_t c = 0; c < whole_columns; c += kTurn) {
            transpose_block(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
        }
    }
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c) {
            to[c * to_stride + r] = from[r * from_stride + c];
        }
    }
}
