// The primitives on a GPU, see primitives.cuh. Section numbers are those of the PTX ISA, version 9.0.
#pragma once

#include <cuda_runtime.h>

#include <cstring>

#include "common/cuda/types.cuh"

namespace vinr::cuda {

VINR_DEVICE int thread_x() { return int(threadIdx.x); }
VINR_DEVICE unsigned block_x() { return blockIdx.x; }
VINR_DEVICE unsigned block_y() { return blockIdx.y; }
VINR_DEVICE unsigned block_z() { return blockIdx.z; }
VINR_DEVICE unsigned grid_x() { return gridDim.x; }
VINR_DEVICE int lane() { return int(threadIdx.x % kWarp); }
VINR_DEVICE int warp() { return int(threadIdx.x / kWarp); }

VINR_DEVICE void barrier() { __syncthreads(); }
VINR_DEVICE void warp_barrier() { __syncwarp(); }

template <typename T>
using Shared = T*;

// `count` is for the shim's checks.
template <typename T>
VINR_DEVICE Shared<T> dynamic_shared(size_t byte_offset = 0, ptrdiff_t count = -1) {
    extern __shared__ __align__(128) unsigned char vinr_dynamic_shared[];
    return reinterpret_cast<T*>(vinr_dynamic_shared + byte_offset);
}

#define VINR_STATIC_SHARED(T, name, count)             \
    __shared__ __align__(16) T name##_in_block[count]; \
    const ::vinr::cuda::Shared<T> name = name##_in_block

template <typename U, typename T>
VINR_DEVICE Shared<U> shared_cast(Shared<T> pointer) {
    return reinterpret_cast<U*>(pointer);
}

namespace detail {

template <size_t size>
struct Word;
template <>
struct Word<1> {
    using type = unsigned char;
};
template <>
struct Word<2> {
    using type = unsigned short;
};
template <>
struct Word<4> {
    using type = unsigned int;
};
template <>
struct Word<8> {
    using type = uint2;
};
template <>
struct Word<16> {
    using type = uint4;
};
template <typename T>
using WordOf = typename Word<sizeof(T)>::type;

template <typename To, typename From>
VINR_DEVICE To bit_cast(From from) {  // by value: through a reference the copy would be read byte by byte
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    To to;
    memcpy(&to, &from, sizeof(To));
    return to;
}

template <typename T>
VINR_DEVICE unsigned shared_address(const T* pointer) {
    return unsigned(__cvta_generic_to_shared(pointer));
}

}  // namespace detail

template <typename U, typename T>
VINR_DEVICE U load_shared(const T* pointer) {
    return detail::bit_cast<U>(*reinterpret_cast<const detail::WordOf<U>*>(pointer));
}
template <typename U, typename T>
VINR_DEVICE void store_shared(T* pointer, U value) {
    *reinterpret_cast<detail::WordOf<U>*>(pointer) = detail::bit_cast<detail::WordOf<U>>(value);
}

template <typename T>
VINR_DEVICE T load(const T* pointer) {
    return detail::bit_cast<T>(__ldg(reinterpret_cast<const detail::WordOf<T>*>(pointer)));
}
// ld.global that a store of another thread before the last barrier or launch is seen by.
template <typename T>
VINR_DEVICE T load_volatile(const T* pointer) {
    return detail::bit_cast<T>(*reinterpret_cast<const detail::WordOf<T>*>(pointer));
}
template <typename T>
VINR_DEVICE void store(T* pointer, T value) {
    *reinterpret_cast<detail::WordOf<T>*>(pointer) = detail::bit_cast<detail::WordOf<T>>(value);
}

VINR_DEVICE float atomic_add(float* pointer, float value) { return atomicAdd(pointer, value); }

// 9.7.9.25.3: a copy of 0 bytes writes zeros and reads nothing.
template <typename T>
VINR_DEVICE void cp_async16(Shared<T> to, const void* from, bool valid = true) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(detail::shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0)
                 : "memory");
}
VINR_DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `pending` of this thread's last groups are on their way.
template <int pending>
VINR_DEVICE void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

constexpr unsigned kAllLanes = 0xffffffffu;

template <typename T>
VINR_DEVICE T shuffle(T value, int source) {
    return detail::bit_cast<T>(__shfl_sync(kAllLanes, detail::bit_cast<unsigned>(value), source));
}
template <typename T>
VINR_DEVICE T shuffle_xor(T value, int mask) {
    return detail::bit_cast<T>(__shfl_xor_sync(kAllLanes, detail::bit_cast<unsigned>(value), mask));
}
template <typename T>
VINR_DEVICE T shuffle_up(T value, int delta) {
    return detail::bit_cast<T>(__shfl_up_sync(kAllLanes, detail::bit_cast<unsigned>(value), delta));
}
template <typename T>
VINR_DEVICE T shuffle_down(T value, int delta) {
    return detail::bit_cast<T>(__shfl_down_sync(kAllLanes, detail::bit_cast<unsigned>(value), delta));
}
VINR_DEVICE unsigned ballot(bool value) { return __ballot_sync(kAllLanes, value); }
VINR_DEVICE bool any(bool value) { return __any_sync(kAllLanes, value); }
VINR_DEVICE bool all(bool value) { return __all_sync(kAllLanes, value); }

