// The parameters of deformable attention on the CPU, plain numbers and pointers, between the op and its compiled
// variants.
#pragma once

#include <cstdint>

#include "common/cpu/layers.h"
#include "deform_conv2d/cpu_parameters.h"

namespace vinr {

struct DeformAttentionShape {
    int64_t images, frames, heads, depth, groups;  // images: of all clips; frames of one; depth: channels of a head
    int64_t height, width, kernel_height, kernel_width, padding_y, padding_x;

    int64_t channels() const { return heads * depth; }
    int64_t taps() const { return kernel_height * kernel_width; }
    int64_t samples() const { return frames * taps(); }  // of a pixel
    int64_t pixels() const { return height * width; }
    // An image with a border of zeros: rows -1 to h of columns -1 to w - 1, then two pixels. Column w is column -1 of
    // the next row, and what lies outside reads the corners of row h.
    int64_t bordered() const { return (height + 2) * (width + 1) + 2; }

    // Numbers of a bordered pixel: each group's channels of each head, padded to a whole number of cache lines.
    int64_t packed_width(int64_t line) const {
        const int64_t group = 2 * channels() / groups;
        int64_t sum = 0;
        for (int64_t c = 0; c < 2 * channels();) {
            const int64_t end = c + (depth - c % depth < group - c % group ? depth - c % depth : group - c % group);
            sum += (end - c + line - 1) / line * line;
            c = end;
        }
        return sum;
    }
};

template <typename scalar_t>
struct DeformAttentionParameters {
    DeformAttentionShape shape;
    Planes<const scalar_t> q;       // [images, C, h, w]
    Planes<const scalar_t> kv;      // [images, 2 C, h, w]
    Planes<const scalar_t> offset;  // [images, frames * 2 * groups * taps, h, w]
    scalar_t* packed;               // [images, bordered, packed_width]: room, from the start of a cache line on
    Planes<scalar_t> out;           // like q
};

// What the backward pass reads and writes beside the parameters, of which it does not use out. Null where not wanted.
template <typename scalar_t>
struct DeformAttentionGradients {
    Planes<const scalar_t> grad_output;  // like q
    scalar_t keys_factor;                // times the gradient of the keys, and that of the offsets through them
    scalar_t* packed;                    // room like that of the parameters, where kv is wanted
    Planes<scalar_t> q, kv, offset;      // like those of the parameters
};

}  // namespace vinr
