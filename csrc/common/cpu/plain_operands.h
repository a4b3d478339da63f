// Operands of products that are numbers as they are; included inside a variant's namespace, after its Vec, by the dense
// kernels that round none or round them themselves.
#pragma once

using Operand = Scalar;       // what products multiply
constexpr int64_t kPair = 1;  // operands of an input and of its neighbours that one instruction multiplies

// Rounds a vector of inputs.
inline void store_operands(Vec inputs, Operand* to) { inputs.store(to); }

// Packs the weights of kPair inputs for a vector of outputs.
inline void store_weights(const Vec* weights, Operand* to) { weights[0].store(to); }

inline void copy_operands(const Scalar* in, int64_t count, Operand* out) { std::copy_n(in, count, out); }

using OperandVec = Vec;  // kPair operands a number of a vector

inline OperandVec load_operands(const Operand* from) { return Vec::load(from); }

// The same kPair of them in all places.
inline OperandVec repeat_operands(const Operand* from) { return Vec::set1(*from); }

inline Vec multiply_add(OperandVec a, OperandVec b, Vec sum) { return fma(a, b, sum); }
