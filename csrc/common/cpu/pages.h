// Memory straight from the system, outside of the heap.
#pragma once

#include <cstddef>

namespace vinr {

constexpr std::size_t kPage = 64 << 10;  // a whole number of any system's pages
constexpr std::size_t kLargePage = 2 << 20;

// Zeros, from the start of a page on. Throws std::bad_alloc.
void* new_pages(std::size_t bytes);

// The same, for megabytes, a multiple of kPage: in pages of 2 MB where the system has them. Null where there is none.
void* new_large_pages(std::size_t bytes);

// Gives a part's memory back to the system, where that is possible; what is read there next is zeros, or what was.
void release_pages(void* pages, std::size_t bytes);

void delete_pages(void* pages, std::size_t bytes);

}  // namespace vinr
