// The primitives of common/cuda/primitives.cuh on the host. Every access to memory is checked; every operation of a
// block or warp takes the line it was called from, so that threads that part ways are found.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <type_traits>

#include "common/cuda/types.cuh"
#include "simt/block.h"
#include "simt/matrix.h"
#include "simt/numbers.h"

// Parameters that a caller leaves out: the caller's file and line.
#define VINR_SIMT_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace vinr::cuda {

inline simt::Machine& machine() { return simt::Machine::current(); }

inline int thread_x() { return machine().thread(); }
inline unsigned block_x() { return machine().block(0); }
inline unsigned block_y() { return machine().block(1); }
inline unsigned block_z() { return machine().block(2); }
inline unsigned grid_x() { return machine().grid(0); }
inline int lane() { return thread_x() % kWarp; }
inline int warp() { return thread_x() / kWarp; }

inline void barrier(VINR_SIMT_CALLER) { machine().barrier({"barrier", file, line}); }
inline void warp_barrier(VINR_SIMT_CALLER) { machine().warp({"warp_barrier", file, line}, nullptr, nullptr, true); }

template <typename T>
class SharedReference;

// A pointer into shared memory that knows the end of what it points into.
template <typename T>
class Shared {
 public:
    Shared() = default;
    Shared(ptrdiff_t offset, ptrdiff_t begin, ptrdiff_t end) : offset_(offset), begin_(begin), end_(end) {}
    template <typename U, typename = std::enable_if_t<std::is_same_v<T, const U>>>
    Shared(const Shared<U>& other) : Shared(other.offset_, other.begin_, other.end_) {}

    SharedReference<T> operator[](ptrdiff_t i) const { return SharedReference<T>(*this + i); }
    SharedReference<T> operator*() const { return SharedReference<T>(*this); }
    Shared operator+(ptrdiff_t i) const { return {offset_ + i * ptrdiff_t(sizeof(T)), begin_, end_}; }
    Shared operator-(ptrdiff_t i) const { return *this + -i; }
    Shared& operator+=(ptrdiff_t i) { return *this = *this + i; }

    template <typename U>
    Shared<U> cast() const {
        return {offset_, begin_, end_};
    }

    // The byte offset, for an access of `size` bytes.
    size_t at(size_t size) const {
        if (offset_ < begin_ || offset_ + ptrdiff_t(size) > end_) {
            throw simt::Error("shared memory: " + std::to_string(size) + " bytes at byte " +
                              std::to_string(offset_ - begin_) + " of an array of " + std::to_string(end_ - begin_));
        }
        if (size_t(offset_) % size) {
            throw simt::Error("shared memory: byte " + std::to_string(offset_) + " is not a multiple of the " +
                              std::to_string(size) + " bytes that move");
        }
        return size_t(offset_);
    }

 private:
    template <typename>
    friend class Shared;

    ptrdiff_t offset_ = 0, begin_ = 0, end_ = 0;  // bytes
};

template <typename U, typename T>
Shared<U> shared_cast(Shared<T> pointer) {
    return pointer.template cast<U>();
}

template <typename U, typename T>
U load_shared(Shared<T> pointer) {
    U value;
    machine().shared().read(pointer.at(sizeof(U)), &value, sizeof(U), machine().access());
    return value;
}
template <typename U, typename T>
void store_shared(Shared<T> pointer, U value) {
    machine().shared().write(pointer.at(sizeof(U)), &value, sizeof(U), machine().access());
}

// What `shared[i]` is: reads and writes go through the checks.
template <typename T>
class SharedReference {
    using Value = std::remove_const_t<T>;

 public:
    explicit SharedReference(Shared<T> pointer) : pointer_(pointer) {}
    operator Value() const { return load_shared<Value>(pointer_); }
    const SharedReference& operator=(Value value) const {
        static_assert(!std::is_const_v<T>, "read-only");
        store_shared(pointer_, value);
        return *this;
    }
    const SharedReference& operator=(const SharedReference& other) const { return *this = Value(other); }
    SharedReference(const SharedReference&) = default;
    const SharedReference& operator+=(Value value) const { return *this = Value(*this) + value; }
    const SharedReference& operator*=(Value value) const { return *this = Value(*this) * value; }

