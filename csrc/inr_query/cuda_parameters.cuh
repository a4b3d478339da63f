// What the query is given, and what its kernels are: plain numbers and pointers.
#pragma once

#include "common/cuda/types.cuh"
#include "common/widths.h"

namespace vinr::cuda {

constexpr int kMaxLayers = 8;  // of one network

// One linear layer as torch keeps it, on the device: weight [outputs, inputs], bias [outputs].
struct Layer {
    const float* weight;
    const float* bias;
    int inputs, outputs;
};

// A SIREN. Its first layer takes what is not hoisted: feat (relative y, relative x, t); flow (HR feature, 6 colours,
// t); encode (HR feature at A, at B, 6 colours at A, at B, t); no colours where they are folded into the maps.
struct Network {
    Layer layer[kMaxLayers];
    int layers;

    VINR_HOST_DEVICE const Layer& last() const { return layer[layers - 1]; }
};

// The arguments of the op, all on one device.
struct QueryArguments {
    int batch, times;
    int map_height, map_width;  // of the padded low-resolution maps
    int lr_height, lr_width;    // of the unpadded frames, which the output covers
    int height, width;          // of the output
    int upsample;               // of the colours; 1 where they are folded into the maps
    float omega;
    // [batch, map_height, map_width, map_channels]: four projected maps side by side, each of a padded width, which
    // feed the first layers of feat, flow, and encode at A and at B.
    const float* maps;
    int map_channels;
    const float*
        colours;        // [batch, upsample map_height, upsample map_width, 8], two of them zeros; null for upsample 1
    const float* time;  // [times, batch]
    Network feat, flow, encode;
    float* image;  // [batch, times, outputs of encode, height, width]
    float* flows;  // [batch, times, 4, height, width]
};

// A plane of pixels that is sampled. Sizes also stand as floats, here and below: kernels read them where they are, when
// what they would work out once for all tiles would not fit their registers.
struct Plane {
    int height, width;
    float float_height, float_width;

    static Plane of(int height, int width) { return {height, width, float(height), float(width)}; }
};

// What a kernel of the query takes: the arguments, and where it is in the work.
struct QueryParameters {
    QueryArguments arguments;
    Plane maps, colours, output;
    float lr_height, lr_width;            // of the unpadded frames
    float fine_height, fine_width;        // of the unpadded upsampled colours
    float last_row, last_column;          // of the output
    int64_t pixels;                       // of the output
    int64_t map_numbers, colour_numbers;  // of one image's maps and colours
    const unsigned char* weights;         // packed
    const float* vectors;     // biases and the columns of first layers that are no product's, times their units
    const float* zeros;       // as many as a pixel of a map is read of at once
    void* hr;                 // scratch [images, height, width, features], of the operand's stored type
    int first_image, images;  // of batch x times, that this launch decodes
    int tiles_x, tiles_y;     // of one image
    float unit;               // of a phase before the sine, times omega
    bool resident;            // all weights fit shared memory

    QueryParameters() = default;
    explicit QueryParameters(const QueryArguments& a)
        : arguments(a),
          maps(Plane::of(a.map_height, a.map_width)),
          colours(Plane::of(a.upsample * a.map_height, a.upsample * a.map_width)),
          output(Plane::of(a.height, a.width)),
          lr_height(float(a.lr_height)),
          lr_width(float(a.lr_width)),
          fine_height(float(a.upsample * a.lr_height)),
          fine_width(float(a.upsample * a.lr_width)),
          last_row(float(a.height - 1)),
          last_column(float(a.width - 1)),
          pixels(int64_t(a.height) * a.width),
          map_numbers(int64_t(a.map_height) * a.map_width * a.map_channels),
          colour_numbers(int64_t(colours.height) * colours.width * 8),
          weights(nullptr),
          vectors(nullptr),
          zeros(nullptr),
          hr(nullptr),
          first_image(0),
          images(0),
          tiles_x(0),
          tiles_y(0),
          unit(0),
          resident(false) {}
};

}  // namespace vinr::cuda
