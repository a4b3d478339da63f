// The two passes of the query at any widths and depths: slower than inr_query_published.cuh. A warp takes 8 x 2 pixels
// through the layers, activations in shared memory in float, packed weights straight from global memory.
#pragma once

#include "inr_query/cuda_sampling.cuh"

namespace vinr::cuda {

constexpr int kAnyMaxWarps = 4;
constexpr int kAnyRows = 16;

// A layer with its widths padded; of a first layer, `inputs` are those of the product.
struct PackedLayer {
    const unsigned char* tiles;
    const float* bias;
    int inputs, outputs;
};

struct PackedNetwork {
    PackedLayer layer[kMaxLayers];
    int layers;
    const float* time;  // the first layer's column of it
};

struct AnyWidthParameters {
    QueryParameters query;
    PackedNetwork feat, flow, encode;
    const float* rel_y;
    const float* rel_x;
    int features, padded_features;
    int stride;  // of a row of activations, in floats
    int warps;   // of a block
};

struct alignas(8) FloatPair {
    float first, second;
};

template <typename O>
struct AnyWidth {
    using Stored = typename O::Stored;
    using Rows = Shared<float>;  // [16, stride]

    const AnyWidthParameters& p;
    const WarpPlace at;
    const float now;
    Rows in, out;

    VINR_DEVICE AnyWidth(const AnyWidthParameters& p, const WarpPlace& at)
        : p(p),
          at(at),
          now(at.now(p.query)),
          in(dynamic_shared<float>() + 2 * warp() * kAnyRows * p.stride),
          out(in + kAnyRows * p.stride) {}

    // Of row r: pixel (r / 8, r % 8) of the warp's rectangle, inside the image.
    VINR_DEVICE int y_of(int r) const { return at.row(p.query, r >> 3); }
    VINR_DEVICE int x_of(int r) const { return at.column(p.query, r & 7); }
    VINR_DEVICE int64_t pixel_of(int r) const { return int64_t(y_of(r)) * p.query.output.width + x_of(r); }
    VINR_DEVICE bool holds(int r) const { return at.holds(p.query, r >> 3, r & 7); }

    VINR_DEVICE FloatPair pair(Rows rows, int r, int column) const {
        return load_shared<FloatPair>(rows + (r * p.stride + column));
    }

    VINR_DEVICE typename O::Fragment fragment(Rows rows, int k) const {
        typename O::Fragment a;
        VINR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const int r = lane_row() + 8 * half, column = 16 * k + 2 * lane_column();
            const FloatPair low = pair(rows, r, column), high = pair(rows, r, column + 8);
            O::set_row(a, half, low.first, low.second, high.first, high.second);
        }
        return a;
    }

    // out = sine(start + in w) of one layer, or without the sine; `start` gives a column's sums of a row, two at a
    // time.
    template <typename Start>
    VINR_DEVICE void dense(const PackedLayer& layer, bool sine, Start start) const {
        const int columns = layer.outputs / 16, rows = layer.inputs / 16;
        for (int n = 0; n < columns; ++n) {
            float z[1][2][4];
            VINR_UNROLL
            for (int part = 0; part < 4; ++part) {  // row half, column half
                const int column = 16 * n + 8 * (part & 1) + 2 * lane_column();
                const FloatPair v = start(part >> 1, column);
                z[0][part & 1][part & 2] = v.first, z[0][part & 1][(part & 2) + 1] = v.second;
            }
            for (int k = 0; k < rows; ++k) {
                const typename O::Fragment a[1][1] = {{fragment(in, k)}};
                const GlobalTiles tiles = {layer.tiles};
                O::template multiply<1, 1>(z, a, tiles.from((int64_t(k) * columns + n) * O::kTileBytes));
            }
            VINR_UNROLL
            for (int part = 0; part < 4; ++part) {
                FloatPair v = {z[0][part & 1][part & 2], z[0][part & 1][(part & 2) + 1]};
                if (sine) v = {O::Sine::of(v.first), O::Sine::of(v.second)};
                const int r = lane_row() + 4 * (part & 2), column = 16 * n + 8 * (part & 1) + 2 * lane_column();
                store_shared(out + (r * p.stride + column), v);
            }
        }
        warp_barrier();
    }

    VINR_DEVICE void swap() {
        const Rows before = in;
        in = out;
        out = before;
    }

    // The layers after the first; the result is in `in`.
    VINR_DEVICE void tail(const PackedNetwork& network) {
        swap();
        for (int l = 1; l < network.layers; ++l) {
            const PackedLayer& layer = network.layer[l];
            dense(layer, l + 1 < network.layers,
                  [&](int, int column) { return load(reinterpret_cast<const FloatPair*>(layer.bias + column)); });
            swap();
        }
    }

