// What TensorRT's headers take from CUDA's, so that they compile where there is no CUDA toolkit.
#pragma once

using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
