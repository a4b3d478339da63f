// Starts deform_conv2d on a node's tensors.
#include "copies.cuh"
#include "deform_conv2d/cuda.cuh"
#include "launch.h"

namespace vinr::tensorrt {
namespace {

using cuda::deform::Precision;

// The kernel reads pixels and taps with their channels together; what is not so is copied.
struct DeformConv2dParts {
    void *pixels, *taps;
    size_t bytes;

    DeformConv2dParts(const DeformConv2dCall& call, void* workspace) {
        const DeformConv2dShape& s = call.shape;
        const size_t element = call.half ? 2 : 4;
        Parts parts(workspace);
        pixels = call.channels_last ? nullptr : parts.take(size_t(s.batch * s.channels * s.pixels()) * element);
        taps = parts.take(size_t(s.out_channels * (s.channels / s.groups) * s.taps()) * element);
        bytes = parts.used();
    }
};

template <typename T, Precision precision>
void start(const DeformConv2dCall& call, void* workspace, cuda::Stream stream) {
    const DeformConv2dShape& s = call.shape;
    const DeformConv2dParts parts(call, workspace);
    if (!call.channels_last) transpose<T>(call.input, parts.pixels, s.batch, s.channels, s.pixels(), stream);
    transpose<T>(call.weight, parts.taps, s.out_channels, s.channels / s.groups, s.taps(), stream);
    cuda::deform::Parameters p{};
    p.shape = s;
    p.input = call.channels_last ? call.input : parts.pixels;
    p.weight = parts.taps;
    p.bias = call.bias;
    p.logits = true;
    const bool last = call.channels_last;
    const int64_t channels = call.offset_mask_channels;
    p.offset = {call.offset_mask, channels * s.out_pixels(), last ? 1 : s.out_pixels(), last ? channels : 1,
                !call.half};
    p.mask = p.offset;
    p.mask.data = static_cast<const T*>(call.offset_mask) + 2 * s.offset_groups * s.taps() * p.offset.channel;
    p.output = call.output;
    p.out_image = s.out_channels * s.out_pixels();
    p.out_channel = last ? 1 : s.out_pixels();
    p.out_pixel = last ? s.out_channels : 1;
    check(cuda::deform::launch_as<precision>(p, stream, cuda::deform::kMostBlocks));
}

}  // namespace

size_t deform_conv2d_workspace(const DeformConv2dCall& call) { return DeformConv2dParts(call, nullptr).bytes; }

void deform_conv2d(const DeformConv2dCall& call, void* workspace, void* stream) {
    const auto on = static_cast<cuda::Stream>(stream);
    return call.half ? start<cuda::Half, Precision::kHalf>(call, workspace, on)
                     : start<float, Precision::kFloat32>(call, workspace, on);
}

}  // namespace vinr::tensorrt
