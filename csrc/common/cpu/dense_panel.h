// Rows times one panel of weights; included by a dense kernel, after its dense_block.
#pragma once

// epilogue(sums, row, column) for every vector of in [rows, depth * kPair] weight + start, from `column` on: start is a
// row for all (stride 0) or one for each, and weight is [depth, vecs] vectors of kPair operands. Rows are taken
// kBlockRows at a time, and there must be room for the last block.
template <typename Epilogue>
void dense_panel(int64_t vecs, int64_t rows, const Operand* in, int64_t in_stride, int64_t depth, const Operand* weight,
                 const Scalar* start, int64_t start_stride, const Epilogue& epilogue, int64_t column) {
    for (int64_t r = 0; r < rows; r += kBlockRows, in += kBlockRows * in_stride, start += kBlockRows * start_stride) {
        switch (vecs) {
            case 4:
                if constexpr (kPanelVecs >= 4) {
                    dense_block<4>(in, in_stride, depth, weight, start, start_stride, epilogue, r, column);
                }
                break;
            case 3:
                if constexpr (kPanelVecs >= 3) {
                    dense_block<3>(in, in_stride, depth, weight, start, start_stride, epilogue, r, column);
                }
                break;
            case 2:
                dense_block<2>(in, in_stride, depth, weight, start, start_stride, epilogue, r, column);
                break;
            default:
                dense_block<1>(in, in_stride, depth, weight, start, start_stride, epilogue, r, column);
        }
    }
}
