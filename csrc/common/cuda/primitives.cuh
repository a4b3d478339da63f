// The thin layer that device code is written against; nothing below it is CUDA's. Two implementations: ptx.cuh for
// GPUs from sm_80 on, and, with VINR_SIMT defined, tests/simt, which runs the same source on the host and checks it.
//
//   indices        thread_x() block_x() block_y() block_z() grid_x() lane() warp()
//   barriers       barrier() of a block, warp_barrier() of a warp
//   shared memory  Shared<T>, used as T*; dynamic_shared<T>(byte offset, count); VINR_STATIC_SHARED(T, name, count);
//                  shared_cast<U>(Shared<T>); load_shared<U>(Shared<T>) and store_shared(Shared<T>, U) move a U
//   global memory  load(const T*), of memory that no thread writes during the launch; load_volatile(const T*), of
//   other;
//                  store(T*, T); T of 1 to 16 bytes, aligned to its size; Words4 are 16
//   atomics        atomic_add(float*, float), atomic_add(Shared<float>, float): both return the value before
//   cp.async       cp_async16(Shared<T>, const void* from, bool valid), zeros where not valid; cp_async_commit();
//                  cp_async_wait<pending>()
//   warps          shuffle(value, lane) shuffle_xor shuffle_up shuffle_down, of 4 bytes; ballot(bool) any(bool)
//   all(bool);
//                  all 32 lanes take part
//   matrices       ldmatrix_x2 ldmatrix_x4 ldmatrix_x2_trans ldmatrix_x4_trans (registers, Shared<T> row of this lane);
//                  mma_m16n8k16(Half() or BFloat16(), d, a, b), mma_m16n8k8_tf32(d, a, b): d += a b
//   numbers        to_float(T), from_float<T>(float), pack<T>(low, high), unpack<T>(word, low, high), to_tf32(float),
//                  as_word(float), as_float(word), exp2_approx, sin_approx (|x| up to pi), reciprocal_approx
//   launch         launch(kernel, parameters, grid, threads, shared bytes, stream): an Error, kSuccess if it went well
//
// Global and shared memory are touched through these alone, so that the shim sees every access.
#pragma once

#include "common/cuda/types.cuh"

#if defined(VINR_SIMT)
#include "simt/primitives.h"
#else
#include "common/cuda/ptx.cuh"
#endif

namespace vinr::cuda {

VINR_DEVICE float to_float(float value) { return value; }

// 1 / (1 + exp(-x)), to about 1e-6.
VINR_DEVICE float sigmoid(float x) { return reciprocal_approx(1.0f + exp2_approx(x * -1.44269504f)); }

}  // namespace vinr::cuda
