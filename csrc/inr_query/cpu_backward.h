// The query's backward pass; included inside a variant's namespace, after a dense kernel. Activations are recomputed by
// tile. What tiles give to shared places is collected without races and in a fixed order: weights in a fixed number of
// slabs of tiles, maps by owners of channel blocks.
#pragma once

#include "common/cpu/mlp_backward_kernel.h"
#include "inr_query/cpu_forward.h"

using Siren = TrainedNetwork<Activation::kSine>;

constexpr int64_t kChannelBlock = 32;  // channels at most of a map that one task owns

class QueryGradient : public Query {
 public:
    QueryGradient(const QueryParameters<Scalar>& p, const QueryGradients<Scalar>& g)
        : Query(p),
          g(g),
          feat(p.feat, p.omega, true),
          flow(p.flow, p.omega, true),
          encode(p.encode, p.omega, true),
          hr_pair(2 * features),
          d_hr(new Scalar[pixels * features]),
          d_warped(new Scalar[pixels * hr_pair]),
          d_encode(new Scalar[pixels * encode_width]),
          d_feat(new Scalar[pixels * feat_width]),
          d_flow_sum(new Scalar[pixels * flow_width]),
          d_flow(new Scalar[4 * pixels]),
          d_colours(g.d_colours ? new Scalar[pixels * 18] : nullptr),
          feat_sums(feat),
          flow_sums(flow),
          encode_sums(encode) {
        int64_t first = 0;
        for (const int64_t width : {feat_width, flow_width, encode_width, encode_width}) {
            for (int64_t c = 0; c < width; c += kChannelBlock) {
                map_blocks.push_back({first + c, std::min(kChannelBlock, width - c)});
            }
            first += width;
        }
    }

    void run(ParallelFor parallel_for) {
        for (image = 0; image < p.batch; ++image) {
            for (time = 0; time < p.times; ++time) {
                set_time();
                parallel_for(tiles, &tiles_of<&QueryGradient::decode_tile>, static_cast<Query*>(this));
                parallel_for(kSlabs, &tasks_of<&QueryGradient::encode_slab>, this);
                parallel_for((features + kChannelBlock - 1) / kChannelBlock, &tasks_of<&QueryGradient::scatter_hr>,
                             this);
                parallel_for(kSlabs, &tasks_of<&QueryGradient::decode_slab>, this);
                parallel_for(int64_t(map_blocks.size()), &tasks_of<&QueryGradient::scatter_maps>, this);
                if (g.d_colours) scatter_colours();
            }
        }
        Scalar* out = feat_sums.add_to(g.d_weights, parallel_for);
        out = flow_sums.add_to(out, parallel_for);
        encode_sums.add_to(out, parallel_for);
    }

 private:
    template <void (QueryGradient::*kTask)(int64_t)>
    static void tasks_of(int64_t begin, int64_t end, void* context) {
        for (int64_t task = begin; task < end; ++task) (static_cast<QueryGradient*>(context)->*kTask)(task);
    }

    int64_t slab_begin(int64_t slab) const { return slab * tiles / kSlabs; }

    // Rows of planes [channels, pixels] as rows of pixels, zeros in padded columns.
    void load_planes(const Scalar* planes, int64_t channels, int64_t first, int64_t count, Scalar* rows,
                     int64_t stride) const {
        for (int64_t i = 0; i < count; ++i) {
            std::fill(rows + i * stride, rows + i * stride + padded_width(channels), Scalar(0));
            for (int64_t c = 0; c < channels; ++c) rows[i * stride + c] = planes[c * pixels + first + i];
        }
    }

    // Pass 2: gradients of the colour network, of what it samples, and of the flow through the positions.
    void encode_slab(int64_t slab) {
        Siren::Tile s(encode, columns);
        const int64_t F = p.features(), outputs = encode.outputs();
        const Scalar* grad = g.grad_image + (image * p.times + time) * outputs * pixels;
        for (int64_t tile = slab_begin(slab); tile < slab_begin(slab + 1); ++tile) {
            const int64_t first = tile * kTile, count = std::min(kTile, pixels - first);
            for (int64_t i = 0; i < count; ++i) {
                gather_encode_input(first + i, s.start + i * s.columns, s.x + i * s.columns);
            }
            encode.forward(s, count);
            load_planes(grad, outputs, first, count, s.dz, s.columns);
            encode.backward(s, count, now(), true, &encode_sums, slab);
            for (int64_t i = 0; i < count; ++i) {
                const int64_t index = first + i;
                const Scalar *dx = s.other + i * s.columns, *dz = s.dz + i * s.columns;
                std::copy(dz, dz + encode_width, d_encode.get() + index * encode_width);
                for (int64_t end = 0; end < 2; ++end) {
                    Scalar* row = d_warped.get() + index * hr_pair + end * features;
                    std::copy(dx + end * F, dx + (end + 1) * F, row);
                    std::fill(row + F, row + features, Scalar(0));
                    add_flow_gradient(index, end, row, dz, dx + 2 * F + 6 * end);
                }
                if (g.d_colours) std::copy(dx + 2 * F, dx + 2 * F + 12, d_colours.get() + index * 18 + 6);
            }
        }
    }

