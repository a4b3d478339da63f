// What both passes of the query have at the published sizes: a warp takes 16 or 32 pixels through all layers in
// registers. Sums of a layer are, through the sine, the next layer's left factor where they lie.
#pragma once

#include "inr_query/cuda_sampling.cuh"
#include "inr_query/cuda_schedule.cuh"
#include "inr_query/cuda_weight_stream.cuh"

namespace vinr::cuda {

constexpr int kWarps = 8, kWarpsAcross = 2, kWarpsDown = kWarps / kWarpsAcross;
constexpr int kThreads = kWarps * kWarp;

// What both passes have: vectors and weights in shared memory, and dense layers on a warp's pixels.
// kOwnBytes are a pass's own shared memory.
template <typename O, typename Schedule, typename Vectors, int kOwnBytes>
struct Pass {
    static constexpr int M = O::kRowTiles, kRows = 2 * M;
    static constexpr int kTile = O::kTileBytes;
    using Fragment = typename O::Fragment;
    using Stored = typename O::Stored;
    using Stream = WeightStream<kThreads, Schedule::kStages, Schedule::kStageTiles * kTile>;
    static constexpr int kPlaces = (Vectors::kCount + 3) / 4 * 4;  // a warp's place, after the vectors
    static constexpr int kOwn = (4 * kPlaces + 16 * kWarps + 127) / 128 * 128;
    static constexpr int kStages = kOwn + kOwnBytes;
    static constexpr int kStageBytes = Schedule::kStageTiles * kTile;

    static constexpr size_t shared_bytes(bool resident) {
        return kStages + size_t(resident ? Schedule::kStages : kStreamSlots) * kStageBytes;
    }

    const QueryParameters& p;
    const Shared<float> vectors;
    Stream stream;

    VINR_DEVICE explicit Pass(const QueryParameters& p)
        : p(p), vectors(with_vectors(p)), stream(p.weights, dynamic_shared<unsigned char>(kStages), p.resident) {}

    static VINR_DEVICE Shared<float> with_vectors(const QueryParameters& p) {
        const Shared<float> to = dynamic_shared<float>();
        for (int i = 4 * thread_x(); i < Vectors::kCount; i += 4 * kThreads) cp_async16(to + i, p.vectors + i, true);
        return to;
    }

    VINR_DEVICE SharedTiles stage(int stage) const { return {stream.stage(stage)}; }

    // Where the warp is, kept out of registers while the layers need them all.
    VINR_DEVICE void keep(const WarpPlace& at, unsigned tile) const {
        const Words4 words = {{uint32_t(at.image), uint32_t(at.y0), uint32_t(at.x0), tile}};
        warp_barrier();
        if (lane() == 0) store_shared(vectors + (kPlaces + 4 * warp()), words);
        warp_barrier();
    }
    VINR_DEVICE WarpPlace kept() const {
        const Words4 words = load_shared<Words4>(vectors + (kPlaces + 4 * warp()));
        return {int(words.word[0]), int(words.word[1]), int(words.word[2])};
    }

    VINR_DEVICE unsigned kept_tile() const { return load_shared<unsigned>(vectors + (kPlaces + 4 * warp() + 3)); }

    static VINR_DEVICE int own_row() { return lane_column() & (kRows - 1); }

    // Of a vector, the lane's channels for column tiles 2 v and 2 v + 1.
    VINR_DEVICE Words4 four(int vector, int v) const {
        return load_shared<Words4>(vectors + (vector + v / 2 * 32 + 8 * lane_column() + v % 2 * 4));
    }

    // Sums that start from a bias.
    template <int kColumns>
    VINR_DEVICE void start(float (&z)[M][kColumns][4], int vector) const {
        VINR_UNROLL
        for (int v = 0; v < kColumns / 2; ++v) {
            const Words4 b = four(vector, v);
            VINR_UNROLL
            for (int m = 0; m < M; ++m) {
                VINR_UNROLL
                for (int c = 0; c < 8; ++c) z[m][2 * v + c / 4][c % 4] = as_float(b.word[c / 4 * 2 + c % 2]);
            }
        }
    }

