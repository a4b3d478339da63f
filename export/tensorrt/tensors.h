// Checks of what TensorRT says of tensors, for both plugins.
#pragma once

#include <NvInferRuntime.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace vinr::tensorrt {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::TensorFormat;

inline std::string shape_text(const int64_t* sizes, int32_t count) {
    std::string text;
    for (int32_t i = 0; i < count; ++i) text += (i ? ", " : "") + std::to_string(sizes[i]);
    return "[" + text + "]";
}

// `meaning` spells the expected shape in names, such as "[B, O, H, W]".
inline void check_rank(const char* name, const Dims& dims, const char* meaning, int32_t rank) {
    if (dims.nbDims != rank)
        throw std::invalid_argument(std::string(name) + " must be " + meaning + ", got " +
                                    shape_text(dims.d, dims.nbDims));
}

inline void check_shape(const char* name, const Dims& dims, const char* meaning,
                        std::initializer_list<int64_t> expected) {
    bool same = dims.nbDims == int32_t(expected.size());
    int32_t i = 0;
    for (const int64_t size : expected) same = same && dims.d[i++] == size;
    if (!same)
        throw std::invalid_argument(std::string(name) + " must be " + meaning + " = " +
                                    shape_text(expected.begin(), int32_t(expected.size())) + ", got " +
                                    shape_text(dims.d, dims.nbDims));
}

inline bool is_float_type(DataType type) { return type == DataType::kFLOAT || type == DataType::kHALF; }

inline bool is_empty(const Dims& dims) {
    for (int32_t i = 0; i < dims.nbDims; ++i)
        if (dims.d[i] == 0) return true;
    return false;
}

}  // namespace vinr::tensorrt