    // Gradient of the flow of one end: from what was read at the position, and from what follows the op. Never inlined,
    // as gather_encode_input always is.
    __attribute__((noinline)) void add_flow_gradient(int64_t index, int64_t end, const Scalar* d_feature,
                                                     const Scalar* d_start, const Scalar* d_colour) {
        const auto [gy, gx] = warp(index / p.width, index % p.width, end);
        Scalar dgy = 0, dgx = 0;
        const auto add = [&](const Scalar* map, int64_t channels, int64_t height, int64_t width, Scalar n_y, Scalar n_x,
                             const Scalar* d, int64_t count) {
            Scalar dy = 0, dx = 0;
            SlopeReader(map, channels, height, width, ((gy + 1) * n_y - 1) / 2, ((gx + 1) * n_x - 1) / 2)
                .add_slopes(d, count, dy, dx);
            dgy += dy * n_y / 2;
            dgx += dx * n_x / 2;
        };
        const Scalar h = Scalar(p.lr_height), w = Scalar(p.lr_width), u = Scalar(p.upsample);
        add(p.hr, features, p.height, p.width, Scalar(p.height), Scalar(p.width), d_feature, p.features());
        add(map() + feat_width + flow_width + end * encode_width, p.map_channels, p.map_height, p.map_width, h, w,
            d_start, encode_width);
        if (p.colours) {
            add(colour_map(), 8, p.upsample * p.map_height, p.upsample * p.map_width, u * h, u * w, d_colour, 6);
        }
        const int64_t planes = (image * p.times + time) * 4 * pixels;
        for (const bool vertical : {false, true}) {
            const int64_t size = vertical ? p.height : p.width, plane = (2 * end + vertical) * pixels + index;
            const Scalar position = vertical ? gy : gx;
            constexpr Scalar limit = Scalar(1 - 1e-6);
            // The clamp passes the gradient strictly inside; at its ends the flow lies outside but for rounding.
            const bool passes = size > 1 && position > -limit && position < limit;
            const Scalar outer = g.grad_flow ? g.grad_flow[planes + plane] : Scalar(0);
            d_flow[plane] = outer + (passes ? (vertical ? dgy : dgx) / (Scalar(size - 1) / 2) : Scalar(0));
        }
    }

    // add(pixel, row, column) for every output pixel.
    template <typename Add>
    void each_pixel(Add add) const {
        int64_t index = 0;
        for (int64_t row = 0; row < p.height; ++row) {
            for (int64_t column = 0; column < p.width; ++column) add(index++, row, column);
        }
    }

    // One block of channels of the HR feature.
    void scatter_hr(int64_t block) {
        const int64_t c = block * kChannelBlock, channels = std::min(kChannelBlock, features - c);
        each_pixel([&](int64_t index, int64_t, int64_t) {
            std::fill_n(d_hr.get() + index * features + c, channels, Scalar(0));
        });
        for (int64_t end = 0; end < 2; ++end) {
            each_pixel([&](int64_t index, int64_t row, int64_t column) {
                const Warp at = warp(row, column, end);
                add_at_corners(d_warped.get() + index * hr_pair + end * features + c, d_hr.get() + c, features,
                               p.height, p.width, channels, pixel(at.y, p.height), pixel(at.x, p.width));
            });
        }
    }

