// The two passes of the query at the published sizes. Blocks go round the tiles of the images, weights round the stages
// of inr_query_schedule.cuh.
#pragma once

#include "inr_query/cuda_pass.cuh"

namespace vinr::cuda {

// Pass 1: nearest maps, relative position, time -> HR feature -> flow.
template <typename O>
struct DecodePass : Pass<O, DecodeSchedule, DecodeVectors, 0> {
    using Base = Pass<O, DecodeSchedule, DecodeVectors, 0>;
    using Base::M, Base::kRows, Base::kTile, Base::p, Base::stage, Base::vectors;
    using typename Base::Fragment;
    using Vectors = DecodeVectors;

    using Base::Base;

    VINR_DEVICE float constant(int vector, int part, int c) const {
        return load_shared<float>(vectors + (vector + 32 * part + 8 * lane_column() + c));
    }

    // The first layer of feat.
    VINR_DEVICE void first(float (&z)[M][8][4], const WarpPlace& at, const AxisPlace& axis) const {
        const QueryArguments& a = p.arguments;
        const AxisPlace x = shuffle(axis, lane_row());
        const float now = at.now(p);
        const float* map = at.maps(p) + 8 * lane_column();
        VINR_UNROLL
        for (int i = 0; i < kRows; ++i) {
            const AxisPlace y = shuffle(axis, 8 + i);
            const float* pixel = map + (int64_t(y.nearest) * a.map_width + x.nearest) * a.map_channels;
            VINR_UNROLL
            for (int part = 0; part < 2; ++part) {
                float v[8];
                SingleOperand::load8(pixel + 32 * part, v);
                VINR_UNROLL
                for (int c = 0; c < 8; ++c) {
                    float sum = fmaf(constant(Vectors::kFeatTime, part, c), now, constant(Vectors::kFeat0, part, c));
                    sum = fmaf(constant(Vectors::kRelX, part, c), x.relative, sum);
                    sum = fmaf(constant(Vectors::kRelY, part, c), y.relative, sum);
                    z[i / 2][4 * part + c / 2][2 * (i % 2) + c % 2] = fmaf(v[c], p.unit, sum);
                }
            }
        }
    }

    VINR_DEVICE void store_hr(const Fragment (&a)[M][4], const WarpPlace& at) const {
        const int g = lane_row();
        VINR_UNROLL
        for (int i = 0; i < kRows; ++i) {
            if (!at.holds(p, i, g)) continue;
            const int64_t pixel = int64_t(at.y0 + i) * p.arguments.width + at.x0 + g;
            auto* to = this->hr(at) + pixel * kFeatures + 8 * lane_column();
            VINR_UNROLL
            for (int k = 0; k < 4; k += 2) O::store_row(to + 16 * k, a[i / 2][k], a[i / 2][k + 1], i % 2);
        }
    }

    VINR_DEVICE void tile(const WarpPlace& at) const {
        const QueryArguments& q = p.arguments;
        const AxisPlace axis = lane_axis_place(p, at);
        Fragment a[M][4];
        float z[M][8][4];
        first(z, at, axis);
        Base::template to_fragments<true>(z, a);
        this->hidden(a, Vectors::kFeat1, 0);
        this->start(z, Vectors::kFeat3);
        VINR_NO_UNROLL
        for (int c = 0; c < kChunks; ++c) {
            const SharedTiles tiles = stage(1 + c);
            Fragment b[M][2];
            this->chunk(a, tiles, Vectors::kFeat2 + kChunk * c, b);
            O::template multiply<2, 4>(z, b, tiles.from(8 * kTile));
        }
        Base::template to_fragments<false>(z, a);
        store_hr(a, at);

        const float y = shuffle(axis, 8 + Base::own_row()).position(), x = shuffle(axis, lane_row()).position();
        this->start_at_time(z, Vectors::kFlow0, Vectors::kFlowTime, at.now(p));
        add_map(z, at.maps(p) + kHidden, p.zeros, q.map_channels, q.map_width, corners_at(y, x, p.maps), p.unit);
        O::template multiply<4, 4>(z, a, stage(9));
        const SharedTiles colour_tiles = stage(10);
        if (q.colours) {
            const int u = q.upsample;
            const Corners own = corners_at(fine(y, u), fine(x, u), p.colours);
            Fragment colours[M][1];
            this->colours(at, &own, 1, colours);
            O::template multiply<1, 4>(z, colours, colour_tiles);
        }
        Base::template to_fragments<true>(z, a);
        this->hidden(a, Vectors::kFlow1, 11);
        float flow[M][4];
        this->start_narrow(flow, Vectors::kFlow3);
        VINR_NO_UNROLL
        for (int c = 0; c < kChunks; c += 2) {
            const SharedTiles tiles = stage(12 + c / 2);
            VINR_UNROLL
            for (int half = 0; half < 2; ++half) {
                Fragment b[M][2];
                this->chunk(a, tiles.from(9 * half * kTile), Vectors::kFlow2 + kChunk * (c + half), b);
                O::multiply_narrow(flow, b, tiles.from((9 * half + 8) * kTile));
            }
        }
        const WarpPlace to = this->kept();
        this->store_planes(flow, to, this->flows(to), 4);
    }
};

// Pass 2: warp -> colour.
constexpr int kWarpedBytes = 2 * kThreads * 8;  // where a thread's pixel is moved to, for both ends

template <typename O>
struct ColourPass : Pass<O, ColourSchedule, ColourVectors, kWarpedBytes> {
    using Base = Pass<O, ColourSchedule, ColourVectors, kWarpedBytes>;
    using Base::M, Base::kRows, Base::kTile, Base::p, Base::stage;
    using typename Base::Fragment;
    using Vectors = ColourVectors;

