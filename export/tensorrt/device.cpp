#include "device.h"

#include <cuda_runtime_api.h>

#include <stdexcept>

namespace vinr::tensorrt {
namespace {

int attribute(cudaDeviceAttr which, int device) {
    int value = 0;
    const cudaError_t error = cudaDeviceGetAttribute(&value, which, device);
    if (error != cudaSuccess) throw std::runtime_error("no facts about the GPU: " + error_text(error));
    return value;
}

}  // namespace

Device current_device() {
    int device = 0;
    const cudaError_t error = cudaGetDevice(&device);
    if (error != cudaSuccess) throw std::runtime_error("no GPU: " + error_text(error));
    return {attribute(cudaDevAttrMultiProcessorCount, device),
            size_t(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device))};
}

std::string error_text(int error) { return cudaGetErrorString(cudaError_t(error)); }

}  // namespace vinr::tensorrt
