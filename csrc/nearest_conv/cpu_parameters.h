// The parameters of the convolution of an enlarged picture on the CPU, plain numbers and pointers, between the op and
// its compiled variants.
//
// An output row i belongs to input row k(i). Its type says whether the rows beside it belong to other input rows:
// kFirst, row i - 1 belongs to k - 1; kLast, row i + 1 belongs to k + 1. Of kernel rows w0, w1, w2 the row is
//   (w0 + w1 + w2) x[k] + kFirst w0 (x[k - 1] - x[k]) + kLast w2 (x[k + 1] - x[k]),
// columns alike: nine products of differences of the input, of which an output pixel adds those of its types.
#pragma once

#include <cstdint>
#include <vector>

#include "common/cpu/layers.h"

namespace vinr {

constexpr int kFirst = 1, kLast = 2;

// Where results of an input row, or column, lie.
struct NearestPlace {
    int type;        // kFirst, kLast, both or neither
    int64_t offset;  // in numbers; those of a row and of a column add up
};

template <typename scalar_t>
struct NearestConvParameters {
    int64_t batch, height, width, inputs, outputs;  // of the input
    const scalar_t* x;                              // [batch, height, width, inputs]
    // [3, 3, outputs, inputs], rows first: whole sum, first and last of the kernel's rows and columns.
    const scalar_t* weight;
    const scalar_t* bias;  // [outputs], or null
    // Places of each input row from first_row[y] to first_row[y + 1], equal types side by side; columns alike.
    std::vector<NearestPlace> rows, columns;
    std::vector<int64_t> first_row, first_column;
    int64_t image_stride;  // of results
    scalar_t* out;
};

// What the backward pass reads and writes beside the parameters, of which it does not use out. Null where not wanted.
template <typename scalar_t>
struct NearestConvGradients {
    const scalar_t* grad_output;  // like out
    scalar_t* products;           // [batch * height * width, 9, outputs padded]: room for the products' gradients
    scalar_t *x, *weight, *bias;
};

}  // namespace vinr