 private:
    Shared<T> pointer_;
};

// The block's dynamic memory from `byte_offset` on: `count` elements of it, or all the rest.
template <typename T>
Shared<T> dynamic_shared(size_t byte_offset = 0, ptrdiff_t count = -1) {
    const auto all = ptrdiff_t(machine().shared().dynamic_bytes()), begin = ptrdiff_t(byte_offset);
    const ptrdiff_t end = count < 0 ? all : begin + count * ptrdiff_t(sizeof(T));
    if (end > all) {
        throw simt::Error("dynamic shared memory: bytes up to " + std::to_string(end) + " of " + std::to_string(all));
    }
    return {begin, begin, end};
}

template <typename T>
Shared<T> static_shared(const void* tag, size_t count) {
    const auto begin = ptrdiff_t(machine().shared().variable(tag, count * sizeof(T)));
    return {begin, begin, begin + ptrdiff_t(count * sizeof(T))};
}
#define VINR_STATIC_SHARED(T, name, count) \
    static const char name##_tag = 0;      \
    const ::vinr::cuda::Shared<T> name = ::vinr::cuda::static_shared<T>(&name##_tag, count)

template <typename T>
T load(const T* pointer) {
    machine().memory().touch(pointer, sizeof(T), false);
    return *pointer;
}
template <typename T>
T load_volatile(const T* pointer) {
    return load(pointer);
}
template <typename T>
void store(T* pointer, T value) {
    machine().memory().touch(pointer, sizeof(T), true);
    *pointer = value;
}

inline float atomic_add(float* pointer, float value) {
    const float before = load(pointer);
    store(pointer, before + value);
    return before;
}
inline float atomic_add(Shared<float> pointer, float value) {
    return machine().shared().atomic_add(pointer.at(sizeof(float)), value, machine().access());
}

template <typename T>
void cp_async16(Shared<T> to, const void* from, bool valid = true) {
    if (valid) machine().memory().touch(from, 16, false);
    machine().copy_async(to.at(16), valid ? from : nullptr);
}
inline void cp_async_commit() { machine().commit_copies(); }
template <int pending>
void cp_async_wait() {
    machine().wait_copies(pending);
}

// Exchanges words between lanes: `source` of a lane is the lane whose word it receives; its own where there is none.
struct Exchange {
    uint32_t value, result;
    int source;

    static void execute(const std::array<void*, kWarp>& arguments) {
        for (int i = 0; i < kWarp; ++i) {
            auto* e = static_cast<Exchange*>(arguments[i]);
            const int source = e->source < 0 || e->source >= kWarp ? i : e->source;
            e->result = static_cast<Exchange*>(arguments[source])->value;
        }
    }
};

template <typename T>
T exchange(const char* operation, const char* file, int line, T value, int source) {
    Exchange e{simt::bit_cast<uint32_t>(value), 0, source};
    machine().warp({operation, file, line}, &e, &Exchange::execute);
    return simt::bit_cast<T>(e.result);
}
template <typename T>
T shuffle(T value, int source, VINR_SIMT_CALLER) {
    return exchange("shuffle", file, line, value, source & (kWarp - 1));
}
template <typename T>
T shuffle_xor(T value, int mask, VINR_SIMT_CALLER) {
    return exchange("shuffle_xor", file, line, value, lane() ^ mask);
}
template <typename T>
T shuffle_up(T value, int delta, VINR_SIMT_CALLER) {
    return exchange("shuffle_up", file, line, value, lane() - delta);
}
template <typename T>
T shuffle_down(T value, int delta, VINR_SIMT_CALLER) {
    return exchange("shuffle_down", file, line, value, lane() + delta);
}

struct Vote {
    bool value;
    uint32_t result;

    static void execute(const std::array<void*, kWarp>& arguments) {
        uint32_t result = 0;
        for (int i = 0; i < kWarp; ++i) result |= uint32_t(static_cast<Vote*>(arguments[i])->value) << i;
        for (void* argument : arguments) static_cast<Vote*>(argument)->result = result;
    }
};

inline unsigned ballot(bool value, VINR_SIMT_CALLER) {
    Vote vote{value, 0};
    machine().warp({"vote", file, line}, &vote, &Vote::execute);
    return vote.result;
}
inline bool any(bool value, VINR_SIMT_CALLER) { return ballot(value, file, line) != 0; }
inline bool all(bool value, VINR_SIMT_CALLER) { return ballot(value, file, line) == 0xffffffffu; }

// Of the lanes whose address is not used, any address will do: those after the first 8 * matrices.
template <typename T>
void load_matrix(uint32_t* registers, int matrices, bool transposed, Shared<T> row, const char* file, int line) {
    simt::LoadMatrix load{lane() < 8 * matrices ? row.at(16) : 0, registers, matrices, transposed};
    machine().warp({"ldmatrix", file, line}, &load, &simt::LoadMatrix::execute);
}
template <typename T>
void ldmatrix_x4(uint32_t (&r)[4], Shared<T> row, VINR_SIMT_CALLER) {
    load_matrix(r, 4, false, row, file, line);
}
template <typename T>
void ldmatrix_x4_trans(uint32_t (&r)[4], Shared<T> row, VINR_SIMT_CALLER) {
    load_matrix(r, 4, true, row, file, line);
}
template <typename T>
void ldmatrix_x2(uint32_t (&r)[2], Shared<T> row, VINR_SIMT_CALLER) {
    load_matrix(r, 2, false, row, file, line);
}
template <typename T>
void ldmatrix_x2_trans(uint32_t (&r)[2], Shared<T> row, VINR_SIMT_CALLER) {
    load_matrix(r, 2, true, row, file, line);
}

inline void multiply_add(simt::Machine::WarpOperation operation, float (&d)[4], const uint32_t (&a)[4],
                         const uint32_t (&b)[2], const char* file, int line) {
    simt::MultiplyAdd m{d, a, b};
    machine().warp({"mma", file, line}, &m, operation);
}
inline void mma_m16n8k16(Half, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], VINR_SIMT_CALLER) {
    multiply_add(&simt::MultiplyAdd::k16<simt::half_to_float>, d, a, b, file, line);
}
inline void mma_m16n8k16(BFloat16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], VINR_SIMT_CALLER) {
    multiply_add(&simt::MultiplyAdd::k16<simt::bfloat16_to_float>, d, a, b, file, line);
}
inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], VINR_SIMT_CALLER) {
    multiply_add(&simt::MultiplyAdd::k8_tf32, d, a, b, file, line);
}

