// The forward pass of deform_conv2d over tiles of output pixels, a chunk of input channels at a time: its samples for
// all taps, then a product with the chunk's weights that adds to the tile's sums. So the taps of a chunk read the same
// few pixels from the L1 cache. Included inside a variant's namespace, after one of the dense kernels.
#pragma once

#include "common/cpu/bfloat16_scalar.h"
#include "deform_conv2d/cpu_samples.h"

namespace deform {

constexpr int64_t kChunkChannels = 8;  // of a chunk, at most, where offset groups are no wider
constexpr int64_t kBorderRows = 8;     // of one task that copies the input

// Channels [first, first + width) of the input, all of one group of the convolution.
struct Chunk {
    int64_t first, width, group;
    bool starts;        // its group's sums
    PackedLayer layer;  // inputs: taps, then channels
};

inline std::vector<Chunk> make_chunks(const DeformInputs<Scalar>& in) {
    const DeformConv2dShape& s = in.shape;
    const int64_t inputs = s.channels / s.groups, outputs = s.out_channels / s.groups, taps = s.taps();
    std::vector<Chunk> chunks;
    const std::vector<Scalar> bias(outputs, Scalar(0));
    for (int64_t first = 0, width; first < s.channels; first += width) {
        const int64_t group = first / inputs, start = first % inputs;
        width = std::min(kChunkChannels, inputs - start);
        std::vector<Scalar> weight(outputs * taps * width);
        for (int64_t o = 0; o < outputs; ++o) {
            const Scalar* from = in.weight + ((group * outputs + o) * inputs + start) * taps;
            for (int64_t c = 0; c < width; ++c) {
                for (int64_t tap = 0; tap < taps; ++tap) weight[(o * taps + tap) * width + c] = from[c * taps + tap];
            }
        }
        const int64_t depth = taps * width;
        chunks.push_back(
            {first, width, group, start == 0, pack_layer({depth, outputs, weight.data(), bias.data()}, 0, depth)});
    }
    return chunks;
}

inline Scalar widen(Scalar x) { return x; }
inline Scalar widen(uint16_t x) { return from_bfloat16(x); }

struct ForwardPass {
    const DeformForward<Scalar>& p;
    const DeformConv2dShape& s;
    std::vector<Chunk> chunks;
    int64_t outputs, padded;   // of one group
    std::vector<Scalar> bias;  // [groups, padded]
    Bordered border;

    explicit ForwardPass(const DeformForward<Scalar>& p)
        : p(p),
          s(p.in.shape),
          chunks(make_chunks(p.in)),
          outputs(s.out_channels / s.groups),
          padded(padded_width(outputs)),
          bias(s.groups * padded, Scalar(0)),
          border(s) {
        for (int64_t o = 0; p.bias && o < s.out_channels; ++o) bias[o / outputs * padded + o % outputs] = p.bias[o];
    }

    struct Scratch {
        std::vector<Scalar> columns, sums, turned;
        std::vector<Positions> positions;  // [K]
        TileParameters parameters;

        explicit Scratch(const ForwardPass& f)
            : columns(kTile * f.s.taps() * kChunkChannels),
              sums(kTile * f.s.groups * f.padded),
              turned(f.p.low_output.data ? kTile * f.outputs : 0),
              positions(f.s.taps()),
              parameters(f.s.taps()) {}
    };

    int64_t row_blocks() const { return (s.height + kBorderRows - 1) / kBorderRows; }

    // Copies the input, [B, chunks, bordered image, width].
    void copy_input(int64_t begin, int64_t end) const {
        p.low_input.data ? copy_planes(p.low_input, begin, end) : copy_planes(p.in.input, begin, end);
    }

    template <typename T>
    void copy_planes(const Planes<const T>& input, int64_t begin, int64_t end) const {
        std::vector<Scalar> wide(std::is_same_v<T, Scalar> ? 0 : kChunkChannels * s.width);
        for (int64_t task = begin; task < end; ++task) {
            const int64_t image = task / row_blocks(), first = task % row_blocks() * kBorderRows;
            for (const Chunk& chunk : chunks) {
                copy_rows(input, chunk, image, first, std::min(first + kBorderRows, s.height), wide.data());
            }
        }
    }

    Scalar* bordered_chunk(const Chunk& chunk, int64_t image) const {
        return p.bordered + (image * s.channels + chunk.first) * border.size;
    }

    template <typename T>
    void copy_rows(const Planes<const T>& input, const Chunk& chunk, int64_t image, int64_t first, int64_t last,
                   [[maybe_unused]] Scalar* wide) const {
        const int64_t width = chunk.width, row = border.row * width;
        Scalar* const plane = bordered_chunk(chunk, image);
        if (first == 0) std::fill(plane, plane + row, Scalar(0));
        for (int64_t y = first; y < last; ++y) {
            Scalar* to = plane + (y + 1) * row;
            std::fill(to, to + width, Scalar(0));
            to += width;
            const T* from = input.at(image, chunk.first, y * s.width);
            if (input.pixel != 1) {
                for (int64_t x = 0; x < s.width; ++x, from += input.pixel, to += width) {
                    for (int64_t c = 0; c < width; ++c) to[c] = widen(from[c * input.channel]);
                }
            } else if constexpr (std::is_same_v<T, Scalar>) {
                transpose(from, input.channel, width, s.width, to, width);
            } else {
                for (int64_t c = 0; c < width; ++c) {
                    for (int64_t x = 0; x < s.width; ++x) wide[c * s.width + x] = widen(from[c * input.channel + x]);
                }
                transpose(wide, s.width, width, s.width, to, width);
            }
        }
        if (last == s.height) std::fill(plane + (s.height + 1) * row, plane + border.size * width, Scalar(0));
    }

