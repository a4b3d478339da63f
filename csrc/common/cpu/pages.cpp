#include "common/cpu/pages.h"

#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace vinr {

void* new_pages(std::size_t bytes) {
#if defined(__linux__)
    void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    return pages;
#else
    return std::memset(::operator new(bytes, std::align_val_t(4096)), 0, bytes);
#endif
}

void delete_pages(void* pages, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
    munmap(pages, bytes);
#else
    ::operator delete(pages, std::align_val_t(4096));
#endif
}

}  // namespace vinr
