// A thread's memory that is kept between calls: a system hands out new memory page by page, which takes longer than
// some calls do. In the heap it would lie above what tensors free, which then could not go back to the system. Included
// inside a namespace, after common/cpu/pages.h.
#pragma once

template <typename T>
class Kept {
 public:
    Kept() = default;
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;
    ~Kept() {
        if (memory) vinr::delete_pages(memory, bytes);
    }

    // Room for so many, with what the last call left there, or zeros.
    T* room(int64_t count) {
        const size_t wanted = size_t(count) * sizeof(T);
        if (wanted > bytes) {
            if (memory) vinr::delete_pages(memory, bytes);
            memory = nullptr, bytes = 0;
            memory = static_cast<T*>(vinr::new_pages(wanted));
            bytes = wanted;
        }
        return memory;
    }

 private:
    T* memory = nullptr;
    size_t bytes = 0;
};
