// The parameters of the Fourier MLP on the CPU, plain numbers and pointers, between the op and its compiled variants.
#pragma once

#include <cstdint>
#include <vector>

#include "common/cpu/layers.h"

namespace vinr {

// Rows of numbers, one for each thing that may be read.
template <typename scalar_t>
struct FourierMap {
    const scalar_t* data;
    int64_t batch_stride, row_stride;
};

template <typename scalar_t>
struct FourierMlpParameters {
    int64_t batch, points, neighbours;  // neighbours of each point, whose outputs are mixed
    int64_t map_rows, half;             // half: cosines, as many as sines; a whole number of kWidthMultiple
    FourierMap<scalar_t> coef, freq;    // [batch, map_rows, 2 half]
    const int64_t* index;               // [batch, points, neighbours], rows of the maps; outside of them zeros are read
    const scalar_t* relative;           // [batch, points, neighbours, 2]
    int64_t cells;                      // numbers of a cell
    const scalar_t* phase;              // [half, cells]
    const scalar_t* cell;               // [batch, points or 1, cells]; null for one that is 1
    bool cell_per_point;
    const scalar_t* weights;                  // [batch, points, neighbours]; null for ones
    std::vector<LayerView<scalar_t>> layers;  // from 2 half inputs
    scalar_t* out;                            // [batch, points, outputs of the last layer]
};

// What the backward pass reads and writes beside the parameters, of which it does not use out. Null where not wanted.
template <typename scalar_t>
struct FourierMlpGradients {
    const scalar_t* grad_output;  // like out
    scalar_t *coef, *freq;        // [batch, map_rows, 2 half], zeros before; both or none
    scalar_t* relative;           // like relative
    scalar_t* phase;              // like phase
    scalar_t* cell;               // [batch, points, cells]
    scalar_t* layers;             // weight and bias of each layer in turn, zeros before
    scalar_t* weights;            // like weights
};

}  // namespace vinr
