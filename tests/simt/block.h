// Runs a kernel block by block, each thread as a fiber: barriers, warp-wide operations, and what goes wrong with them.
#pragma once

#include <array>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "simt/fiber.h"
#include "simt/memory.h"
#include "simt/shared.h"

namespace simt {

// Where a thread waits: an operation of the warp or block, at a line of the source.
struct Site {
    const char* operation;
    const char* file;
    int line;

    bool operator==(const Site& other) const {
        return line == other.line && same(operation, other.operation) && same(file, other.file);
    }
    static bool same(const char* a, const char* b) { return a == b || !std::strcmp(a, b); }
    std::string text() const {
        const std::string path(file);
        return std::string(operation) + " at " + path.substr(path.rfind('/') + 1) + ":" + std::to_string(line);
    }
};

enum class State { kReady, kAtBarrier, kInWarp, kDone };

// A cp.async of 16 bytes that was issued and has not landed.
struct Copy {
    size_t to;
    const void* from;  // null for zeros
    int group;
};

struct Thread {
    Context context;
    State state;
    Site site;
    std::vector<Copy> copies;
    int groups;  // committed
};

constexpr int kLanes = 32;

struct Warp {
    uint32_t phase;
    int arrived;  // lanes that wait in the operation
    std::array<void*, kLanes> arguments;
};

class Machine {
 public:
    using WarpOperation = void (*)(const std::array<void*, kLanes>& arguments);

    static Machine& current() {
        static Machine machine;
        return machine;
    }

    void run(const std::function<void()>& kernel, std::array<unsigned, 3> grid, int threads, size_t shared_bytes,
             Memory& memory) {
        if (threads <= 0 || threads > 1024 || threads % kLanes) {
            throw Error("a block has whole warps and at most 1024 threads, got " + std::to_string(threads));
        }
        if (shared_bytes > (227 << 10)) throw Error("a block has at most 227 KiB of shared memory");
        if (!grid[0] || !grid[1] || !grid[2] || grid[1] > 65535 || grid[2] > 65535 || grid[0] > 0x7fffffffu) {
            throw Error("the grid is empty or too large");
        }
        kernel_ = &kernel, grid_ = grid, memory_ = &memory;
        while (int(stacks_.size()) < threads) stacks_.emplace_back();
        threads_.resize(threads);
        ++memory.launches;
        for (unsigned z = 0; z < grid[2]; ++z) {
            for (unsigned y = 0; y < grid[1]; ++y) {
                for (unsigned x = 0; x < grid[0]; ++x) run_block({x, y, z}, shared_bytes);
            }
        }
    }

    int thread() const { return running_; }
    unsigned block(int axis) const { return block_[axis]; }
    unsigned grid(int axis) const { return grid_[axis]; }
    int threads() const { return int(threads_.size()); }
    Memory& memory() { return *memory_; }
    SharedMemory& shared() { return shared_; }
    Access access() const { return {running_, phase_, warps_[running_ / kLanes].phase}; }

    // All threads of the block wait for each other, at one line.
    void barrier(const Site& site) {
        if (left_) throw Error(site.text() + ": a thread has already left the kernel");
        if (waiting_ && !(site == barrier_site_)) diverged(site, barrier_site_);
        wait(State::kAtBarrier, site);
        barrier_site_ = site;
        if (++waiting_ < threads()) return suspend();
        waiting_ = 0;
        ++phase_;
        for (Thread& t : threads_) t.state = State::kReady;
    }

    // All lanes of the warp come to `operation`; the last to come carries it out for all of them.
    void warp(const Site& site, void* arguments, WarpOperation operation, bool orders_memory = false) {
        Warp& warp = warps_[running_ / kLanes];
        Thread* lanes = &threads_[running_ / kLanes * kLanes];
        for (int i = 0; warp.arrived && i < kLanes; ++i) {
            if (lanes[i].state == State::kInWarp && !(lanes[i].site == site)) diverged(site, lanes[i].site);
            if (lanes[i].state == State::kInWarp) break;
        }
        wait(State::kInWarp, site);
        warp.arguments[running_ % kLanes] = arguments;
        if (++warp.arrived < kLanes) return suspend();
        warp.arrived = 0;
        if (operation) operation(warp.arguments);
        warp.phase += orders_memory;
        for (int i = 0; i < kLanes; ++i) lanes[i].state = State::kReady;
    }