inline uint32_t as_word(float value) { return simt::bit_cast<uint32_t>(value); }
inline float as_float(uint32_t word) { return simt::bit_cast<float>(word); }

inline float to_float(Half value) { return simt::half_to_float(value.bits); }
inline float to_float(BFloat16 value) { return simt::bfloat16_to_float(value.bits); }

template <typename T>
T from_float(float value);
template <>
inline Half from_float<Half>(float value) {
    return {simt::float_to_half(value)};
}
template <>
inline BFloat16 from_float<BFloat16>(float value) {
    return {simt::float_to_bfloat16(value)};
}
template <>
inline float from_float<float>(float value) {
    return value;
}
template <typename T>
uint32_t pack(float low, float high) {
    return uint32_t(from_float<T>(high).bits) << 16 | from_float<T>(low).bits;
}
template <typename T>
void unpack(uint32_t word, float& low, float& high) {
    low = to_float(T{uint16_t(word)});
    high = to_float(T{uint16_t(word >> 16)});
}
inline uint32_t to_tf32(float value) { return simt::float_to_tf32(value); }

inline float exp2_approx(float x) { return std::exp2(x); }
inline float sin_approx(float x) { return std::sin(x); }
inline float reciprocal_approx(float x) { return 1.0f / x; }

using Stream = simt::Memory*;
using Error = int;
constexpr Error kSuccess = 0;

template <typename Parameters>
Error launch(void (*kernel)(Parameters), const Parameters& parameters, Grid grid, int threads, size_t shared_bytes,
             Stream stream) {
    machine().run([&] { kernel(parameters); }, {grid.x, grid.y, grid.z}, threads, shared_bytes, *stream);
    return kSuccess;
}

}  // namespace vinr::cuda
