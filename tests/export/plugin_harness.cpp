// The TensorRT plugins as TensorRT would drive them, with fakes of what it gives them, and their kernels on the host.
#include <pybind11/stl.h>

#include "simt/arrays.h"

// In one translation unit, so that the kernels take the shim's primitives.
#include "tensorrt/deform_conv2d.cpp"
#include "tensorrt/deform_conv2d.cu"
#include "tensorrt/inr_query.cpp"
#include "tensorrt/inr_query.cu"
#include "tensorrt/library.cpp"
#include "tensorrt/log.cpp"

namespace vinr::tensorrt {

Device current_device() { return {3, 227 << 10}; }
std::string error_text(int error) { return "error " + std::to_string(error); }

}  // namespace vinr::tensorrt

namespace {

namespace py = pybind11;
using namespace nvinfer1;
using vinr::tensorrt::Integers;

class Log : public ILogger, public ILoggerFinder {
 public:
    void log(Severity severity, const char* message) noexcept override {
        lines.push_back((severity == Severity::kERROR ? "" : "not an error: ") + std::string(message));
    }
    ILogger* findLogger() override { return this; }

    std::vector<std::string> take() { return std::exchange(lines, {}); }
    [[noreturn]] void fail() {
        std::string text;
        for (const std::string& line : take()) text += (text.empty() ? "" : "\n") + line;
        throw std::runtime_error(text);
    }

 private:
    std::vector<std::string> lines;
};

Log& the_log() {
    static Log log;
    return log;
}

// An expression of sizes is its text.
class Expression : public IDimensionExpr, private apiv::VDimensionExpr {
 public:
    explicit Expression(std::string text) : text(std::move(text)) { mImpl = this; }
    const std::string text;

 private:
    bool isConstant() const override { return false; }
    int64_t getConstantValue() const override { return 0; }
    bool isSizeTensor() const override { return false; }
};

class Builder : public IExprBuilder, private apiv::VExprBuilder {
 public:
    Builder() { mImpl = this; }
    const IDimensionExpr* named(const std::string& text) {
        expressions_.push_back(std::make_unique<Expression>(text));
        return expressions_.back().get();
    }

 private:
    const IDimensionExpr* constant(int64_t value) override { return named(std::to_string(value)); }
    const IDimensionExpr* operation(DimensionOperation, const IDimensionExpr&, const IDimensionExpr&) override {
        throw std::logic_error("no plugin here computes sizes");
    }
    const IDimensionExpr* declareSizeTensor(int32_t, const IDimensionExpr&, const IDimensionExpr&) override {
        throw std::logic_error("no plugin here has sizes that depend on data");
    }

    std::vector<std::unique_ptr<Expression>> expressions_;
};

class Resources : public IPluginResourceContext {
 public:
    IGpuAllocator* getGpuAllocator() const noexcept override { return nullptr; }
    IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
};

// (type, format, sizes)
using Tensor = std::tuple<int32_t, int32_t, std::vector<int64_t>>;

PluginTensorDesc description(const Tensor& tensor) {
    PluginTensorDesc d{};
    const auto& [type, format, sizes] = tensor;
    d.type = DataType(type), d.format = TensorFormat(format), d.scale = 1;
    d.dims.nbDims = int32_t(sizes.size());
    std::copy(sizes.begin(), sizes.end(), d.dims.d);
    return d;
}

std::vector<PluginTensorDesc> descriptions(const std::vector<Tensor>& tensors) {
    std::vector<PluginTensorDesc> all;
    for (const Tensor& tensor : tensors) all.push_back(description(tensor));
    return all;
}

// As the builder sees them: sizes unknown, the largest known.
std::vector<DynamicPluginTensorDesc> dynamic(const std::vector<Tensor>& tensors) {
    std::vector<DynamicPluginTensorDesc> all;
    for (const Tensor& tensor : tensors) {
        DynamicPluginTensorDesc d{};
        d.desc = description(tensor);
        d.min = d.opt = d.max = d.desc.dims;
        all.push_back(d);
    }
    return all;
}

void forget_sizes(std::vector<DynamicPluginTensorDesc>& all) {
    for (auto& d : all) std::fill(d.desc.dims.d, d.desc.dims.d + d.desc.dims.nbDims, -1);
}

py::object value_of(const PluginField& field) {
    if (field.type == PluginFieldType::kFLOAT32) return py::float_(*static_cast<const float*>(field.data));
    const auto* data = static_cast<const int32_t*>(field.data);
    return py::cast(Integers(data, data + field.length));
}

class PluginUnderTest {
 public:
    explicit PluginUnderTest(IPluginV3* plugin) : plugin_(plugin) {
        if (!plugin) the_log().fail();
        core_ = get<IPluginV3OneCore>(PluginCapabilityType::kCORE);
        build_ = get<IPluginV3OneBuild>(PluginCapabilityType::kBUILD);
        runtime_ = get<IPluginV3OneRuntime>(PluginCapabilityType::kRUNTIME);
    }

