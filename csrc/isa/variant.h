// The instruction sets that the CPU kernels are compiled for, and which of them this machine runs.
#pragma once

#include <string>
#include <vector>

namespace vinr {

enum class Variant { kPortable, kAvx2, kAvx512, kAvx512Bf16, kAmxBf16 };

const char* variant_name(Variant variant);

// Every variant that this build holds and this machine runs, the best last.
std::vector<Variant> available_variants();

// The best one, or the one that the environment variable VINR_CPU names. Throws std::runtime_error where the machine
// cannot run that one, or does not know it.
Variant chosen_variant();

}  // namespace vinr
