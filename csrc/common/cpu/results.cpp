#include "common/cpu/results.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "common/cpu/pages.h"

namespace vinr {
namespace {

constexpr size_t kLeast = 1 << 20;  // bytes of what is taken from the pool; the heap is quick with less
constexpr size_t kFew = 128 << 20;  // bytes that may lie in the pool whatever is in use

// Blocks that results left, for the next ones. Those in use and those that are not hold together no more memory than
// the most that was in use: what a new block needs beyond that, unused ones give back to the system.
class Pool {
 public:
    // Null where there is no memory, or where another thread is here. It does not wait: after a fork that thread, and
    // its unlocking, may be in the other process.
    void* take(size_t bytes) {
        const std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
        if (!lock) return nullptr;
        void* pages = left(bytes);
        most = std::max(most, in_use + bytes);
        shrink(in_use + bytes);
        if (!pages) pages = new_large_pages(bytes);
        if (pages) in_use += bytes;
        return pages;
    }

    void give(void* pages, size_t bytes) {
        in_use -= bytes;
        const std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
        if (!lock) return delete_pages(pages, bytes);
        blocks.push_back({static_cast<char*>(pages), bytes, bytes});
        unused += bytes;
        if (in_use <= kFew) most = in_use;
        shrink(in_use);
    }

 private:
    struct Block {
        char* pages;
        size_t bytes, held;  // held: those that have memory, from the first on
    };

    // Of the blocks of this size the last used, which the caches may still hold; else null.
    void* left(size_t bytes) {
        const auto found = std::find_if(blocks.rbegin(), blocks.rend(), [=](auto& b) { return b.bytes == bytes; });
        if (found == blocks.rend()) return nullptr;
        void* const pages = found->pages;
        unused -= found->held;
        blocks.erase(std::next(found).base());
        return pages;
    }

    // Gives back what is too much beside so many bytes in use, of the oldest blocks first.
    void shrink(size_t used) {
        const size_t limit = std::max(most, kFew), allowed = limit - std::min(used, limit);
        while (unused > allowed) {
            Block& oldest = blocks.front();
            const size_t keep = oldest.held - std::min(oldest.held, unused - allowed);
            const size_t held = keep / kLargePage * kLargePage;  // a large page goes as a whole
            unused -= oldest.held - held;
            if (held > 0) {
                release_pages(oldest.pages + held, oldest.held - held);
                oldest.held = held;
            } else {
                delete_pages(oldest.pages, oldest.bytes);
                blocks.erase(blocks.begin());
            }
        }
    }

    std::mutex mutex;
    std::vector<Block> blocks;       // the oldest first
    size_t unused = 0;               // bytes that they hold
    std::atomic<size_t> in_use = 0;  // bytes, which lessen where the pool is busy too
    size_t most = 0;                 // of it, since it was last below kFew
};

Pool& pool() {
    static Pool* const pool = new Pool;  // never destroyed: tensors may outlive what a process destroys at its end
    return *pool;
}

std::vector<int64_t> strides_of(const std::vector<int64_t>& sizes, bool channels_last) {
    std::vector<int64_t> order;  // dimensions, the innermost first
    if (channels_last) {
        order = {1, 3, 2, 0};
    } else {
        for (size_t d = sizes.size(); d-- > 0;) order.push_back(int64_t(d));
    }
    std::vector<int64_t> strides(sizes.size());
    int64_t stride = 1;
    for (const int64_t d : order) strides[d] = stride, stride *= sizes[d];
    return strides;
}

}  // namespace

Tensor new_result(const Tensor& like, const std::vector<int64_t>& sizes, bool channels_last) {
    int64_t bytes_asked = int64_t(like.element_size());
    for (const int64_t size : sizes) {
        const bool fits = size >= 0 && !__builtin_mul_overflow(bytes_asked, size, &bytes_asked);
        STD_TORCH_CHECK(fits, "a result of sizes ", shape_string(sizes), " is larger than memory can be");
    }
    size_t bytes = size_t(bytes_asked);
    if (bytes >= kLeast) {
        bytes = (bytes + kPage - 1) / kPage * kPage;
        if (void* const pages = pool().take(bytes)) {
            return torch::stable::from_blob(pages, sizes, strides_of(sizes, channels_last), like.device(),
                                            like.scalar_type(), [bytes](void* data) { pool().give(data, bytes); });
        }
    }
    return new_empty(like, sizes, channels_last);
}

namespace {

Tensor new_maps(const Tensor& like, const std::vector<int64_t>& sizes) {
    check_cpu("new_maps", "like", like);
    STD_TORCH_CHECK(sizes.size() == 4, "new_maps: sizes must be [B, C, h, w], got ", shape_string(sizes));
    const bool negative = std::any_of(sizes.begin(), sizes.end(), [](int64_t size) { return size < 0; });
    STD_TORCH_CHECK(!negative, "new_maps: sizes must not be negative, got ", shape_string(sizes));
    return new_result(like, sizes, true);
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // Uninitialised maps [B, C, h, w], channels-last, of the dtype of `like`, for ops that write into what they are
    // given.
    m.def("new_maps(Tensor like, int[] sizes) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) { m.impl("new_maps", TORCH_BOX(&vinr::new_maps)); }
