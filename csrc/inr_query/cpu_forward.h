// The two passes of the query over tiles of output pixels; included inside a variant's namespace, after one of
// the dense kernels. A tile has kTile pixels, as the dense layers want it. Pass 1: nearest maps, relative position,
// time -> HR feature -> flow. Pass 2: warp -> colour. Between them only the HR feature and the flow touch memory.
#pragma once

#include "common/cpu/mlp_kernel.h"
#include "common/cpu/sample_kernel.h"

// bias + t * (the last column of the first layer's weight), padded: the first layer's start for one time.
inline std::vector<Scalar> bias_at_time(const LayerView<Scalar>& layer, Scalar t) {
    std::vector<Scalar> start(padded_width(layer.outputs), Scalar(0));
    for (int64_t o = 0; o < layer.outputs; ++o) {
        start[o] = layer.bias[o] + t * layer.weight[o * layer.inputs + layer.inputs - 1];
    }
    return start;
}

inline std::vector<Scalar> padded_column(const LayerView<Scalar>& layer, int64_t column) {
    std::vector<Scalar> out(padded_width(layer.outputs), Scalar(0));
    for (int64_t o = 0; o < layer.outputs; ++o) out[o] = layer.weight[o * layer.inputs + column];
    return out;
}

// Stores a tile's sums in planes: `rows` numbers of each of the first columns, planes `stride` apart.
struct ToPlanes {
    Scalar* out;
    int64_t stride, rows, columns;

    void operator()(Vec z, int64_t row, int64_t column) const {
        if (row >= rows) return;
        Scalar lanes[Vec::width];
        z.store(lanes);
        for (int64_t c = column; c < std::min(columns, column + Vec::width); ++c) {
            out[c * stride + row] = lanes[c - column];
        }
    }
};

class Query {
 public:
    explicit Query(const QueryParameters<Scalar>& p)
        : p(p),
          flow_first(pack_layer(p.flow[0], 0, p.flow[0].inputs - 1)),
          encode_first(pack_layer(p.encode[0], 0, p.encode[0].inputs - 1)),
          feat_tail(p.feat, p.omega),
          flow_tail(p.flow, p.omega),
          encode_tail(p.encode, p.omega),
          rel_y(padded_column(p.feat[0], 0)),
          rel_x(padded_column(p.feat[0], 1)),
          features(padded_width(p.features())),
          feat_width(padded_width(p.feat[0].outputs)),
          flow_width(padded_width(p.flow[0].outputs)),
          encode_width(padded_width(p.encode[0].outputs)),
          pixels(p.height * p.width),
          tiles((pixels + kTile - 1) / kTile) {
        columns = 2 * features + 16;
        for (const auto* layers : {&p.feat, &p.flow, &p.encode}) {
            for (const auto& layer : *layers) columns = std::max(columns, padded_width(layer.outputs));
        }
        zeros.resize(columns, Scalar(0));
    }

    void run(ParallelFor parallel_for) {
        for (image = 0; image < p.batch; ++image) {
            for (time = 0; time < p.times; ++time) {
                set_time();
                parallel_for(tiles, &tiles_of<&Query::decode_tile>, this);
                parallel_for(tiles, &tiles_of<&Query::colour_tile>, this);
            }
        }
    }

 protected:
    template <void (Query::*kTileBody)(int64_t, int64_t, Scratch&) const>
    static void tiles_of(int64_t begin, int64_t end, void* context) {
        const auto& query = *static_cast<const Query*>(context);
        Scratch scratch(query.columns);
        [[maybe_unused]] const DenseScope scope;
        for (int64_t tile = begin; tile < end; ++tile) {
            const int64_t first = tile * kTile;
            (query.*kTileBody)(first, std::min(kTile, query.pixels - first), scratch);
        }
    }

    Scalar now() const { return p.time[time * p.batch + image]; }

    void set_time() {
        feat_start = bias_at_time(p.feat[0], now());
        flow_start = bias_at_time(p.flow[0], now());
        encode_start = bias_at_time(p.encode[0], now());
    }

    const Scalar* map() const { return p.maps + image * p.map_height * p.map_width * p.map_channels; }
    const Scalar* colour_map() const {
        return p.colours + image * p.map_height * p.map_width * p.upsample * p.upsample * 8;
    }

