#include "deform_conv2d.h"

#include "deform_conv2d/cuda_parameters.cuh"

namespace vinr::tensorrt {
namespace {

// Channels-last, of which this type of tensor has one form.
TensorFormat channels_last_of(DataType type) {
    return type == DataType::kHALF ? TensorFormat::kHWC8 : TensorFormat::kHWC;
}

void check_pair(const char* name, const Integers& values, int32_t least) {
    if (values.size() != 2 || values[0] < least || values[1] < least)
        throw std::invalid_argument(std::string(name) + " must be two numbers (y, x) from " + std::to_string(least) +
                                    " up");
}

void check_count(const char* name, const Integers& values) {
    if (values.size() != 1 || values[0] < 1)
        throw std::invalid_argument(std::string(name) + " must be one number from 1 up");
}

}  // namespace

void DeformConv2dAttributes::check() const {
    check_pair("stride", stride, 1);
    check_pair("padding", padding, 0);
    check_pair("dilation", dilation, 1);
    check_count("group", group);
    check_count("deformable_group", deformable_group);
}

void DeformConv2d::check_inputs(int32_t count) const {
    if (count != kBias && count != kBias + 1)
        throw std::invalid_argument("inputs must be input, offset_mask, weight and perhaps bias, got " +
                                    std::to_string(count));
}

void DeformConv2d::output_shapes(const nvinfer1::DimsExprs* inputs, nvinfer1::DimsExprs* outputs,
                                 nvinfer1::IExprBuilder&) const {
    for (const Input position : {kInput, kOffsetMask, kWeight}) {
        if (inputs[position].nbDims != 4) throw std::invalid_argument("input, offset_mask and weight have four sizes");
    }
    outputs[0].nbDims = 4;
    outputs[0].d[0] = inputs[kInput].d[0];
    outputs[0].d[1] = inputs[kWeight].d[0];
    outputs[0].d[2] = inputs[kOffsetMask].d[2];
    outputs[0].d[3] = inputs[kOffsetMask].d[3];
}

bool DeformConv2d::supports(int32_t position, const Descriptions& all, int32_t inputs) const {
    const auto& tensor = all[size_t(position)];
    const auto& first = all[0];
    if (!is_float_type(first.type) || tensor.type != first.type) return false;
    if (position == kWeight || (position == kBias && position < inputs)) return tensor.format == TensorFormat::kLINEAR;
    if (position > 0 && tensor.format != first.format) return false;
    if (tensor.format == TensorFormat::kLINEAR) return true;
    if (tensor.format != channels_last_of(first.type)) return false;
    // The kernel takes padding between the channels of offset_mask, but not of the others.
    const bool padded = first.type == DataType::kHALF && (tensor.dims.nbDims != 4 || tensor.dims.d[1] % 8 != 0);
    return position == kOffsetMask || !padded;
}

DeformConv2dCall DeformConv2d::call(const Descriptions& all, int32_t inputs) const {
    const Dims &input = all[kInput].dims, &offset_mask = all[kOffsetMask].dims, &weight = all[kWeight].dims;
    const Dims& output = all[size_t(inputs)].dims;
    check_rank("input", input, "[B, C, H_in, W_in]", 4);
    check_rank("offset_mask", offset_mask, "[B, 3*G*K, H, W]", 4);
    check_rank("weight", weight, "[O, C/group, kh, kw]", 4);
    DeformConv2dCall call{};
    DeformConv2dShape& s = call.shape;
    s.batch = input.d[0], s.channels = input.d[1], s.height = input.d[2], s.width = input.d[3];
    s.out_channels = weight.d[0], s.kernel_height = weight.d[2], s.kernel_width = weight.d[3];
    s.out_height = offset_mask.d[2], s.out_width = offset_mask.d[3];
    s.groups = attributes.group[0], s.offset_groups = attributes.deformable_group[0];
    for (const int axis : {0, 1}) {
        s.stride[axis] = attributes.stride[size_t(axis)], s.padding[axis] = attributes.padding[size_t(axis)];
        s.dilation[axis] = attributes.dilation[size_t(axis)];
    }
    const int64_t channels = 3 * s.offset_groups * s.taps();
    check_shape("weight", weight, "[O, C/group, kh, kw]",
                {s.out_channels, s.channels / s.groups, s.kernel_height, s.kernel_width});
    check_shape("offset_mask", offset_mask, "[B, 3*G*K, H, W]", {s.batch, channels, s.out_height, s.out_width});
    check_shape("output", output, "[B, O, H, W]", {s.batch, s.out_channels, s.out_height, s.out_width});
    if (inputs > kBias) check_shape("bias", all[kBias].dims, "[O]", {s.out_channels});
    if (s.channels % s.groups || s.out_channels % s.groups || s.channels % s.offset_groups)
        throw std::invalid_argument(
            "group must divide the channels of input and output, deformable_group those of "
            "input, got input " +
            shape_text(input.d, 4) + ", weight " + shape_text(weight.d, 4));
    call.half = all[kInput].type == DataType::kHALF;
    call.channels_last = all[kInput].format != TensorFormat::kLINEAR;
    call.offset_mask_channels = call.half && call.channels_last ? (channels + 7) / 8 * 8 : channels;
    return call;
}

void DeformConv2d::check(const Descriptions& all, int32_t inputs) const {
    const DeformConv2dShape s = call(all, inputs).shape;
    const int64_t size[] = {s.height, s.width}, kernel[] = {s.kernel_height, s.kernel_width};
    const int64_t out[] = {s.out_height, s.out_width};
    for (const int axis : {0, 1}) {
        const int64_t span = size[axis] + 2 * s.padding[axis] - (s.dilation[axis] * (kernel[axis] - 1) + 1);
        if (span < 0 || span / s.stride[axis] + 1 != out[axis])
            throw std::invalid_argument("offset_mask must have as many pixels as the output, got input " +
                                        shape_text(all[kInput].dims.d, 4) + ", offset_mask " +
                                        shape_text(all[kOffsetMask].dims.d, 4));
    }
    if (!cuda::deform::fits(s))
        throw std::invalid_argument("sizes are beyond what the kernels count, got input " +
                                    shape_text(all[kInput].dims.d, 4) + ", weight " +
                                    shape_text(all[kWeight].dims.d, 4));
}

size_t DeformConv2d::workspace_bytes(const Descriptions& all, int32_t inputs) const {
    return deform_conv2d_workspace(call(all, inputs));
}

void DeformConv2d::run(const Descriptions& all, int32_t inputs, const void* const* input, void* const* output,
                       void* workspace, cudaStream_t stream) const {
    if (is_empty(all[size_t(inputs)].dims)) return;
    DeformConv2dCall call = this->call(all, inputs);
    call.input = input[kInput], call.offset_mask = input[kOffsetMask], call.weight = input[kWeight];
    call.bias = inputs > kBias ? input[kBias] : nullptr;
    call.output = output[0];
    deform_conv2d(call, workspace, stream);
}

}  // namespace vinr::tensorrt
