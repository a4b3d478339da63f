// The kernels, as the plugins start them: plain numbers, device pointers and a stream; neither TensorRT nor CUDA here.
// Functions throw std::runtime_error, which says why a kernel did not start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "deform_conv2d/shape.h"

namespace vinr::tensorrt {

// Parts of one workspace, in turn, each aligned to 256 bytes; of a null one, their total size.
class Parts {
 public:
    explicit Parts(void* workspace) : begin_(static_cast<unsigned char*>(workspace)) {}

    template <typename T = void>
    T* take(size_t bytes) {
        unsigned char* const part = begin_ ? begin_ + used_ : nullptr;
        used_ += (bytes + 255) / 256 * 256;
        return reinterpret_cast<T*>(part);
    }
    size_t used() const { return used_; }

 private:
    unsigned char* begin_;
    size_t used_ = 0;
};

struct DeformConv2dCall {
    DeformConv2dShape shape;
    bool half;                        // float16, else float32
    bool channels_last;               // input, offset_mask and output: [B, H, W, channels], else [B, channels, H, W]
    int64_t offset_mask_channels;     // in memory; channels-last pads them
    const void *input, *offset_mask;  // offset_mask: 2*G*K offsets, then G*K logits of masks
    const void *weight, *bias;        // [O, C/groups, kh, kw]; [O], or null
    void* output;
};

size_t deform_conv2d_workspace(const DeformConv2dCall& call);
void deform_conv2d(const DeformConv2dCall& call, void* workspace, void* stream);

struct InrQueryCall {
    int times;                  // how many
    int map_height, map_width;  // of the padded maps
    int lr_height, lr_width;    // of the unpadded frames
    int height, width;          // of the output
    int upsample;               // of the colours; 1 without
    int map_channels;
    float omega;
    bool half;                                // maps, colours and weights are float16, and products' factors
    std::vector<int32_t> feat, flow, encode;  // widths of the input and of each layer
    const void *maps, *colours, *weights;     // colours may be null
    const float* time;
    float *image, *flows;
};

// Weights and biases of a network of these widths.
inline int64_t parameters_of(const std::vector<int32_t>& widths) {
    int64_t count = 0;
    for (size_t i = 1; i < widths.size(); ++i) count += (int64_t(widths[i - 1]) + 1) * widths[i];
    return count;
}

size_t inr_query_workspace(const InrQueryCall& call);
void inr_query(const InrQueryCall& call, void* workspace, void* stream);

}  // namespace vinr::tensorrt
