// The shared memory of the block that runs: bounds, poison, and a shadow that finds races. Two accesses of one cell by
// different threads, one of them a write, must have a block barrier between them, or, within a warp, a warp barrier.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace simt {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Who touches memory, and when. Phases count up for ever: at each barrier, and from block to block.
struct Access {
    int thread;
    uint32_t phase, warp_phase;

    int warp() const { return thread / 32; }
};

class SharedMemory {
 public:
    static constexpr size_t kStaticBytes = 48 << 10;

    // A new block: everything is NaN again. Static variables lie behind the dynamic memory.
    void reset(size_t dynamic_bytes, uint32_t phase) {
        dynamic_bytes_ = dynamic_bytes;
        first_phase_ = phase;
        variables_.clear();
        bytes_.assign(dynamic_bytes, 0xff);
        cells_.resize((dynamic_bytes + kCell - 1) / kCell);
        for (Cell& cell : cells_) cell.pending = 0;
    }

    size_t dynamic_bytes() const { return dynamic_bytes_; }

    // The offset of a static variable, which the first thread to come to it allocates.
    size_t variable(const void* tag, size_t bytes) {
        const auto found = variables_.find(tag);
        if (found != variables_.end()) return found->second;
        const size_t offset = (bytes_.size() + 15) / 16 * 16;
        bytes_.resize(offset + bytes, 0xff);
        cells_.resize((bytes_.size() + kCell - 1) / kCell);
        if (bytes_.size() - dynamic_bytes_ > kStaticBytes + 16) throw Error("static shared memory is over 48 KiB");
        return variables_[tag] = offset;
    }

    void read(size_t offset, void* to, size_t size, const Access& by) {
        for (size_t c = offset / kCell; c * kCell < offset + size; ++c) {
            Cell& cell = cells_[c];
            if (cell.pending) throw Error("shared memory is read before the cp.async into it was waited for");
            if (cell.write.phase < first_phase_) {
                ++uninitialised_reads_;
            } else if (races(cell.write, by)) {
                throw Error("race in shared memory: " + who(by) + " reads byte " + std::to_string(c * kCell) +
                            ", which thread " + std::to_string(cell.write.thread) + " wrote with no barrier between");
            }
            note_read(cell, by);
        }
        std::memcpy(to, bytes_.data() + offset, size);
    }

    void write(size_t offset, const void* from, size_t size, const Access& by) {
        claim(offset, size, by, false);
        std::memcpy(bytes_.data() + offset, from, size);
    }

    // Another thread's atomic of the same phase is no race.
    float atomic_add(size_t offset, float value, const Access& by) {
        float before;
        for (size_t c = offset / kCell; c * kCell < offset + sizeof(float); ++c) {
            if (cells_[c].write.phase < first_phase_) ++uninitialised_reads_;
        }
        claim(offset, sizeof(float), by, true);
        std::memcpy(&before, bytes_.data() + offset, sizeof(float));
        const float after = before + value;
        std::memcpy(bytes_.data() + offset, &after, sizeof(float));
        return before;
    }

    // An asynchronous write is on its way: it may land at any moment until `land`.
    void expect(size_t offset, size_t size, const Access& by) {
        claim(offset, size, by, false);
        for (size_t c = offset / kCell; c * kCell < offset + size; ++c) ++cells_[c].pending;
    }
    void land(size_t offset, const void* from, size_t size, const Access& by) {
        for (size_t c = offset / kCell; c * kCell < offset + size; ++c) --cells_[c].pending;
        write(offset, from, size, by);
    }

    // Cells read before anything was written to them, since the last call.
    int64_t take_uninitialised_reads() {
        const int64_t count = uninitialised_reads_;
        uninitialised_reads_ = 0;
        return count;
    }

 private:
    static constexpr size_t kCell = 2;  // bytes, the smallest element that kernels keep there
    static constexpr int kMany = -2;

    struct Touch {
        uint32_t phase = 0, warp_phase = 0;
        int thread = 0, warp = 0;
        bool atomic = false;
    };
    struct Cell {
        Touch write, read;
        int pending = 0;
    };

    static std::string who(const Access& by) { return "thread " + std::to_string(by.thread); }

    static bool races(const Touch& before, const Access& now) {
        if (before.phase != now.phase || before.thread == now.thread) return false;
        return before.warp != now.warp() || before.warp_phase == now.warp_phase;
    }

    static Touch touch(const Access& by) { return {by.phase, by.warp_phase, by.thread, by.warp(), false}; }

    static void note_read(Cell& cell, const Access& by) {
        Touch& read = cell.read;
        if (read.phase != by.phase || (read.warp == by.warp() && read.warp_phase != by.warp_phase)) {
            read = touch(by);
        } else {
            if (read.thread != by.thread) read.thread = kMany;
            if (read.warp != by.warp()) read.warp = kMany;
        }
    }

    void claim(size_t offset, size_t size, const Access& by, bool atomic) {
        for (size_t c = offset / kCell; c * kCell < offset + size; ++c) {
            Cell& cell = cells_[c];
            const std::string place = " byte " + std::to_string(c * kCell);
            if (cell.pending)
                throw Error(who(by) + " writes" + place + " of shared memory while a cp.async is under way");
            if (races(cell.write, by) && !(atomic && cell.write.atomic)) {
                throw Error("race in shared memory: " + who(by) + " writes" + place + ", which thread " +
                            std::to_string(cell.write.thread) + " wrote with no barrier between");
            }
            if (races(cell.read, by)) {
                throw Error("race in shared memory: " + who(by) + " writes" + place +
                            ", which another thread read with no barrier between");
            }
            cell.write = touch(by);
            cell.write.atomic = atomic;
        }
    }

    std::vector<unsigned char> bytes_;
    std::vector<Cell> cells_;
    std::map<const void*, size_t> variables_;
    size_t dynamic_bytes_ = 0;
    uint32_t first_phase_ = 0;
    int64_t uninitialised_reads_ = 0;
};

}  // namespace simt