    std::tuple<std::string, std::string, std::string> identity() const {
        return {core_->getPluginName(), core_->getPluginVersion(), core_->getPluginNamespace()};
    }
    std::pair<std::string, std::string> texts() const {
        return {build_->getTimingCacheID(), build_->getMetadataString()};
    }
    py::dict fields() const {
        const PluginFieldCollection* collection = runtime_->getFieldsToSerialize();
        py::dict out;
        for (int32_t i = 0; i < collection->nbFields; ++i)
            out[collection->fields[i].name] = value_of(collection->fields[i]);
        return out;
    }
    std::unique_ptr<PluginUnderTest> clone() const { return std::make_unique<PluginUnderTest>(plugin_->clone()); }
    std::unique_ptr<PluginUnderTest> attached() const {
        Resources resources;
        return std::make_unique<PluginUnderTest>(runtime_->attachToContext(&resources));
    }

    std::vector<std::vector<std::string>> output_shapes(const std::vector<std::vector<std::string>>& inputs) const {
        Builder builder;
        std::vector<DimsExprs> in;
        for (const auto& sizes : inputs) {
            DimsExprs dims{};
            dims.nbDims = int32_t(sizes.size());
            for (size_t i = 0; i < sizes.size(); ++i) dims.d[i] = builder.named(sizes[i]);
            in.push_back(dims);
        }
        std::vector<DimsExprs> out(size_t(build_->getNbOutputs()));
        done(build_->getOutputShapes(in.data(), int32_t(in.size()), nullptr, 0, out.data(), int32_t(out.size()),
                                     builder));
        std::vector<std::vector<std::string>> texts;
        for (const DimsExprs& dims : out) {
            texts.emplace_back();
            for (int32_t i = 0; i < dims.nbDims; ++i)
                texts.back().push_back(static_cast<const Expression*>(dims.d[i])->text);
        }
        return texts;
    }

    std::vector<int32_t> output_types(const std::vector<int32_t>& inputs) const {
        std::vector<DataType> in, out(size_t(build_->getNbOutputs()));
        for (const int32_t type : inputs) in.push_back(DataType(type));
        done(build_->getOutputDataTypes(out.data(), int32_t(out.size()), in.data(), int32_t(in.size())));
        std::vector<int32_t> types;
        for (const DataType type : out) types.push_back(int32_t(type));
        return types;
    }

    // Whether the last of `known` is supported; what follows it is garbage, as TensorRT leaves it.
    bool supports(const std::vector<Tensor>& known, int32_t inputs) const {
        auto all = dynamic(known);
        DynamicPluginTensorDesc garbage{};
        std::memset(static_cast<void*>(&garbage), 0x5a, sizeof garbage);
        all.resize(size_t(inputs + build_->getNbOutputs()), garbage);
        return build_->supportsFormatCombination(int32_t(known.size()) - 1, all.data(), inputs, build_->getNbOutputs());
    }

    size_t workspace_bytes(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs) const {
        auto in = dynamic(inputs), out = dynamic(outputs);
        forget_sizes(in), forget_sizes(out);
        done(build_->configurePlugin(in.data(), int32_t(in.size()), out.data(), int32_t(out.size())));
        return build_->getWorkspaceSize(in.data(), int32_t(in.size()), out.data(), int32_t(out.size()));
    }

    void on_shape_change(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs) const {
        const auto in = descriptions(inputs), out = descriptions(outputs);
        done(runtime_->onShapeChange(in.data(), int32_t(in.size()), out.data(), int32_t(out.size())));
    }

    // Arrays hold the tensors' memory, 16-bit numbers as uint16. The workspace is as large as was asked for.
    py::dict enqueue(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                     const std::vector<py::array>& input_arrays, const std::vector<py::array>& output_arrays,
                     size_t workspace_bytes) const {
        simt::Arrays arrays;
        std::vector<const void*> in;
        std::vector<void*> out;
        for (const py::array& a : input_arrays) {
            if (a.itemsize() == 2) {
                in.push_back(arrays.input<uint16_t>("input", a));
            } else {
                in.push_back(arrays.input<float>("input", a));
            }
        }
        const auto output = [&](const char* name, const py::array& a) -> void* {
            if (a.itemsize() == 2) return arrays.output<uint16_t>(name, a);
            return arrays.output<float>(name, a);
        };
        for (const py::array& a : output_arrays) out.push_back(output("output", a));
        py::array_t<float> workspace{py::ssize_t(workspace_bytes / 4)};
        std::memset(workspace.mutable_data(), 0xff, size_t(workspace.nbytes()));  // NaN
        void* const scratch = output("workspace", workspace);
        const auto in_descriptions = descriptions(inputs), out_descriptions = descriptions(outputs);
        done(runtime_->enqueue(in_descriptions.data(), out_descriptions.data(), in.data(), out.data(), scratch,
                               reinterpret_cast<cudaStream_t>(arrays.stream())));
        return arrays.finish();
    }

