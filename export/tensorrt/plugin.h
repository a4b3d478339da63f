// What both plugins share: TensorRT's interfaces, with exceptions caught and logged, around a Derived class that has
//   Attributes, kName, kOutputs                         its fields (see fields.h), name, number of outputs
//   check_inputs(count)                                 throws unless the node may have so many inputs
//   output_type(input types)                            of all outputs
//   output_shapes(inputs, outputs, builder)
//   supports(position, descriptions, inputs)            types and formats, from descriptions[0] to [position] alone
//   check(descriptions, inputs)                         throws unless the sizes fit each other
//   workspace_bytes(descriptions, inputs)
//   run(descriptions, inputs, memory, workspace, stream)
// Descriptions are those of inputs, then of outputs; so is the memory.
#pragma once

#include <NvInferRuntime.h>

#include <memory>
#include <string>
#include <vector>

#include "fields.h"
#include "log.h"

static_assert(NV_TENSORRT_MAJOR >= 10, "IPluginV3 came with TensorRT 10");

namespace vinr::tensorrt {

constexpr const char* kVersion = "1";
constexpr const char* kNamespace = "vinr";
constexpr size_t kNoWorkspace = size_t(1) << 62;  // more than there is: the builder then refuses the node

using Descriptions = std::vector<nvinfer1::PluginTensorDesc>;

template <class Derived, class TheAttributes>
class Plugin : public nvinfer1::IPluginV3,
               public nvinfer1::IPluginV3OneCore,
               public nvinfer1::IPluginV3OneBuild,
               public nvinfer1::IPluginV3OneRuntime {
 public:
    using Attributes = TheAttributes;
    using Description = nvinfer1::PluginTensorDesc;
    using Dynamic = nvinfer1::DynamicPluginTensorDesc;

    explicit Plugin(const Attributes& attributes) : attributes(attributes), text_(text_of(attributes)) {}

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
        switch (type) {
            case nvinfer1::PluginCapabilityType::kCORE:
                return static_cast<nvinfer1::IPluginV3OneCore*>(this);
            case nvinfer1::PluginCapabilityType::kBUILD:
                return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
            case nvinfer1::PluginCapabilityType::kRUNTIME:
                return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    nvinfer1::IPluginV3* clone() noexcept override {
        std::unique_ptr<Derived> copy;
        completes(Derived::kName, [&] {
            copy = std::make_unique<Derived>(attributes);
            copy->inputs_ = inputs_;
        });
        return copy.release();
    }
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override { return clone(); }

    const char* getPluginName() const noexcept override { return Derived::kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

    int32_t getNbOutputs() const noexcept override { return Derived::kOutputs; }

    int32_t getOutputDataTypes(nvinfer1::DataType* types, int32_t outputs, const nvinfer1::DataType* inputs,
                               int32_t count) const noexcept override {
        return status([&] {
            expect(count, outputs);
            for (int32_t i = 0; i < outputs; ++i) types[i] = derived().output_type(inputs);
        });
    }

    int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t count, const nvinfer1::DimsExprs*, int32_t,
                            nvinfer1::DimsExprs* outputs, int32_t output_count,
                            nvinfer1::IExprBuilder& builder) noexcept override {
        return status([&] {
            expect(count, output_count);
            derived().output_shapes(inputs, outputs, builder);
        });
    }

    bool supportsFormatCombination(int32_t position, const Dynamic* all, int32_t inputs,
                                   int32_t outputs) noexcept override {
        bool supported = false;
        completes(Derived::kName, [&] {
            expect(inputs, outputs);
            Descriptions known;
            for (int32_t i = 0; i <= position; ++i) known.push_back(all[i].desc);
            supported = derived().supports(position, known, inputs);
        });
        return supported;
    }

    int32_t configurePlugin(const Dynamic*, int32_t inputs, const Dynamic*, int32_t outputs) noexcept override {
        return status([&] { expect(inputs, outputs); });
    }

    size_t getWorkspaceSize(const Dynamic* inputs, int32_t count, const Dynamic* outputs,
                            int32_t output_count) const noexcept override {
        size_t bytes = kNoWorkspace;  // where the sizes are wrong
        completes(Derived::kName, [&] {
            expect(count, output_count);
            Descriptions all;
            const auto add = [&](const Dynamic& tensor) {
                all.push_back(tensor.desc);
                all.back().dims = tensor.max;
            };
            for (int32_t i = 0; i < count; ++i) add(inputs[i]);
            for (int32_t i = 0; i < output_count; ++i) add(outputs[i]);
            bytes = derived().workspace_bytes(all, count);
        });
        return bytes;
    }

    // Single tactic; what is measured depends on the attributes, formats and sizes alone.
    const char* getTimingCacheID() noexcept override { return text_.c_str(); }
    const char* getMetadataString() noexcept override { return text_.c_str(); }

    int32_t onShapeChange(const Description* inputs, int32_t count, const Description* outputs,
                          int32_t output_count) noexcept override {
        return status([&] {
            expect(count, output_count);
            inputs_ = count;
            derived().check(joined(inputs, outputs), count);
        });
    }

    // TensorRT calls onShapeChange() before, which says how many inputs there are.
    int32_t enqueue(const Description* inputs, const Description* outputs, const void* const* input_memory,
                    void* const* output_memory, void* workspace, cudaStream_t stream) noexcept override {
        return status([&] {
            expect(inputs_, Derived::kOutputs);
            const Descriptions all = joined(inputs, outputs);
            derived().check(all, inputs_);
            derived().run(all, inputs_, input_memory, output_memory, workspace, stream);
        });
    }

    const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override {
        const bool complete = completes(Derived::kName, [&] {
            fields_ = fields_of(attributes);
            collection_ = {int32_t(fields_.size()), fields_.data()};
        });
        return complete ? &collection_ : nullptr;
    }

    const Attributes attributes;

 private:
    const Derived& derived() const { return static_cast<const Derived&>(*this); }

    template <typename F>
    int32_t status(F&& f) const noexcept {
        return completes(Derived::kName, f) ? 0 : -1;
    }

    void expect(int32_t inputs, int32_t outputs) const {
        derived().check_inputs(inputs);
        if (outputs != Derived::kOutputs)
            throw std::invalid_argument("it has " + std::to_string(Derived::kOutputs) + " outputs, not " +
                                        std::to_string(outputs));
    }

    Descriptions joined(const Description* inputs, const Description* outputs) const {
        Descriptions all(inputs, inputs + inputs_);
        all.insert(all.end(), outputs, outputs + Derived::kOutputs);
        return all;
    }

    int32_t inputs_ = 0;
    std::string text_;
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_{};
};

template <class ThePlugin>
class Creator : public nvinfer1::IPluginCreatorV3One {
 public:
    Creator() : fields_(fields_of(typename ThePlugin::Attributes())) {
        for (nvinfer1::PluginField& field : fields_) field.data = nullptr;
        collection_ = {int32_t(fields_.size()), fields_.data()};
    }

    nvinfer1::IPluginV3* createPlugin(const char*, const nvinfer1::PluginFieldCollection* fields,
                                      nvinfer1::TensorRTPhase) noexcept override {
        std::unique_ptr<ThePlugin> plugin;
        completes(ThePlugin::kName,
                  [&] { plugin = std::make_unique<ThePlugin>(read_fields<typename ThePlugin::Attributes>(fields)); });
        return plugin.release();
    }

    const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
    const char* getPluginName() const noexcept override { return ThePlugin::kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

 private:
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_;
};

}  // namespace vinr::tensorrt