    Reader read_map(int64_t first_channel, Scalar y, Scalar x) const {
        return Reader(map() + first_channel, zeros.data(), p.map_channels, p.map_height, p.map_width, y, x);
    }

    // Six colours and two zeros at a position of the upsampled frames.
    void read_colours(Scalar y, Scalar x, Scalar* out) const {
        const Reader reader(colour_map(), zeros.data(), 8, p.upsample * p.map_height, p.upsample * p.map_width, y, x);
        for (int64_t c = 0; c < 8; c += HalfVec::width) reader.at<HalfVec>(c).store(out + c);
    }

    // Where an output pixel falls in the low-resolution maps.
    struct Place {
        const Scalar* nearest;  // the map pixel that holds its centre
        Scalar rel_y, rel_x;    // distance from that pixel's centre, in half pixels
        Scalar y, x;            // the same place in map pixels
    };

    Place place(int64_t row, int64_t column) const {
        const int64_t ny = (2 * row + 1) * p.lr_height, nx = (2 * column + 1) * p.lr_width;
        const int64_t ky = ny / (2 * p.height), kx = nx / (2 * p.width);
        const Scalar ry = Scalar(ny - (2 * ky + 1) * p.height) / Scalar(p.height);
        const Scalar rx = Scalar(nx - (2 * kx + 1) * p.width) / Scalar(p.width);
        return {map() + (ky * p.map_width + kx) * p.map_channels, ry, rx, Scalar(ky) + ry / 2, Scalar(kx) + rx / 2};
    }

    // A coordinate of the maps in the upsampled colours.
    Scalar fine(Scalar coordinate) const {
        const Scalar u = Scalar(p.upsample);
        return u * (coordinate + Scalar(0.5)) - Scalar(0.5);
    }

    // The start of the flow network's first layer, and the colours behind the HR feature in its input.
    void gather_flow_input(const Place& at, Scalar* start, Operand* x) const {
        const Reader coarse = read_map(feat_width, at.y, at.x);
        for (int64_t c = 0; c < flow_width; c += Vec::width) {
            (coarse.at(c) + Vec::load(flow_start.data() + c)).store(start + c);
        }
        if (!p.colours) return;
        Scalar colours[8];
        read_colours(fine(at.y), fine(at.x), colours);
        copy_operands(colours, 6, x + p.features());
    }

    // Of the first layer of feat, for a vector of channels. Always inlined, see gather_encode_input.
    __attribute__((always_inline)) Vec feat_sum(const Place& at, int64_t c) const {
        const Vec z = Vec::load(at.nearest + c) + Vec::load(feat_start.data() + c);
        return fma(Vec::set1(at.rel_x), Vec::load(rel_x.data() + c),
                   fma(Vec::set1(at.rel_y), Vec::load(rel_y.data() + c), z));
    }

    // Pass 1.
    void decode_tile(int64_t first, int64_t count, Scratch& s) const {
        const Vec half_turns = half_turns_of(p.omega);
        Place places[kTile];
        for (int64_t i = 0; i < count; ++i) {
            const Place& at = places[i] = place((first + i) / p.width, (first + i) % p.width);
            Operand* hidden = s.a + i * s.columns;
            for (int64_t c = 0; c < feat_width; c += Vec::width)
                store_operands(sine_half_turns(feat_sum(at, c) * half_turns), hidden + c);
        }
        feat_tail.run(count, s.a, s.b, s.columns, [&](Vec z, int64_t row, int64_t column) {
            store_operands(z, s.x + row * s.columns + column);
            if (row < count) z.store(p.hr + (first + row) * features + column);
        });
        // After the HR feature, whose padding may reach over where colours go.
        for (int64_t i = 0; i < count; ++i) {
            gather_flow_input(places[i], s.start + i * s.columns, s.x + i * s.columns);
        }
        dense<Activation::kSine>(flow_first, count, s.x, s.columns, s.start, s.columns, s.a, s.columns, p.omega);
        flow_tail.run(count, s.a, s.b, s.columns, ToPlanes{flow_planes() + first, pixels, count, 4});
    }

    Scalar* flow_planes() const { return p.flows + (image * p.times + time) * 4 * pixels; }

