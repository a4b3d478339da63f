// The stream that torch works on, asked of libtorch_cuda where it is loaded. The extension is not linked with it, so
// that one build loads with every PyTorch, with CUDA or without.
#pragma once

#include <dlfcn.h>

#include <cstdint>

namespace vinr {

// aoti_torch_get_current_cuda_stream of PyTorch's stable ABI: 0 if it went well.
using GetCurrentStream = int32_t (*)(int32_t device_index, void** stream);

// Null where this process has no libtorch_cuda.
inline GetCurrentStream get_current_stream() {
    static const auto found = [] {
        // A handle of its own: Python loads libraries where plain lookups do not see them.
        void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
        void* symbol = library ? dlsym(library, "aoti_torch_get_current_cuda_stream") : nullptr;
        return reinterpret_cast<GetCurrentStream>(symbol);
    }();
    return found;
}

}  // namespace vinr
