#include "isa/isa.h"

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdlib>
#include <string>

namespace vinr {
namespace {

// Not a plain variable: files register in any order.
std::vector<InstructionSet>& registered_sets() {
    static std::vector<InstructionSet> sets;
    return sets;
}

// Those that this machine runs, the best first.
const std::vector<InstructionSet>& sets_here() {
    static const auto here = [] {
        std::vector<InstructionSet> sets;
        for (const InstructionSet& set : registered_sets()) {
            if (set.runs_here()) sets.push_back(set);
        }
        std::stable_sort(sets.begin(), sets.end(), [](const auto& a, const auto& b) { return a.rank > b.rank; });
        return sets;
    }();
    return here;
}

// The best last.
std::string names_here(const char* separator) {
    std::string names;
    const char* last = "";
    for (const InstructionSet& set : sets_here()) {
        if (std::string(set.name) != last) names = set.name + (names.empty() ? "" : separator + names);
        last = set.name;
    }
    return names;
}

}  // namespace

Registered::Registered(const InstructionSet& set) { registered_sets().push_back(set); }

std::vector<InstructionSet> usable_sets() {
    auto sets = sets_here();
    // Read at every call: tests force one set after the other in one process.
    const char* variable = std::getenv("VINR_CPU");
    const std::string forced = variable == nullptr ? "" : variable;
    const auto is_forced = [&](const InstructionSet& set) { return forced == set.name; };
    if (!forced.empty()) sets.erase(sets.begin(), std::find_if(sets.begin(), sets.end(), is_forced));
    STD_TORCH_CHECK(!sets.empty(), "VINR_CPU=", forced, ": this machine and build run ", names_here(", "));
    const auto pays = [&](const InstructionSet& set) {
        return set.pays_here == nullptr || set.pays_here() || is_forced(set);
    };
    sets.erase(std::stable_partition(sets.begin(), sets.end(), pays), sets.end());
    return sets;
}

namespace {

std::string cpu_variants() { return names_here(","); }

std::string cpu_variant() { return usable_sets().front().name; }

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // Instruction sets that the CPU kernels can use here, comma-separated, the best last; and the one in use.
    m.def("cpu_variants() -> str");
    m.def("cpu_variant() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CompositeExplicitAutograd, m) {
    m.impl("cpu_variants", TORCH_BOX(&vinr::cpu_variants));
    m.impl("cpu_variant", TORCH_BOX(&vinr::cpu_variant));
}
