// The instruction sets that the CPU kernels are compiled for: each is a file of this folder, which registers itself.
// Nothing else knows them by name.
#pragma once

// What kernels use, so that an instruction set's file includes it before its own instructions begin.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/cpu/pages.h"
#include "isa/ops.h"

namespace vinr {

struct InstructionSet {
    const char* name;  // as VINR_CPU says it; two files of one set bear the same
    int rank;          // a better one has a higher
    bool (*runs_here)();
    // Tables that it has. What one lacks is taken from the next lower set.
    const Kernels<float>* float32 = nullptr;
    const Kernels<float>* bfloat16 = nullptr;  // of float32 tensors, the operands of products rounded to it
    const Kernels<double>* float64 = nullptr;
    bool (*pays_here)() = nullptr;  // whether its kernels are faster here than the next lower set's; null: everywhere
};

// One at namespace scope in each file adds its set.
struct Registered {
    explicit Registered(const InstructionSet& set);
};

// The sets that this machine runs and that pay here, the best first, from the one on that the environment variable
// VINR_CPU names, if it names one, which then need not pay. Throws std::runtime_error where the machine cannot run that
// one, or does not know it.
std::vector<InstructionSet> usable_sets();

// The kernel of the best usable set that has it; with `bfloat16` one that rounds operands to it, if any does.
template <typename scalar_t, typename Kernel>
Kernel best_kernel(Kernel Kernels<scalar_t>::* entry, bool bfloat16 = false) {
    const auto sets = usable_sets();
    const auto best = [&](auto table) -> Kernel {
        for (const InstructionSet& set : sets) {
            if (set.*table != nullptr && set.*table->*entry != nullptr) return set.*table->*entry;
        }
        return nullptr;
    };
    if constexpr (std::is_same_v<scalar_t, double>) {
        return best(&InstructionSet::float64);
    } else {
        const Kernel rounding = bfloat16 ? best(&InstructionSet::bfloat16) : nullptr;
        return rounding ? rounding : best(&InstructionSet::float32);
    }
}

}  // namespace vinr