    VINR_DEVICE void start_narrow(float (&z)[M][4], int vector) const {
        VINR_UNROLL
        for (int c = 0; c < 2; ++c) {
            const float b = load_shared<float>(vectors + (vector + 2 * lane_column() + c));
            VINR_UNROLL
            for (int m = 0; m < M; ++m) z[m][c] = z[m][c + 2] = b;
        }
    }

    // Sums that start from bias + t * (the time's column).
    VINR_DEVICE void start_at_time(float (&z)[M][8][4], int bias, int time, float now) const {
        start(z, bias);
        VINR_UNROLL
        for (int v = 0; v < 4; ++v) {
            const Words4 w = four(time, v);
            VINR_UNROLL
            for (int m = 0; m < M; ++m) {
                VINR_UNROLL
                for (int c = 0; c < 8; ++c) {
                    float& sum = z[m][2 * v + c / 4][c % 4];
                    sum = fmaf(as_float(w.word[c / 4 * 2 + c % 2]), now, sum);
                }
            }
        }
    }

    // Tiles of sums as left factors, from tile kFirst of a on.
    template <bool kSine, int kFirst = 0, int kColumns, int kWidth>
    static VINR_DEVICE void to_fragments(const float (&z)[M][kColumns][4], Fragment (&a)[M][kWidth]) {
        VINR_UNROLL
        for (int m = 0; m < M; ++m) {
            VINR_UNROLL
            for (int k = 0; k < kColumns / 2; ++k)
                set_fragment<O, kSine>(a[m][kFirst + k], z[m][2 * k], z[m][2 * k + 1]);
        }
    }

    // 64 -> 64 and the sine, in place.
    VINR_DEVICE void hidden(Fragment (&a)[M][4], int bias, int stage) const {
        float z[M][8][4];
        start(z, bias);
        O::template multiply<4, 4>(z, a, this->stage(stage));
        to_fragments<true>(z, a);
    }

    // 64 -> one chunk of a wide layer, and the sine.
    template <int kFirst = 0, int kWidth>
    VINR_DEVICE void chunk(const Fragment (&a)[M][4], SharedTiles tiles, int bias, Fragment (&out)[M][kWidth]) const {
        float z[M][4][4];
        start(z, bias);
        O::template multiply<4, 2>(z, a, tiles);
        to_fragments<true, kFirst>(z, out);
    }

    // Columns 2 t and 2 t + 1 of a narrow layer as planes of a [planes, height, width] image.
    VINR_DEVICE void store_planes(const float (&z)[M][4], const WarpPlace& at, float* image, int planes) const {
        const int g = lane_row();
        VINR_UNROLL
        for (int i = 0; i < kRows; ++i) {
            VINR_UNROLL
            for (int c = 0; c < 2; ++c) {
                const int plane = 2 * lane_column() + c;
                if (plane < planes && at.holds(p, i, g)) {
                    const int64_t pixel = int64_t(at.y0 + i) * p.arguments.width + at.x0 + g;
                    store(image + plane * p.pixels + pixel, z[i / 2][2 * (i % 2) + c]);
                }
            }
        }
    }

    VINR_DEVICE Stored* hr(const WarpPlace& at) const {
        return static_cast<Stored*>(p.hr) + at.image * p.pixels * kFeatures;
    }

    VINR_DEVICE float* flows(const WarpPlace& at) const {
        return p.arguments.flows + (p.first_image + at.image) * (4 * p.pixels);
    }

    // The flow's or the colour's input of colours, one tile of columns.
    VINR_DEVICE void colours(const WarpPlace& at, const Corners* own, int ends, Fragment (&a)[M][1]) const {
        const float* map = at.colours(p);
        VINR_UNROLL
        for (int i = 0; i < kRows; ++i) {
            float v[2][2] = {};
            VINR_UNROLL
            for (int end = 0; end < 2; ++end) {
                if (end >= ends) continue;
                const Corners corners = shuffle(own[end], (lane() & ~3) + i);
                read_colours(map, p.zeros, p.colours.width, corners, v[end][0], v[end][1]);
            }
            O::set_row(a[i / 2][0], i % 2, v[0][0], v[0][1], v[1][0], v[1][1]);
        }
    }
};

}  // namespace vinr::cuda
