// What the ConvLSTM's gates say to their compiled variants.
#pragma once

#include "common/cpu/layers.h"

namespace vinr {

// Of pixels in turn: new_cell = sigmoid(f) cell + sigmoid(i) tanh(g), hidden = sigmoid(o) tanh(new_cell).
template <typename scalar_t>
struct LstmGates {
    int64_t pixels, channels;
    const scalar_t* gates;  // [pixels, 4 channels]: i, f, o and g, before their activations
    const scalar_t* cell;   // [pixels, channels], as those that follow
    scalar_t *hidden, *new_cell;
};

}  // namespace vinr
