// What the launches ask of CUDA's runtime; a test of them on the host brings its own.
#pragma once

#include <cstddef>
#include <string>

namespace vinr::tensorrt {

struct Device {
    int multiprocessors;
    size_t shared_bytes;  // that a block may use if it asks
};

// The current one. Throws std::runtime_error.
Device current_device();

// What CUDA says of an error code.
std::string error_text(int error);

}  // namespace vinr::tensorrt