    using Base::Base;

    // Normalised coordinates.
    struct alignas(8) Normalised {
        float y, x;
    };
    static VINR_DEVICE Shared<float> warped_to(int end) {
        return dynamic_shared<float>(Base::kOwn) + 2 * (end * kThreads + thread_x());
    }

    VINR_DEVICE void tile(const WarpPlace& at) const {
        const QueryArguments& q = p.arguments;
        {
            // Each lane warps one pixel, of row lane % 4 of its column; the others get it by shuffles.
            const int y = at.row(p, Base::own_row()), x = at.column(p, lane_row());
            const float* flow = this->flows(at) + (int64_t(y) * q.width + x);
            VINR_UNROLL
            for (int end = 0; end < 2; ++end) {
                const float gx = warped(x, p.last_column, load(flow + (2 * end) * p.pixels));
                const float gy = warped(y, p.last_row, load(flow + (2 * end + 1) * p.pixels));
                store_shared(warped_to(end), Normalised{gy, gx});
            }
        }
        float z[M][8][4];
        this->start_at_time(z, Vectors::kEncode0, Vectors::kTime, at.now(p));
        VINR_NO_UNROLL
        for (int end = 0; end < 2; ++end) {
            const Normalised g = load_shared<Normalised>(warped_to(end));
            const Corners own = corners_at(to_pixel(g.y, p.lr_height), to_pixel(g.x, p.lr_width), p.maps);
            add_map(z, at.maps(p) + (2 + end) * kHidden, p.zeros, q.map_channels, q.map_width, own, p.unit);
        }
        Fragment a[M][4];
        VINR_NO_UNROLL
        for (int end = 0; end < 2; ++end) {
            const Normalised g = load_shared<Normalised>(warped_to(end));
            const Corners own =
                corners_at(to_pixel(g.y, p.output.float_height), to_pixel(g.x, p.output.float_width), p.output);
            read_hr<O>(a, this->hr(at), p.zeros, q.width, own);
            O::template multiply<4, 4>(z, a, stage(end));
        }
        const SharedTiles colour_tiles = stage(2);
        if (q.colours) {
            Corners own[2];
            VINR_UNROLL
            for (int end = 0; end < 2; ++end) {
                const Normalised g = load_shared<Normalised>(warped_to(end));
                own[end] = corners_at(to_pixel(g.y, p.fine_height), to_pixel(g.x, p.fine_width), p.colours);
            }
            Fragment colours[M][1];
            this->colours(at, own, 2, colours);
            O::template multiply<1, 4>(z, colours, colour_tiles);
        }
        Base::template to_fragments<true>(z, a);
        this->hidden(a, Vectors::kEncode1, 3);
        Fragment wide[M][kWide / 16];
        wide_layer(a, wide);

        float colour[M][4];
        this->start_narrow(colour, Vectors::kEncode4);
        VINR_NO_UNROLL
        for (int c = 0; c < kChunks; ++c) {
            float h[M][4][4];
            this->start(h, Vectors::kEncode3 + kChunk * c);
            O::template multiply<8, 2>(h, wide, stage(8 + 2 * c));
            const SharedTiles tiles = stage(9 + 2 * c);
            O::template multiply<8, 2, 8>(h, wide, tiles);
            Fragment b[M][2];
            Base::template to_fragments<true>(h, b);
            O::multiply_narrow(colour, b, tiles.from(16 * kTile));
        }
        const int outputs = q.encode.last().outputs;
        const WarpPlace to = this->kept();
        this->store_planes(colour, to, q.image + (p.first_image + to.image) * (outputs * p.pixels), outputs);
    }

    // 64 -> 256, whole: the next layer needs all of it.
    VINR_DEVICE void wide_layer(const Fragment (&a)[M][4], Fragment (&wide)[M][kWide / 16]) const {
        two_chunks<0>(a, wide);
        two_chunks<1>(a, wide);
        two_chunks<2>(a, wide);
        two_chunks<3>(a, wide);
    }

    template <int kStage>
    VINR_DEVICE void two_chunks(const Fragment (&a)[M][4], Fragment (&wide)[M][kWide / 16]) const {
        const SharedTiles tiles = stage(4 + kStage);
        constexpr int first = 2 * kStage;
        this->template chunk<2 * first>(a, tiles, Vectors::kEncode2 + kChunk * first, wide);
        this->template chunk<2 * first + 2>(a, tiles.from(8 * kTile), Vectors::kEncode2 + kChunk * (first + 1), wide);
    }
};

template <typename ThisPass>
VINR_DEVICE void run_pass(const QueryParameters& p) {
    const ThisPass pass(p);
    const unsigned tiles = unsigned(p.images) * unsigned(p.tiles_x) * unsigned(p.tiles_y);
    VINR_NO_UNROLL
    for (unsigned tile = block_x(); tile < tiles; tile = pass.kept_tile() + grid_x()) {
        const WarpPlace at = WarpPlace::of<kWarpsAcross, kWarpsDown, ThisPass::kRows>(p, tile);
        pass.keep(at, tile);
        pass.tile(at);
    }
    pass.stream.finish();
}

template <typename O>
VINR_KERNEL(kThreads, 1)
decode_kernel(const QueryParameters p) {
    run_pass<DecodePass<O>>(p);
}

template <typename O>
VINR_KERNEL(kThreads, 1)
colour_kernel(const QueryParameters p) {
    run_pass<ColourPass<O>>(p);
}

}  // namespace vinr::cuda
