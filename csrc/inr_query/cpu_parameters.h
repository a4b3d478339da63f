// The parameters of the CPU query, plain numbers and pointers, between the op and its compiled variants.
#pragma once

#include <cstdint>
#include <vector>

#include "common/cpu/layers.h"

namespace vinr {

template <typename scalar_t>
struct QueryParameters {
    int64_t batch, times;
    int64_t map_height, map_width;  // of the padded low-resolution maps
    int64_t lr_height, lr_width;    // of the unpadded frames, which the output covers
    int64_t height, width;          // of the output
    int64_t upsample;               // of the colours; 1 where they are folded into the maps
    scalar_t omega;

    // [batch, map_height, map_width, map_channels]: four projected maps side by side, each of a padded width, which
    // feed the first layers of feat, flow, and encode at A and at B.
    const scalar_t* maps;
    int64_t map_channels;
    // [batch, upsample map_height, upsample map_width, 8], six colours and two zeros; null where upsample is 1.
    const scalar_t* colours;
    const scalar_t* time;  // [times, batch]

    // First layers take what is not hoisted: feat (relative y, relative x, t); flow (HR feature, 6 colours, t);
    // encode (HR feature at A, at B, 6 colours at A, at B, t); no colours where they are folded.
    std::vector<LayerView<scalar_t>> feat, flow, encode;

    scalar_t* hr;     // scratch [height, width, padded_width(features)], one image at one time
    scalar_t* image;  // [batch, times, outputs of encode, height, width]
    scalar_t* flows;  // [batch, times, 4, height, width]

    int64_t features() const { return feat.back().outputs; }
};

// What the backward pass reads and adds to beside the parameters, of which it uses hr and flows as scratch; it does not
// use image.
template <typename scalar_t>
struct QueryGradients {
    const scalar_t* grad_image;  // like image
    const scalar_t* grad_flow;   // like flows; null for none
    scalar_t* d_maps;            // like maps, zeros before
    scalar_t* d_colours;         // like colours, zeros before; null where not wanted
    scalar_t* d_weights;         // weight and bias of each layer of feat, flow, encode in turn, zeros before
};

}  // namespace vinr
