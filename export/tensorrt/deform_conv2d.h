// vinr::DeformConv2d: modulated deformable convolution, as export/onnx/schemas.py has the node.
#pragma once

#include "launch.h"
#include "plugin.h"
#include "tensors.h"

namespace vinr::tensorrt {

struct DeformConv2dAttributes {
    Integers stride{1, 1}, padding{0, 0}, dilation{1, 1};  // y, x
    Integers group{1}, deformable_group{1};

    template <class Self, class Visit>
    static void each(Self& self, Visit&& visit) {
        visit("stride", self.stride);
        visit("padding", self.padding);
        visit("dilation", self.dilation);
        visit("group", self.group);
        visit("deformable_group", self.deformable_group);
    }

    void check() const;
};

// Inputs: input, offset_mask, weight, and bias if there is one. float32 or float16 throughout; input, offset_mask and
// output either as they are or channels-last.
class DeformConv2d : public Plugin<DeformConv2d, DeformConv2dAttributes> {
 public:
    enum Input { kInput, kOffsetMask, kWeight, kBias };
    static constexpr const char* kName = "DeformConv2d";
    static constexpr int32_t kOutputs = 1;
    using Plugin::Plugin;

    void check_inputs(int32_t count) const;
    DataType output_type(const DataType* inputs) const { return inputs[0]; }
    void output_shapes(const nvinfer1::DimsExprs* inputs, nvinfer1::DimsExprs* outputs,
                       nvinfer1::IExprBuilder& builder) const;
    bool supports(int32_t position, const Descriptions& all, int32_t inputs) const;
    void check(const Descriptions& all, int32_t inputs) const;
    size_t workspace_bytes(const Descriptions& all, int32_t inputs) const;
    void run(const Descriptions& all, int32_t inputs, const void* const* input, void* const* output, void* workspace,
             cudaStream_t stream) const;

 private:
    DeformConv2dCall call(const Descriptions& all, int32_t inputs) const;
};

}  // namespace vinr::tensorrt