    VINR_DEVICE FloatPair start_at_time(const PackedNetwork& network, int column) const {
        const FloatPair b = load(reinterpret_cast<const FloatPair*>(network.layer[0].bias + column));
        const FloatPair w = load(reinterpret_cast<const FloatPair*>(network.time + column));
        return {fmaf(w.first, now, b.first), fmaf(w.second, now, b.second)};
    }

    // `sum` and the sample of two channels of the maps at `corners`, times the phase's unit.
    VINR_DEVICE FloatPair add_map(FloatPair sum, int channel, const Corners& corners) const {
        if (corners.outside()) return sum;
        const QueryArguments& q = p.query.arguments;
        const CornerPointers<float> from(at.maps(p.query) + channel, nullptr, uint32_t(q.map_channels), q.map_width,
                                         corners.place);
        VINR_UNROLL
        for (int k = 0; k < 4; ++k) {
            const FloatPair v = load(reinterpret_cast<const FloatPair*>(from.at(k)));
            const float weight = corners.weight[k] * p.query.unit;
            sum = {fmaf(v.first, weight, sum.first), fmaf(v.second, weight, sum.second)};
        }
        return sum;
    }

    // Six colours at each row's corners, which lanes 0 to 15 hold, from `column` of `in` on.
    VINR_DEVICE void gather_colours(const Corners& own, int column) const {
        for (int r = lane() >> 3; r < kAnyRows; r += 4) {
            const Corners corners = shuffle(own, r);
            const int c = lane() & 7;
            if (c >= 6) continue;
            const CornerPointers<float> from(at.colours(p.query) + c, nullptr, 8, p.query.colours.width, corners.place);
            float v = 0;
            VINR_UNROLL
            for (int k = 0; k < 4 && !corners.outside(); ++k) v = fmaf(load(from.at(k)), corners.weight[k], v);
            in[r * p.stride + column + c] = v;
        }
    }

    VINR_DEVICE void zero_columns(int begin, int end) const {
        for (int c = begin + (lane() >> 4); c < end; c += 2) in[(lane() & 15) * p.stride + c] = 0.0f;
    }

    // Columns of `in` as planes of an image.
    VINR_DEVICE void store_planes(float* image, int planes) const {
        const int r = lane() & 15;
        for (int plane = lane() >> 4; plane < planes; plane += 2) {
            if (holds(r)) store(image + plane * p.query.pixels + pixel_of(r), float(in[r * p.stride + plane]));
        }
    }

    VINR_DEVICE Stored* hr() const {
        return static_cast<Stored*>(p.query.hr) + at.image * p.query.pixels * p.padded_features;
    }
    VINR_DEVICE float* flows() const {
        return p.query.arguments.flows + (p.query.first_image + at.image) * (4 * p.query.pixels);
    }

    VINR_DEVICE void decode() {
        const QueryArguments& q = p.query.arguments;
        const AxisPlace y = axis_place(y_of(lane() & 15), q.lr_height, q.height);
        const AxisPlace x = axis_place(x_of(lane() & 15), q.lr_width, q.width);
        AxisPlace ys[2], xs[2];
        VINR_UNROLL
        for (int half = 0; half < 2; ++half) {
            ys[half] = shuffle(y, lane_row() + 8 * half);
            xs[half] = shuffle(x, lane_row() + 8 * half);
        }
        dense(p.feat.layer[0], true, [&](int half, int column) {
            FloatPair sum = start_at_time(p.feat, column);
            const FloatPair wy = load(reinterpret_cast<const FloatPair*>(p.rel_y + column));
            const FloatPair wx = load(reinterpret_cast<const FloatPair*>(p.rel_x + column));
            sum = {fmaf(wx.first, xs[half].relative, sum.first), fmaf(wx.second, xs[half].relative, sum.second)};
            sum = {fmaf(wy.first, ys[half].relative, sum.first), fmaf(wy.second, ys[half].relative, sum.second)};
            const int64_t pixel = int64_t(ys[half].nearest) * q.map_width + xs[half].nearest;
            const float* map = at.maps(p.query) + pixel * q.map_channels;
            const FloatPair v = load(reinterpret_cast<const FloatPair*>(map + column));
            return FloatPair{fmaf(v.first, p.query.unit, sum.first), fmaf(v.second, p.query.unit, sum.second)};
        });
        tail(p.feat);
        for (int c = lane() >> 4; c < p.padded_features; c += 2) {
            const int r = lane() & 15;
            const Stored value = O::packed(in[r * p.stride + c]);
            if (holds(r)) store(hr() + pixel_of(r) * p.padded_features + c, value);
        }
        warp_barrier();
        const int sampled = q.colours ? 6 : 0;
        if (q.colours) {
            const Corners own =
                corners_at(fine(y.position(), q.upsample), fine(x.position(), q.upsample), p.query.colours);
            gather_colours(own, p.features);
        }
        zero_columns(p.features + sampled, p.flow.layer[0].inputs);
        warp_barrier();
        const Corners own = corners_at(y.position(), x.position(), p.query.maps);
        const Corners corners[2] = {shuffle(own, lane_row()), shuffle(own, lane_row() + 8)};
        const int first_channel = p.feat.layer[0].outputs;
        dense(p.flow.layer[0], true, [&](int half, int column) {
            return add_map(start_at_time(p.flow, column), first_channel + column, corners[half]);
        });
        tail(p.flow);
        store_planes(flows(), 4);
    }

