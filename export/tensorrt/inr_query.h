// vinr::InrQuery: VideoINR's query of one pair of frames, as export/onnx/schemas.py has the node.
#pragma once

#include "launch.h"
#include "plugin.h"
#include "tensors.h"

namespace vinr::tensorrt {

struct InrQueryAttributes {
    Integers feat_widths{3, 1, 1}, flow_widths{2, 1, 4}, encode_widths{3, 1, 1};  // of the input, of each layer
    float omega = 30;

    template <class Self, class Visit>
    static void each(Self& self, Visit&& visit) {
        visit("feat_widths", self.feat_widths);
        visit("flow_widths", self.flow_widths);
        visit("encode_widths", self.encode_widths);
        visit("omega", self.omega);
    }

    void check() const;
    // Channels of colours that the networks take; 0 where the maps hold the colours.
    int32_t colours() const { return flow_widths[0] - feat_widths.back() - 1; }
};

// Inputs: maps, times, weights, lr_rows, lr_columns, rows, columns, and colours if the networks take them. maps,
// weights and colours float32 or float16, the others and the outputs float32. Of rows and columns the lengths alone
// count: sizes reach a plugin as sizes of tensors, at every stage from shape inference to enqueue.
class InrQuery : public Plugin<InrQuery, InrQueryAttributes> {
 public:
    enum Input { kMaps, kTimes, kWeights, kLrRows, kLrColumns, kRows, kColumns, kColours };
    static constexpr const char* kName = "InrQuery";
    static constexpr int32_t kOutputs = 2;  // image, flow
    using Plugin::Plugin;

    void check_inputs(int32_t count) const;
    DataType output_type(const DataType*) const { return DataType::kFLOAT; }
    void output_shapes(const nvinfer1::DimsExprs* inputs, nvinfer1::DimsExprs* outputs,
                       nvinfer1::IExprBuilder& builder) const;
    bool supports(int32_t position, const Descriptions& all, int32_t inputs) const;
    void check(const Descriptions& all, int32_t inputs) const { call(all, inputs); }
    size_t workspace_bytes(const Descriptions& all, int32_t inputs) const;
    void run(const Descriptions& all, int32_t inputs, const void* const* input, void* const* output, void* workspace,
             cudaStream_t stream) const;

 private:
    InrQueryCall call(const Descriptions& all, int32_t inputs) const;
};

}  // namespace vinr::tensorrt