// 9.7.14.5.15: 8 x 8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
#define VINR_LDMATRIX_X4(name, qualifier)                                                            \
    template <typename T>                                                                            \
    VINR_DEVICE void name(uint32_t (&r)[4], const T* row) {                                          \
        asm volatile("ldmatrix.sync.aligned.m8n8.x4" qualifier ".shared.b16 {%0, %1, %2, %3}, [%4];" \
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                                \
                     : "r"(detail::shared_address(row))                                              \
                     : "memory");                                                                    \
    }
#define VINR_LDMATRIX_X2(name, qualifier)                                                    \
    template <typename T>                                                                    \
    VINR_DEVICE void name(uint32_t (&r)[2], const T* row) {                                  \
        asm volatile("ldmatrix.sync.aligned.m8n8.x2" qualifier ".shared.b16 {%0, %1}, [%2];" \
                     : "=r"(r[0]), "=r"(r[1])                                                \
                     : "r"(detail::shared_address(row))                                      \
                     : "memory");                                                            \
    }
VINR_LDMATRIX_X4(ldmatrix_x4, "")
VINR_LDMATRIX_X4(ldmatrix_x4_trans, ".trans")
VINR_LDMATRIX_X2(ldmatrix_x2, "")
VINR_LDMATRIX_X2(ldmatrix_x2_trans, ".trans")
#undef VINR_LDMATRIX_X4
#undef VINR_LDMATRIX_X2

// 9.7.14.5.8 (m16n8k16) and 9.7.14.5.7 (m16n8k8) say which lane holds what.
#define VINR_MMA(instruction)                                                          \
    asm(instruction " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                               \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
VINR_DEVICE void mma_m16n8k16(Half, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    VINR_MMA("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32");
}
VINR_DEVICE void mma_m16n8k16(BFloat16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    VINR_MMA("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32");
}
VINR_DEVICE void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    VINR_MMA("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32");
}
#undef VINR_MMA

VINR_DEVICE uint32_t as_word(float value) { return __float_as_uint(value); }
VINR_DEVICE float as_float(uint32_t word) { return __uint_as_float(word); }

VINR_DEVICE float to_float(Half value) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(value.bits));
    return f;
}
VINR_DEVICE float to_float(BFloat16 value) { return as_float(uint32_t(value.bits) << 16); }

// Two numbers in a word, the first in its lower half, rounded to nearest even. cvt takes the upper half first.
template <typename T>
VINR_DEVICE uint32_t pack(float low, float high);
template <>
VINR_DEVICE uint32_t pack<Half>(float low, float high) {
    uint32_t word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}
template <>
VINR_DEVICE uint32_t pack<BFloat16>(float low, float high) {
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}
template <typename T>
VINR_DEVICE void unpack(uint32_t word, float& low, float& high) {
    low = to_float(T{uint16_t(word)});
    high = to_float(T{uint16_t(word >> 16)});
}

template <typename T>
VINR_DEVICE T from_float(float value) {
    return T{uint16_t(pack<T>(value, 0.0f))};
}
template <>
VINR_DEVICE float from_float<float>(float value) {
    return value;
}

// Rounded to nearest, ties away from zero: 10 bits of fraction.
VINR_DEVICE uint32_t to_tf32(float value) {
    uint32_t word;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(value));
    return word;
}

VINR_DEVICE float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
VINR_DEVICE float sin_approx(float x) {
    float y;
    asm("sin.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
VINR_DEVICE float reciprocal_approx(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

using Stream = cudaStream_t;
using Error = cudaError_t;
constexpr Error kSuccess = cudaSuccess;

// Starts `kernel` on the current device; what it returns is of the launch, not of the run.
template <typename Parameters>
Error launch(void (*kernel)(Parameters), const Parameters& parameters, Grid grid, int threads, size_t shared_bytes,
             Stream stream) {
    constexpr size_t kUnasked = 48 << 10;  // what every kernel may use without asking
    if (shared_bytes > kUnasked) {
        const Error error =
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
        if (error != cudaSuccess) return error;
    }
    kernel<<<dim3(grid.x, grid.y, grid.z), threads, shared_bytes, stream>>>(parameters);
    return cudaGetLastError();
}

}  // namespace vinr::cuda
