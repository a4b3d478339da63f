// What the products of an op multiply: the argument `operands` of every schema that has one.
#pragma once

#include <torch/headeronly/util/Exception.h>

#include <string>

namespace vinr {

// Sums are of the tensors' dtype, or of float32 where that has 16 bits. A device that lacks one takes the next more
// exact one: the one before it, or the tensors' own dtype.
enum class Operands {
    kIeee,      // numbers of the tensors' dtype
    kTf32x3,    // float32 as three products of tf32 parts
    kTf32,      // rounded to it, as all that follow
    kFloat16,   //
    kBFloat16,  //
};

inline Operands operands_of(const char* op, const std::string& name) {
    constexpr const char* kNames[] = {"ieee", "tf32x3", "tf32", "float16", "bfloat16"};
    for (int i = 0; i < 5; ++i) {
        if (name == kNames[i]) return Operands(i);
    }
    STD_TORCH_CHECK(false, op, ": operands must be ieee, tf32x3, tf32, float16 or bfloat16, got ", name);
}

}  // namespace vinr
