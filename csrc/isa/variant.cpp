#include "isa/variant.h"

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdlib>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace vinr {

const char* variant_name(Variant variant) {
    switch (variant) {
        case Variant::kPortable:
            return "portable";
        case Variant::kAvx2:
            return "avx2";
        case Variant::kAvx512:
            return "avx512";
        case Variant::kAvx512Bf16:
            return "avx512_bf16";
        case Variant::kAmxBf16:
            return "amx_bf16";
    }
    return "unknown";
}

namespace {

// Linux hands out the tile registers only to processes that ask for them.
bool amx_allowed() {
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

}  // namespace

std::vector<Variant> available_variants() {
    std::vector<Variant> found{Variant::kPortable};
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(Variant::kAvx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
        found.push_back(Variant::kAvx512);
        if (__builtin_cpu_supports("avx512bf16")) {
            found.push_back(Variant::kAvx512Bf16);
            if (amx_allowed()) found.push_back(Variant::kAmxBf16);
        }
    }
#endif
    return found;
}

Variant chosen_variant() {
    static const std::vector<Variant> available = available_variants();
    // Read at every call: tests force one variant after the other in one process.
    const char* forced = std::getenv("VINR_CPU");
    if (forced == nullptr || *forced == '\0') return available.back();
    std::string names;
    for (const Variant variant : available) {
        if (std::string(forced) == variant_name(variant)) return variant;
        names += std::string(names.empty() ? "" : ", ") + variant_name(variant);
    }
    STD_TORCH_CHECK(false, "VINR_CPU=", forced, ": this machine and build run ", names);
}

namespace {

std::string cpu_variants() {
    std::string names;
    for (const Variant variant : available_variants())
        names += std::string(names.empty() ? "" : ",") + variant_name(variant);
    return names;
}

std::string cpu_variant() { return variant_name(chosen_variant()); }

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_IMPL(vinr, CompositeExplicitAutograd, m) {
    m.impl("cpu_variants", TORCH_BOX(&vinr::cpu_variants));
    m.impl("cpu_variant", TORCH_BOX(&vinr::cpu_variant));
}
