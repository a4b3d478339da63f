/* A CUDA driver without a GPU, for record_launches.py: it takes every call that Triton makes until a kernel has been
 * launched, and keeps what it was launched with. Link it as libcuda.so.1. */
#include <stdint.h>
#include <string.h>

#include "cuda.h"

enum { PARAMETERS = 128 };
int fake_capability, fake_parameters; /* what device this is; how many parameters the next kernel has */
int fake_launches, fake_grid[3], fake_threads, fake_shared;
uint64_t fake_values[PARAMETERS]; /* of the last launch; of narrower parameters the low bits count */

static CUcontext context = (CUcontext)&context;

CUresult cuGetErrorString(CUresult error, const char** text) { return *text = "fake error", CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext* out) { return *out = context, CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext c) { return CUDA_SUCCESS; }
CUresult cuCtxGetDevice(CUdevice* out) { return *out = 0, CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice* out, int n) { return *out = n, CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice d) { return *out = context, CUDA_SUCCESS; }
CUresult cuModuleLoadData(CUmodule* out, const void* image) { return *out = (CUmodule)image, CUDA_SUCCESS; }
CUresult cuModuleUnload(CUmodule module) { return CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction* out, CUmodule m, const char* name) {
    return *out = (CUfunction)m, CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute what, int value) { return CUDA_SUCCESS; }
CUresult cuFuncSetCacheConfig(CUfunction f, CUfunc_cache config) { return CUDA_SUCCESS; }
CUresult cuCtxGetLimit(size_t* out, CUlimit limit) { return *out = 1 << 20, CUDA_SUCCESS; }
CUresult cuCtxSetLimit(CUlimit limit, size_t value) { return CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int* out) { return *out = 13000, CUDA_SUCCESS; }
CUresult cuStreamIsCapturing(CUstream s, CUstreamCaptureStatus* out) {
    return *out = CU_STREAM_CAPTURE_STATUS_NONE, CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int* out, CUfunction_attribute what, CUfunction f) {
    *out = what == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : 0;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* out, CUdevice_attribute what, CUdevice device) {
    switch (what) {
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
            *out = 227 << 10;
            break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
            *out = 228 << 10;
            break;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
            *out = 32;
            break;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
            *out = 132;
            break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
            *out = fake_capability / 10;
            break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
            *out = fake_capability % 10;
            break;
        default:
            *out = 65536;
    }
    return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void* out, CUpointer_attribute what, CUdeviceptr pointer) {
    memcpy(out, &pointer, sizeof pointer);
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction f, void** parameters, void** extra) {
    if (fake_parameters > PARAMETERS) return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < fake_parameters; ++i) memcpy(&fake_values[i], parameters[i], sizeof(uint64_t));
    fake_grid[0] = config->gridDimX, fake_grid[1] = config->gridDimY, fake_grid[2] = config->gridDimZ;
    fake_threads = config->blockDimX * config->blockDimY * config->blockDimZ;
    fake_shared = config->sharedMemBytes;
    ++fake_launches;
    return CUDA_SUCCESS;
}
