// Packed weights on their way from global to shared memory, in stages of one size, over and over for tile after tile.
#pragma once

#include "common/cuda/primitives.cuh"

namespace vinr::cuda {

constexpr int kStreamSlots = 4;  // that stages take turns in where not all fit; all but one are on their way

// With as many slots as stages each is copied once, and warps never wait for each other again.
template <int kThreads, int kStages, int kStageBytes>
class WeightStream {
 public:
    // Threads of a block together. What they copied before by cp.async has arrived when this returns.
    VINR_DEVICE WeightStream(const unsigned char* from, Shared<unsigned char> slots, bool resident)
        : from_(from), slots_(slots), resident_(resident) {
        cp_async_commit();
        const int first = resident ? kStages : kStreamSlots - 1;
        VINR_NO_UNROLL
        for (int stage = 0; stage < first; ++stage) {
            copy(stage, stage);
            cp_async_commit();
        }
        if (resident) {
            cp_async_wait<0>();
        } else {
            cp_async_wait<kStreamSlots - 1>();
        }
        barrier();
    }

    // Stages come in turn, and after the last one the first. The one before is not to be read any more.
    VINR_DEVICE Shared<unsigned char> stage(int stage) const {
        if (resident_) return slots_ + stage * kStageBytes;
        cp_async_wait<kStreamSlots - 2>();
        barrier();
        const int ahead = stage + kStreamSlots - 1;
        copy(ahead < kStages ? ahead : ahead - kStages, ahead % kStreamSlots);
        cp_async_commit();
        return slots_ + stage % kStreamSlots * kStageBytes;
    }

    VINR_DEVICE void finish() const { cp_async_wait<0>(); }

 private:
    VINR_DEVICE void copy(int stage, int slot) const {
        const unsigned char* from = from_ + stage * kStageBytes + 16 * thread_x();
        const Shared<unsigned char> to = slots_ + slot * kStageBytes + 16 * thread_x();
        constexpr int kRound = 16 * kThreads;
        VINR_UNROLL
        for (int i = 0; i < kStageBytes; i += kRound) {
            if (i + kRound <= kStageBytes || 16 * thread_x() < kStageBytes - i) cp_async16(to + i, from + i, true);
        }
    }

    static_assert(kStages % kStreamSlots == 0 && kStageBytes % 16 == 0);
    const unsigned char* from_;
    Shared<unsigned char> slots_;
    bool resident_;
};

}  // namespace vinr::cuda
