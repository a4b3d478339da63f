// Global memory: copies of the test's arrays between guard zones, and the sectors that a launch touches in them.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "simt/shared.h"

namespace simt {

constexpr size_t kSector = 32;  // bytes, what a GPU moves between its caches and memory

// Unique sectors of one array: `a_block` sums what each block touches, `a_launch` is what all together touch.
struct SectorCount {
    int64_t a_block = 0, a_launch = 0;
};

class Buffer {
 public:
    Buffer(std::string name, const void* data, size_t bytes, bool writable)
        : name(std::move(name)), bytes(bytes), writable(writable) {
        const size_t padded = (bytes + kAlign - 1) / kAlign * kAlign;
        size_ = padded + 2 * kGuard + kAlign;
        storage_.reset(new unsigned char[size_]);
        std::memset(storage_.get(), 0xff, size_);
        const auto address = reinterpret_cast<uintptr_t>(storage_.get()) + kGuard;
        begin = reinterpret_cast<unsigned char*>((address + kAlign - 1) / kAlign * kAlign);
        if (bytes) std::memcpy(begin, data, bytes);
        loaded_.resize(padded / kSector);
        stored_.resize(padded / kSector);
    }

    bool holds(const void* pointer, size_t size) const {
        const auto* p = static_cast<const unsigned char*>(pointer);
        return p >= begin && p + size <= begin + bytes;
    }

    // `block` counts from 1 on.
    void count(const void* pointer, size_t size, bool write, uint32_t block) {
        const size_t offset = size_t(static_cast<const unsigned char*>(pointer) - begin);
        auto& stamps = write ? stored_ : loaded_;
        SectorCount& counted = write ? stores : loads;
        for (size_t s = offset / kSector; s * kSector < offset + size; ++s) {
            if (stamps[s] == block) continue;
            counted.a_launch += stamps[s] == 0;
            ++counted.a_block;
            stamps[s] = block;
        }
    }

    // Throws if a kernel wrote around the primitives, past the ends.
    void check_guards() const {
        for (const unsigned char* p = storage_.get(); p < storage_.get() + size_; ++p) {
            if ((p < begin || p >= begin + bytes) && *p != 0xff) {
                throw Error(name + ": written outside its " + std::to_string(bytes) + " bytes, at byte " +
                            std::to_string(p - begin));
            }
        }
    }

    const std::string name;
    const size_t bytes;
    const bool writable;
    unsigned char* begin;
    SectorCount loads, stores;

 private:
    static constexpr size_t kAlign = 256, kGuard = 4096;  // cudaMalloc aligns to 256

    size_t size_;
    std::unique_ptr<unsigned char[]> storage_;
    std::vector<uint32_t> loaded_, stored_;
};

// What a launch may touch; it stands in for the stream.
class Memory {
 public:
    void* add(const std::string& name, const void* data, size_t bytes, bool writable) {
        buffers_.push_back(std::make_unique<Buffer>(name, data, bytes, writable));
        return buffers_.back()->begin;
    }

    void touch(const void* pointer, size_t size, bool write) {
        if (reinterpret_cast<uintptr_t>(pointer) % size) {
            throw Error("address is not a multiple of the " + std::to_string(size) + " bytes that move");
        }
        for (auto& buffer : buffers_) {
            if (!buffer->holds(pointer, size)) continue;
            if (write && !buffer->writable) throw Error(buffer->name + " is only read, but written to");
            buffer->count(pointer, size, write, block_);
            return;
        }
        throw Error((write ? "store of " : "load of ") + std::to_string(size) + " bytes " + nearest(pointer));
    }

    void next_block() { ++block_; }

    const std::vector<std::unique_ptr<Buffer>>& buffers() const { return buffers_; }

    int64_t uninitialised_reads = 0;  // of shared memory, in cells of 2 bytes
    int64_t launches = 0, blocks = 0;

 private:
    std::string nearest(const void* pointer) const {
        const auto* p = static_cast<const unsigned char*>(pointer);
        std::string text = "outside every array";
        ptrdiff_t best = PTRDIFF_MAX;
        for (const auto& b : buffers_) {
            const ptrdiff_t distance = p < b->begin ? b->begin - p : p - b->begin - ptrdiff_t(b->bytes);
            if (distance >= best) continue;
            best = distance;
            text = "outside every array; nearest is byte " + std::to_string(p - b->begin) + " of " + b->name +
                   ", which has " + std::to_string(b->bytes);
        }
        return text;
    }

    std::vector<std::unique_ptr<Buffer>> buffers_;
    uint32_t block_ = 0;
};

}  // namespace simt
