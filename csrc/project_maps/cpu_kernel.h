// Maps, joined in mind, times a weight, and the gradients; included inside a variant's namespace, after
// dense_kernel.h. Which numbers are added and in which order follows from
// the shape alone: a product's sum runs over the channels in turn, that of the weight's gradient over the pixels of a
// slab of tiles in turn, then over the slabs.
#pragma once

#include "common/cpu/activation_kernel.h"
#include "common/cpu/outer_kernel.h"
#include "common/cpu/transpose_kernel.h"

class MapProjection {
 public:
    explicit MapProjection(const ProjectMapsParameters<Scalar>& p)
        : p(p),
          image_tiles((p.pixels + kTile - 1) / kTile),
          tiles(p.batch * image_tiles),
          width(padded_width(p.outputs)),
          columns(apart(p.inputs + kBlockRows)),
          out_columns(apart(width)) {}

 protected:
    // Pixels of one image.
    struct Tile {
        int64_t image, first, count;
        int64_t row;  // of the first pixel, over all images
    };

    Tile tile(int64_t index) const {
        const int64_t image = index / image_tiles, first = index % image_tiles * kTile;
        return {image, first, std::min(kTile, p.pixels - first), image * p.pixels + first};
    }

    // Columns of a buffer for rows of `least` numbers. Rows a multiple of 256 bytes apart would crowd a few sets of the
    // cache.
    static int64_t apart(int64_t least) {
        const int64_t padded = padded_width(least);
        return padded % 64 == 0 ? padded + kWidthMultiple : padded;
    }

    // The maps' channels of a tile's pixels side by side, in rows `columns` apart.
    void gather(const Tile& t, Scalar* rows) const {
        for (const auto& map : p.maps) {
            const Scalar* from = map.data + t.image * map.image_stride + t.first * map.pixel_stride;
            if (map.channel_stride == 1) {
                for (int64_t i = 0; i < t.count; ++i) {
                    std::copy_n(from + i * map.pixel_stride, map.channels, rows + i * columns);
                }
            } else if (map.pixel_stride == 1) {
                transpose(from, map.channel_stride, map.channels, t.count, rows, columns);
            } else {
                for (int64_t i = 0; i < t.count; ++i) {
                    for (int64_t c = 0; c < map.channels; ++c) {
                        rows[i * columns + c] = from[i * map.pixel_stride + c * map.channel_stride];
                    }
                }
            }
            rows += map.channels;
        }
    }

    const ProjectMapsParameters<Scalar>& p;
    int64_t image_tiles, tiles;
    int64_t width;                 // padded outputs
    int64_t columns, out_columns;  // of a tile's inputs, and of its outputs
};

class MapProjectionForward : MapProjection {
 public:
    explicit MapProjectionForward(const ProjectMapsParameters<Scalar>& p)
        : MapProjection(p),
          zeros(p.outputs, Scalar(0)),
          layer(pack_layer({p.inputs, p.outputs, p.weight, zeros.data()}, 0, p.inputs)) {}

    void run(ParallelFor parallel_for) { parallel_for(tiles, &tiles_of, this); }

 private:
    static void tiles_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const MapProjectionForward*>(context);
        LineVector<Scalar> x(kTile * self.columns, Scalar(0)), sums(kTile * self.out_columns);
        for (int64_t index = begin; index < end; ++index) self.project(self.tile(index), x.data(), sums.data());
    }

    void project(const Tile& t, Scalar* x, Scalar* sums) const {
        gather(t, x);
        Scalar* out = p.out + t.row * p.outputs;
        const auto product = [&](Scalar* to, int64_t stride) {
            dense<Activation::kNone>(layer, t.count, x, columns, layer.bias.data(), 0, to, stride, Scalar(0));
        };
        if (t.count == kTile && p.outputs == width) return product(out, width);
        product(sums, out_columns);  // which has room for whole blocks
        for (int64_t i = 0; i < t.count; ++i) std::copy_n(sums + i * out_columns, p.outputs, out + i * p.outputs);
    }

    std::vector<Scalar> zeros;
    PackedLayer layer;
};

