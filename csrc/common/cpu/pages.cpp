#include "common/cpu/pages.h"

#include <cstdint>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace vinr {

#if defined(__linux__)

namespace {

void* map(std::size_t bytes) {
    void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? nullptr : pages;
}

}  // namespace

void* new_pages(std::size_t bytes) {
    void* pages = map(bytes);
    if (!pages) throw std::bad_alloc();
    return pages;
}

void* new_large_pages(std::size_t bytes) {
    // A large page begins at a multiple of its size: map more, and give back what lies before and after.
    const std::size_t mapped = bytes + kLargePage;
    char* const begin = static_cast<char*>(map(mapped));
    if (!begin) return nullptr;
    const std::size_t before = -reinterpret_cast<std::uintptr_t>(begin) % kLargePage;
    if (before) munmap(begin, before);
    munmap(begin + before + bytes, kLargePage - before);
    madvise(begin + before, bytes, MADV_HUGEPAGE);  // where it is refused, pages are small
    return begin + before;
}

void release_pages(void* pages, std::size_t bytes) { madvise(pages, bytes, MADV_DONTNEED); }

void delete_pages(void* pages, std::size_t bytes) { munmap(pages, bytes); }

#else

void* new_pages(std::size_t bytes) { return std::memset(::operator new(bytes, std::align_val_t(kPage)), 0, bytes); }

void* new_large_pages(std::size_t bytes) {
    void* pages = ::operator new(bytes, std::align_val_t(kPage), std::nothrow);
    return pages ? std::memset(pages, 0, bytes) : nullptr;
}

void release_pages(void*, std::size_t) {}

void delete_pages(void* pages, std::size_t) { ::operator delete(pages, std::align_val_t(kPage)); }

#endif

}  // namespace vinr