    VINR_DEVICE void colour() {
        const QueryParameters& q = p.query;
        const int r = lane() & 15;
        const float* flow = flows() + pixel_of(r);
        Corners corners[2][2];
        VINR_UNROLL
        for (int end = 0; end < 2; ++end) {
            const float gx = warped(x_of(r), q.last_column, load(flow + (2 * end) * q.pixels));
            const float gy = warped(y_of(r), q.last_row, load(flow + (2 * end + 1) * q.pixels));
            gather_hr(corners_at(to_pixel(gy, q.output.float_height), to_pixel(gx, q.output.float_width), q.output),
                      end * p.features);
            if (q.arguments.colours) {
                gather_colours(corners_at(to_pixel(gy, q.fine_height), to_pixel(gx, q.fine_width), q.colours),
                               2 * p.features + 6 * end);
            }
            const Corners own = corners_at(to_pixel(gy, q.lr_height), to_pixel(gx, q.lr_width), q.maps);
            VINR_UNROLL
            for (int half = 0; half < 2; ++half) corners[end][half] = shuffle(own, lane_row() + 8 * half);
        }
        zero_columns(2 * p.features + (q.arguments.colours ? 12 : 0), p.encode.layer[0].inputs);
        warp_barrier();
        const int width = p.encode.layer[0].outputs;
        const int first_channel = p.feat.layer[0].outputs + p.flow.layer[0].outputs;
        dense(p.encode.layer[0], true, [&](int half, int column) {
            const FloatPair sum = add_map(start_at_time(p.encode, column), first_channel + column, corners[0][half]);
            return add_map(sum, first_channel + width + column, corners[1][half]);
        });
        tail(p.encode);
        const int outputs = q.arguments.encode.last().outputs;
        store_planes(q.arguments.image + (q.first_image + at.image) * (outputs * q.pixels), outputs);
    }

    // The HR feature at each row's corners, which lanes 0 to 15 hold, from `column` of `in` on.
    VINR_DEVICE void gather_hr(const Corners& own, int column) const {
        for (int r = 0; r < kAnyRows; ++r) {
            const Corners corners = shuffle(own, r);
            const CornerPointers<Stored> from(hr(), nullptr, uint32_t(p.padded_features), p.query.output.width,
                                              corners.place);
            for (int c = lane(); c < p.features; c += kWarp) {
                float v = 0;
                VINR_UNROLL
                for (int k = 0; k < 4 && !corners.outside(); ++k)
                    v = fmaf(to_float(load(from.at(k) + c)), corners.weight[k], v);
                in[r * p.stride + column + c] = v;
            }
        }
    }
};

// One tile a block: a row of warps, as many as the block has.
template <typename O, bool kDecode>
VINR_DEVICE void run_any_width(const AnyWidthParameters& p) {
    const unsigned row = block_x() / unsigned(p.query.tiles_x), image = row / unsigned(p.query.tiles_y);
    const WarpPlace block = {int(image), int(row - image * unsigned(p.query.tiles_y)) * 2,
                             int(block_x() - row * unsigned(p.query.tiles_x)) * 8 * p.warps};
    const WarpPlace at = {block.image, block.y0, block.x0 + 8 * warp()};
    AnyWidth<O> pass(p, at);
    if constexpr (kDecode) {
        pass.decode();
    } else {
        pass.colour();
    }
}

template <typename O>
VINR_KERNEL(kAnyMaxWarps* kWarp, 1)
decode_any_width_kernel(const AnyWidthParameters p) {
    run_any_width<O, true>(p);
}

template <typename O>
VINR_KERNEL(kAnyMaxWarps* kWarp, 1)
colour_any_width_kernel(const AnyWidthParameters p) {
    run_any_width<O, false>(p);
}

}  // namespace vinr::cuda
