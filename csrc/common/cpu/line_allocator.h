// Memory from the start of a cache line on: a vector then lies in one line, not in two. Included inside a variant's
// namespace, by its dense kernel.
#pragma once

template <typename T>
struct LineAllocator {
    using value_type = T;
    T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
    void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(64)); }
    bool operator==(const LineAllocator&) const { return true; }
    bool operator!=(const LineAllocator&) const { return false; }
};

template <typename T>
using LineVector = std::vector<T, LineAllocator<T>>;