 private:
    template <class T>
    T* get(PluginCapabilityType type) {
        return static_cast<T*>(plugin_->getCapabilityInterface(type));
    }
    static void done(int32_t status) {
        if (status) the_log().fail();
    }

    std::unique_ptr<IPluginV3> plugin_;
    IPluginV3OneCore* core_;
    IPluginV3OneBuild* build_;
    IPluginV3OneRuntime* runtime_;
};

std::vector<IPluginCreatorV3One*> creators() {
    int32_t count = 0;
    IPluginCreatorInterface* const* all = getCreators(count);
    std::vector<IPluginCreatorV3One*> out;
    for (int32_t i = 0; i < count; ++i) out.push_back(static_cast<IPluginCreatorV3One*>(all[i]));
    return out;
}

py::list creator_facts() {
    py::list out;
    for (IPluginCreatorV3One* creator : creators()) {
        const PluginFieldCollection* collection = creator->getFieldNames();
        std::vector<std::string> names;
        for (int32_t i = 0; i < collection->nbFields; ++i) names.emplace_back(collection->fields[i].name);
        out.append(py::make_tuple(creator->getPluginName(), creator->getPluginVersion(), creator->getPluginNamespace(),
                                  creator->getInterfaceInfo().kind, names));
    }
    return out;
}

// Fields as (name, value): a float is one float32, a list int32, bytes what they are; None no data.
std::unique_ptr<PluginUnderTest> create(const std::string& name,
                                        const std::vector<std::pair<std::string, py::object>>& given, bool no_fields) {
    std::vector<PluginField> fields;
    std::vector<Integers> integers(given.size());
    std::vector<float> floats(given.size());
    std::vector<std::string> bytes(given.size());
    for (size_t i = 0; i < given.size(); ++i) {
        const auto& [field, value] = given[i];
        if (value.is_none()) {
            fields.emplace_back(field.c_str(), nullptr, PluginFieldType::kINT32, 2);
        } else if (py::isinstance<py::float_>(value)) {
            floats[i] = py::cast<float>(value);
            fields.emplace_back(field.c_str(), &floats[i], PluginFieldType::kFLOAT32, 1);
        } else if (py::isinstance<py::bytes>(value)) {
            bytes[i] = py::cast<std::string>(value);
            fields.emplace_back(field.c_str(), bytes[i].data(), PluginFieldType::kCHAR, int32_t(bytes[i].size()));
        } else {
            integers[i] = py::cast<Integers>(value);
            fields.emplace_back(field.c_str(), integers[i].data(), PluginFieldType::kINT32,
                                int32_t(integers[i].size()));
        }
    }
    const PluginFieldCollection collection{int32_t(fields.size()), fields.data()};
    for (IPluginCreatorV3One* creator : creators()) {
        if (name != creator->getPluginName()) continue;
        return std::make_unique<PluginUnderTest>(
            creator->createPlugin("node", no_fields ? nullptr : &collection, TensorRTPhase::kBUILD));
    }
    throw std::runtime_error("no creator of " + name);
}

}  // namespace

PYBIND11_MODULE(plugin_harness, m) {
    setLoggerFinder(&the_log());
    m.def("creators", &creator_facts);
    m.def("create", &create, py::arg("name"), py::arg("fields"), py::arg("no_fields") = false);
    m.def("logged", [] { return the_log().take(); });
    py::class_<PluginUnderTest>(m, "Plugin")
        .def("identity", &PluginUnderTest::identity)
        .def("texts", &PluginUnderTest::texts)
        .def("fields", &PluginUnderTest::fields)
        .def("clone", &PluginUnderTest::clone)
        .def("attached", &PluginUnderTest::attached)
        .def("output_shapes", &PluginUnderTest::output_shapes)
        .def("output_types", &PluginUnderTest::output_types)
        .def("supports", &PluginUnderTest::supports)
        .def("workspace_bytes", &PluginUnderTest::workspace_bytes)
        .def("on_shape_change", &PluginUnderTest::on_shape_change)
        .def("enqueue", &PluginUnderTest::enqueue);
}