    // Normalised position that the flow moves an output pixel to, for end A (0) or B (1).
    struct Warp {
        Scalar y, x;
    };

    Warp warp(int64_t row, int64_t column, int64_t end) const {
        const Scalar* flow = flow_planes() + 2 * end * pixels + row * p.width + column;
        return {warped(row, p.height, flow[pixels]), warped(column, p.width, flow[0])};
    }

    Reader read_hr(Scalar gy, Scalar gx) const {
        return Reader(p.hr, zeros.data(), features, p.height, p.width, pixel(gy, p.height), pixel(gx, p.width));
    }
    Reader read_warped_map(int64_t end, Scalar gy, Scalar gx) const {
        return read_map(feat_width + flow_width + end * encode_width, pixel(gy, p.lr_height), pixel(gx, p.lr_width));
    }

    // The start of the colour network's first layer, and its input. Always inlined: how the compiler joins products and
    // sums, and so the last bit, depends on it.
    __attribute__((always_inline)) void gather_encode_input(int64_t pixel_index, Scalar* start, Operand* x) const {
        Scalar colours[14];  // the second six over the zeros behind the first
        const int64_t row = pixel_index / p.width, column = pixel_index % p.width;
        for (int64_t c = 0; c < encode_width; c += Vec::width) Vec::load(encode_start.data() + c).store(start + c);
        for (int64_t end = 0; end < 2; ++end) {
            const auto [gy, gx] = warp(row, column, end);
            const Reader hr = read_hr(gy, gx);
            for (int64_t c = 0; c < features; c += Vec::width) store_operands(hr.at(c), x + end * p.features() + c);
            const Reader coarse = read_warped_map(end, gy, gx);
            for (int64_t c = 0; c < encode_width; c += Vec::width)
                (coarse.at(c) + Vec::load(start + c)).store(start + c);
            if (p.colours) {
                read_colours(pixel(gy, p.upsample * p.lr_height), pixel(gx, p.upsample * p.lr_width),
                             colours + 6 * end);
            }
        }
        // After both features, whose padding may reach over where colours go.
        if (p.colours) copy_operands(colours, 12, x + 2 * p.features());
    }

    // Pass 2.
    void colour_tile(int64_t first, int64_t count, Scratch& s) const {
        for (int64_t i = 0; i < count; ++i) {
            gather_encode_input(first + i, s.start + i * s.columns, s.x + i * s.columns);
        }
        dense<Activation::kSine>(encode_first, count, s.x, s.columns, s.start, s.columns, s.a, s.columns, p.omega);
        const int64_t outputs = p.encode.back().outputs;
        Scalar* colour = p.image + (image * p.times + time) * outputs * pixels;
        encode_tail.run(count, s.a, s.b, s.columns, ToPlanes{colour + first, pixels, count, outputs});
    }

    // Normalised position of output pixel `index` moved by `flow` output pixels; NaN stays NaN.
    static Scalar warped(int64_t index, int64_t size, Scalar flow) {
        constexpr Scalar limit = Scalar(1 - 1e-6);
        const Scalar g =
            size == 1 ? Scalar(-1) : Scalar(-1) + Scalar(2 * index) / Scalar(size - 1) + flow / (Scalar(size - 1) / 2);
        return g < -limit ? -limit : (g > limit ? limit : g);
    }

    // Normalised coordinates to pixels of an axis of `size`, as align_corners=False has them.
    static Scalar pixel(Scalar g, int64_t size) { return ((g + 1) * Scalar(size) - 1) / 2; }

    const QueryParameters<Scalar>& p;
    PackedLayer flow_first, encode_first;
    PackedTail<Activation::kSine> feat_tail, flow_tail, encode_tail;
    std::vector<Scalar> rel_y, rel_x;
    int64_t features, feat_width, flow_width, encode_width;  // padded
    int64_t pixels, tiles, columns = 0;
    int64_t image = 0, time = 0;
    std::vector<Scalar> feat_start, flow_start, encode_start;
    std::vector<Scalar> zeros;  // what is read outside maps
};

void inr_query(const QueryParameters<Scalar>& parameters, ParallelFor parallel_for) {
    Query(parameters).run(parallel_for);
}
