// What the bindings of CUDA kernels share: the tensor's device and its current stream, and the check of a launch.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include "checks.h"
#include "common/cuda/current_stream.h"

namespace vinr {

// For the life of it, the device of a tensor is the current one.
class OnDeviceOf {
 public:
    explicit OnDeviceOf(const Tensor& t) : device_(t.get_device_index()), guard_(device_) {}

    // The stream that torch has chosen there.
    cudaStream_t stream() const {
        const GetCurrentStream get = get_current_stream();
        STD_TORCH_CHECK(get != nullptr, "this PyTorch has no CUDA");
        void* stream = nullptr;
        STABLE_TORCH_ERROR_CODE_CHECK(get(device_, &stream));
        return static_cast<cudaStream_t>(stream);
    }

 private:
    int32_t device_;
    torch::stable::accelerator::DeviceGuard guard_;
};

inline void check_cuda(const char* op, const char* name, const Tensor& tensor, const Tensor& input) {
    STD_TORCH_CHECK(tensor.is_cuda() && tensor.get_device_index() == input.get_device_index(), op, ": ", name,
                    " must be on the CUDA device of input");
}

inline void check_launch(const char* op, cudaError_t error) {
    STD_TORCH_CHECK(error == cudaSuccess, op, ": the kernel did not start: ", cudaGetErrorString(error));
}

}  // namespace vinr