    // The channels of a chunk in an image of the input, or in its bordered copy.
    template <bool kBordered>
    Pixels<const Scalar> chunk_pixels(const Chunk& chunk, int64_t image) const {
        if (kBordered) return {bordered_chunk(chunk, image), chunk.width, chunk.width * border.row};
        return {p.in.input.at(image, chunk.first, 0), p.in.input.pixel, p.in.input.pixel * s.width};
    }

    template <bool kBordered>
    void run_tile(const Tile& tile, Scratch& scratch) const {
        constexpr For kFor = kBordered ? For::kBordered : For::kSamples;
        const int64_t width = s.groups * padded, offset_channels = s.channels / s.offset_groups;
        int64_t located = -1;  // the offset group of `positions`
        for (const Chunk& chunk : chunks) {
            const int64_t stride = s.taps() * chunk.width, end = chunk.first + chunk.width;
            for (int64_t c = chunk.first, stop; c < end; c = stop) {
                const int64_t offset_group = c / offset_channels;
                stop = std::min(end, (offset_group + 1) * offset_channels);
                if (offset_group != located) {
                    scratch.parameters.read(p.in, tile, offset_group, 0, s.taps());
                    for (int64_t tap = 0; tap < s.taps(); ++tap) {
                        locate<kFor>(s, tile, scratch.parameters, tap, tap, scratch.positions[tap]);
                    }
                    located = offset_group;
                }
                Pixels<const Scalar> pixels = chunk_pixels<kBordered>(chunk, tile.image);
                pixels.data += c - chunk.first;
                Scalar* out = scratch.columns.data() + (c - chunk.first);
                for (int64_t tap = 0; tap < s.taps(); ++tap, out += chunk.width) {
                    sample<kBordered>(pixels, stop - c, scratch.positions[tap], tile.count, out, stride);
                }
            }
            Scalar* sums = scratch.sums.data() + chunk.group * padded;
            dense<Activation::kNone>(chunk.layer, tile.count, scratch.columns.data(), stride,
                                     chunk.starts ? bias.data() + chunk.group * padded : sums, chunk.starts ? 0 : width,
                                     sums, width, Scalar(0));
        }
        for (int64_t g = 0; g < s.groups; ++g) {
            store(tile, scratch.sums.data() + g * padded, width, g * outputs, scratch.turned.data());
        }
    }

    void store(const Tile& tile, const Scalar* sums, int64_t stride, int64_t channel, Scalar* turned) const {
        if (p.low_output.data) return store_low(tile, sums, stride, channel, turned);
        Scalar* to = p.output.at(tile.image, channel, tile.first);
        if (p.output.pixel == 1) {
            transpose(sums, stride, tile.count, outputs, to, p.output.channel);
            return;
        }
        for (int64_t i = 0; i < tile.count; ++i, to += p.output.pixel) {
            std::copy(sums + i * stride, sums + i * stride + outputs, to);
        }
    }

    void store_low(const Tile& tile, const Scalar* sums, int64_t stride, int64_t channel, Scalar* turned) const {
        uint16_t* to = p.low_output.at(tile.image, channel, tile.first);
        const bool planar = p.low_output.pixel == 1;
        if (planar) transpose(sums, stride, tile.count, outputs, turned, kTile);
        const Scalar* from = planar ? turned : sums;
        const int64_t rows = planar ? outputs : tile.count, columns = planar ? tile.count : outputs;
        const int64_t from_stride = planar ? kTile : stride;
        const int64_t to_stride = planar ? p.low_output.channel : p.low_output.pixel;
        for (int64_t r = 0; r < rows; ++r, from += from_stride, to += to_stride) {
            for (int64_t c = 0; c < columns; ++c) to[c] = to_bfloat16(from[c]);
        }
    }

    void run(int64_t begin, int64_t end) const {
        [[maybe_unused]] const DenseScope scope;
        Scratch scratch(*this);
        for (int64_t t = begin; t < end; ++t) {
            const Tile tile = is_whole() ? Tile(s, t) : Tile(s, p.window, t);
            p.bordered ? run_tile<true>(tile, scratch) : run_tile<false>(tile, scratch);
        }
    }

    bool is_whole() const { return p.window.first == p.window.last; }

    int64_t tiles() const { return is_whole() ? count_tiles(s) : Tile::tiles_of(p.window.last - p.window.first); }
};

template <void (ForwardPass::*kMethod)(int64_t, int64_t) const>
void in_parallel(const ForwardPass& pass, int64_t count, ParallelFor parallel_for) {
    const Body body = [](int64_t begin, int64_t end, void* context) {
        (static_cast<const ForwardPass*>(context)->*kMethod)(begin, end);
    };
    parallel_for(count, body, const_cast<ForwardPass*>(&pass));
}

}  // namespace deform

void deform_conv2d(const DeformForward<Scalar>& parameters, ParallelFor parallel_for) {
    const deform::ForwardPass pass(parameters);
    if (parameters.bordered != nullptr && !parameters.copied) {
        deform::in_parallel<&deform::ForwardPass::copy_input>(pass, pass.s.batch * pass.row_blocks(), parallel_for);
    }
    deform::in_parallel<&deform::ForwardPass::run>(pass, pass.tiles(), parallel_for);
}
