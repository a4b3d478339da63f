// Memory straight from the system, outside of the heap.
#pragma once

#include <cstddef>

namespace vinr {

// Zeros, from the start of a page on. Throws std::bad_alloc.
void* new_pages(std::size_t bytes);
void delete_pages(void* pages, std::size_t bytes);

}  // namespace vinr
