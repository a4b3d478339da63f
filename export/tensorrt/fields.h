// A plugin's attributes as TensorRT's fields and back. Attributes list their members by
//   template <class Self, class Visit> static void each(Self& self, Visit&& visit)
// which calls visit(name, member) for each, and check() throws if a value is out of its range.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace vinr::tensorrt {

using Integers = std::vector<int32_t>;

inline nvinfer1::PluginField as_field(const char* name, const Integers& values) {
    return {name, values.data(), nvinfer1::PluginFieldType::kINT32, int32_t(values.size())};
}
inline nvinfer1::PluginField as_field(const char* name, const float& value) {
    return {name, &value, nvinfer1::PluginFieldType::kFLOAT32, 1};
}

inline void read_field(const nvinfer1::PluginField& field, Integers& values) {
    if (field.type != nvinfer1::PluginFieldType::kINT32 || field.length < 1 || !field.data)
        throw std::invalid_argument(std::string(field.name) + " must be int32 numbers");
    const auto* data = static_cast<const int32_t*>(field.data);
    values.assign(data, data + field.length);
}
inline void read_field(const nvinfer1::PluginField& field, float& value) {
    if (field.type != nvinfer1::PluginFieldType::kFLOAT32 || field.length != 1 || !field.data)
        throw std::invalid_argument(std::string(field.name) + " must be one float32 number");
    value = *static_cast<const float*>(field.data);
}

// Fields that point into the attributes.
template <class Attributes>
std::vector<nvinfer1::PluginField> fields_of(const Attributes& attributes) {
    std::vector<nvinfer1::PluginField> fields;
    Attributes::each(attributes, [&](const char* name, const auto& value) { fields.push_back(as_field(name, value)); });
    return fields;
}

// Throws std::invalid_argument unless each field is given once, with its type and in its range, and no other.
template <class Attributes>
Attributes read_fields(const nvinfer1::PluginFieldCollection* given) {
    if (!given || given->nbFields < 0 || (given->nbFields && !given->fields))
        throw std::invalid_argument("no fields were given");
    Attributes attributes;
    int32_t known = 0;
    Attributes::each(attributes, [&](const std::string& name, auto& value) {
        int32_t found = 0;
        for (int32_t i = 0; i < given->nbFields; ++i) {
            const nvinfer1::PluginField& field = given->fields[i];
            if (!field.name || field.name != name) continue;
            read_field(field, value);
            ++found;
        }
        if (found != 1)
            throw std::invalid_argument("field " + name + " must be given once, was given " + std::to_string(found) +
                                        " times");
        ++known;
    });
    if (known != given->nbFields) throw std::invalid_argument("fields that it does not have were given");
    attributes.check();
    return attributes;
}

// The attributes in one line; no two different ones have the same.
template <class Attributes>
std::string text_of(const Attributes& attributes) {
    std::string text;
    const auto append = [&](const auto& number) { text += ' ' + std::to_string(number); };
    Attributes::each(attributes, [&](const char* name, const auto& value) {
        text += std::string(text.empty() ? "" : "; ") + name;
        if constexpr (std::is_same_v<decltype(value), const Integers&>) {
            for (const int32_t number : value) append(number);
        } else {
            append(value);
        }
    });
    return text;
}

}  // namespace vinr::tensorrt