    // Pass 1: gradients of the flow network, then of the HR feature, then of its network.
    void decode_slab(int64_t slab) {
        Siren::Tile s(feat, columns), f(flow, columns);
        const int64_t F = p.features();
        for (int64_t tile = slab_begin(slab); tile < slab_begin(slab + 1); ++tile) {
            const int64_t first = tile * kTile, count = std::min(kTile, pixels - first);
            for (int64_t i = 0; i < count; ++i) {
                const Place at = place((first + i) / p.width, (first + i) % p.width);
                Scalar* start = s.start + i * s.columns;
                for (int64_t c = 0; c < feat_width; c += Vec::width) feat_sum(at, c).store(start + c);
                const Scalar relative[2] = {at.rel_y, at.rel_x};
                copy_operands(relative, 2, s.x + i * s.columns);
                copy_operands(p.hr + (first + i) * features, F, f.x + i * f.columns);
                gather_flow_input(at, f.start + i * f.columns, f.x + i * f.columns);
            }
            flow.forward(f, count);
            load_planes(d_flow.get(), 4, first, count, f.dz, f.columns);
            flow.backward(f, count, now(), true, &flow_sums, slab);
            feat.forward(s, count, true);
            for (int64_t i = 0; i < count; ++i) {
                const int64_t index = first + i;
                const Scalar *dx = f.other + i * f.columns, *warped = d_hr.get() + index * features;
                Scalar* dz = s.dz + i * s.columns;
                for (int64_t c = 0; c < F; ++c) dz[c] = dx[c] + warped[c];
                std::fill(dz + F, dz + features, Scalar(0));
                std::copy_n(f.dz + i * f.columns, flow_width, d_flow_sum.get() + index * flow_width);
                if (g.d_colours) std::copy(dx + F, dx + F + 6, d_colours.get() + index * 18);
            }
            feat.backward(s, count, now(), false, &feat_sums, slab);
            for (int64_t i = 0; i < count; ++i) {
                std::copy_n(s.dz + i * s.columns, feat_width, d_feat.get() + (first + i) * feat_width);
            }
        }
    }

    // One block of channels of the four maps, side by side: feat nearest, flow, encode at A and at B.
    void scatter_maps(int64_t task) {
        const auto [channel, channels] = map_blocks[task];
        Scalar* to = g.d_maps + image * p.map_height * p.map_width * p.map_channels + channel;
        const auto add = [&, channels = channels](const Scalar* d, Scalar y, Scalar x) {
            add_at_corners(d, to, p.map_channels, p.map_height, p.map_width, channels, y, x);
        };
        const int64_t after_feat = channel - feat_width, after_flow = after_feat - flow_width;
        if (after_feat < 0) {
            each_pixel([&, channel = channel, channels = channels](int64_t index, int64_t row, int64_t column) {
                Scalar* nearest = to + (place(row, column).nearest - map());
                const Scalar* d = d_feat.get() + index * feat_width + channel;
                for (int64_t k = 0; k < channels; k += Vec::width)
                    (Vec::load(nearest + k) + Vec::load(d + k)).store(nearest + k);
            });
        } else if (after_flow < 0) {
            each_pixel([&](int64_t index, int64_t row, int64_t column) {
                const Place at = place(row, column);
                add(d_flow_sum.get() + index * flow_width + after_feat, at.y, at.x);
            });
        } else {
            const int64_t end = after_flow / encode_width, c = after_flow % encode_width;
            each_pixel([&](int64_t index, int64_t row, int64_t column) {
                const Warp at = warp(row, column, end);
                add(d_encode.get() + index * encode_width + c, pixel(at.y, p.lr_height), pixel(at.x, p.lr_width));
            });
        }
    }

    void scatter_colours() {
        const int64_t height = p.upsample * p.map_height, width = p.upsample * p.map_width;
        Scalar* to = g.d_colours + image * height * width * 8;
        Corners<Scalar> corners;
        const auto add = [&](Scalar y, Scalar x, const Scalar* d) {
            bilinear_corners(y, x, height, width, width * 8, int64_t(8), corners);
            for (int k = 0; k < 4; ++k) {
                if (!corners.inside[k]) continue;
                for (int64_t c = 0; c < 6; ++c) to[corners.offset[k] + c] += corners.weight[k] * d[c];
            }
        };
        each_pixel([&](int64_t index, int64_t row, int64_t column) {
            const Scalar* d = d_colours.get() + index * 18;
            const Place at = place(row, column);
            add(fine(at.y), fine(at.x), d);
            for (int64_t end = 0; end < 2; ++end) {
                const Warp moved = warp(row, column, end);
                add(pixel(moved.y, p.upsample * p.lr_height), pixel(moved.x, p.upsample * p.lr_width), d + 6 + 6 * end);
            }
        });
    }

    struct Block {
        int64_t channel, channels;
    };

    const QueryGradients<Scalar>& g;
    Siren feat, flow, encode;
    int64_t hr_pair;
    // Of one image at one time: gradients of the HR feature, of what pass 2 reads of it, of the sums that the first
    // layers' maps feed, of the flow [4, pixels], and of colours as flow, encode at A and at B read them.
    std::unique_ptr<Scalar[]> d_hr, d_warped, d_encode, d_feat, d_flow_sum, d_flow, d_colours;
    Siren::Slabs feat_sums, flow_sums, encode_sums;
    std::vector<Block> map_blocks;  // what tasks own of the maps' channels
};

void inr_query_backward(const QueryParameters<Scalar>& parameters, const QueryGradients<Scalar>& gradients,
                        ParallelFor parallel_for) {
    QueryGradient(parameters, gradients).run(parallel_for);
}