    void copy_async(size_t to, const void* from) {
        shared_.expect(to, 16, access());
        self().copies.push_back({to, from, self().groups});
    }
    void commit_copies() { ++self().groups; }
    void wait_copies(int pending) {
        auto& copies = self().copies;
        const int landed = self().groups - pending;
        std::vector<Copy> left;
        for (const Copy& copy : copies) {
            static const unsigned char zeros[16] = {};
            if (copy.group < landed) {
                shared_.land(copy.to, copy.from ? copy.from : zeros, 16, access());
            } else {
                left.push_back(copy);
            }
        }
        copies = std::move(left);
    }

 private:
    Thread& self() { return threads_[running_]; }

    void wait(State state, const Site& site) {
        self().state = state;
        self().site = site;
    }

    [[noreturn]] static void diverged(const Site& here, const Site& there) {
        throw Error("divergent: one thread is at " + here.text() + ", another at " + there.text());
    }

    void suspend() { switch_context(self().context, scheduler_); }

    static void enter() {
        Machine& m = current();
        try {
            (*m.kernel_)();
        } catch (...) {
            m.failure_ = std::current_exception();
        }
        m.self().state = State::kDone;
        ++m.left_;
        m.suspend();
    }

    void run_block(std::array<unsigned, 3> block, size_t shared_bytes) {
        block_ = block;
        memory_->next_block();
        ++memory_->blocks;
        ++phase_;
        warps_.assign(threads_.size() / kLanes, Warp{phase_, 0, {}});
        shared_.reset(shared_bytes, phase_);
        waiting_ = left_ = 0;
        failure_ = nullptr;
        for (size_t i = 0; i < threads_.size(); ++i) {
            threads_[i] = Thread{};
            make_context(threads_[i].context, stacks_[i].begin(), Stack::kBytes, &enter);
        }
        for (bool progress = true; progress;) {
            progress = false;
            for (running_ = 0; running_ < threads(); ++running_) {
                if (self().state != State::kReady) continue;
                progress = true;
                switch_context(scheduler_, self().context);
                if (failure_) fail();
            }
        }
        memory_->uninitialised_reads += shared_.take_uninitialised_reads();
        for (const Thread& t : threads_) {
            if (t.state != State::kDone) throw Error(place() + stuck());
        }
    }

    std::string place() const {
        return "block (" + std::to_string(block_[0]) + ", " + std::to_string(block_[1]) + ", " +
               std::to_string(block_[2]) + "): ";
    }

    [[noreturn]] void fail() {
        const std::string where = place() + "thread " + std::to_string(running_) + ": ";
        try {
            std::rethrow_exception(failure_);
        } catch (const Error& error) {
            throw Error(where + error.what());
        }
    }

    // No thread can go on: who waits for whom.
    std::string stuck() const {
        std::string text = "deadlock:";
        const Thread* told = nullptr;
        for (const Thread& t : threads_) {
            if (t.state == State::kDone || (told && told->state == t.state && told->site == t.site)) continue;
            text += " thread " + std::to_string(&t - threads_.data()) + " waits in " + t.site.text() + ";";
            told = &t;
        }
        return text + " " + std::to_string(left_) + " of " + std::to_string(threads_.size()) + " threads have left";
    }

    const std::function<void()>* kernel_ = nullptr;
    Memory* memory_ = nullptr;
    SharedMemory shared_;
    std::vector<Stack> stacks_;
    std::vector<Thread> threads_;
    std::vector<Warp> warps_;
    Site barrier_site_{};
    std::array<unsigned, 3> block_{}, grid_{};
    Context scheduler_{};
    std::exception_ptr failure_;
    int running_ = 0, waiting_ = 0, left_ = 0;
    uint32_t phase_ = 0;
};

}  // namespace simt
