// Lets one function compile for the host and for CUDA devices.
#pragma once

#if defined(__CUDACC__)
#define VINR_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define VINR_HOST_DEVICE inline
#endif