class MapProjectionBackward : MapProjection {
 public:
    MapProjectionBackward(const ProjectMapsParameters<Scalar>& p, const ProjectMapsGradients<Scalar>& g)
        : MapProjection(p), g(g) {
        int64_t channel = 0;
        std::vector<Scalar> transposed;  // [channels of the maps that want gradients, outputs]
        for (size_t m = 0; m < p.maps.size(); channel += p.maps[m++].channels) {
            if (!g.maps[m]) continue;
            const size_t end = transposed.size();
            transposed.resize(end + p.maps[m].channels * p.outputs);
            transpose(p.weight + channel, p.inputs, p.outputs, p.maps[m].channels, transposed.data() + end, p.outputs);
            wanted += p.maps[m].channels;
        }
        const std::vector<Scalar> zeros(wanted, Scalar(0));
        layer = pack_layer({p.outputs, wanted, transposed.data(), zeros.data()}, 0, p.outputs);
        if (g.weight) sums.resize((p.inputs + kBlockRows) * width);
    }

    void run(ParallelFor parallel_for) {
        if (wanted > 0) parallel_for(tiles, &ranges_of<&MapProjectionBackward::grad_maps>, this);
        if (!g.weight) return;
        parallel_for(kSlabs, &ranges_of<&MapProjectionBackward::grad_weight>, this);
        transpose(sums.add(parallel_for), width, p.inputs, p.outputs, g.weight, p.inputs);
    }

 private:
    template <void (MapProjectionBackward::*kRange)(int64_t, int64_t)>
    static void ranges_of(int64_t begin, int64_t end, void* context) {
        (static_cast<MapProjectionBackward*>(context)->*kRange)(begin, end);
    }

    // grad_output of a tile, in rows `out_columns` apart; zeros behind the last output.
    void load_gradient(const Tile& t, Scalar* rows) const {
        for (int64_t i = 0; i < t.count; ++i) {
            std::copy_n(g.grad_output + (t.row + i) * p.outputs, p.outputs, rows + i * out_columns);
        }
    }

    void grad_maps(int64_t begin, int64_t end) {
        const int64_t d_columns = apart(wanted);
        LineVector<Scalar> dz(kTile * out_columns, Scalar(0)), dx(kTile * d_columns);
        for (int64_t index = begin; index < end; ++index) {
            const Tile t = tile(index);
            load_gradient(t, dz.data());
            dense<Activation::kNone>(layer, t.count, dz.data(), out_columns, layer.bias.data(), 0, dx.data(), d_columns,
                                     Scalar(0));
            const Scalar* from = dx.data();
            for (size_t m = 0; m < p.maps.size(); ++m) {
                if (!g.maps[m]) continue;
                const int64_t channels = p.maps[m].channels;
                for (int64_t i = 0; i < t.count; ++i) {
                    std::copy_n(from + i * d_columns, channels, g.maps[m] + (t.row + i) * channels);
                }
                from += channels;
            }
        }
    }

    // Inlined, it runs 5 % longer on AVX2.
    __attribute__((noinline)) void grad_weight(int64_t begin, int64_t end) {
        LineVector<Scalar> x(kTile * columns, Scalar(0)), dz(kTile * out_columns, Scalar(0));
        for (int64_t slab = begin; slab < end; ++slab) {
            for (int64_t index = slab * tiles / kSlabs; index < (slab + 1) * tiles / kSlabs; ++index) {
                const Tile t = tile(index);
                gather(t, x.data());
                load_gradient(t, dz.data());
                add_outer(x.data(), columns, p.inputs, dz.data(), out_columns, width, t.count, sums.of(slab));
            }
        }
    }

    const ProjectMapsGradients<Scalar>& g;
    int64_t wanted = 0;  // channels of the maps that want gradients
    PackedLayer layer;   // from outputs to them
    SlabSums sums;       // [inputs, width] of the weight's gradient, with room for the last block of rows
};

void project_maps(const ProjectMapsParameters<Scalar>& parameters, ParallelFor parallel_for) {
    MapProjectionForward(parameters).run(parallel_for);
}

void project_maps_backward(const ProjectMapsParameters<Scalar>& parameters,
                           const ProjectMapsGradients<Scalar>& gradients, ParallelFor parallel_for) {
    MapProjectionBackward(parameters, gradients).run(parallel_for);
}
