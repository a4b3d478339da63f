// The backward pass of deformable attention; included inside a variant's namespace, after its Vec. Tiles are taken in
// bands. In a band, first each tile samples again, and gives the gradients of q and of its offsets; of those of keys
// and values it keeps a number for each head and sample, since the rest is q or grad_output. Then each piece of a plane
// of each frame (a task owns it) collects what those give. Bands and pieces follow from the shape alone, so the result
// does not depend on the number of threads.
#pragma once

#include "deform_attention/cpu_forward.h"

namespace attention {

constexpr int64_t kBandNumbers = 1 << 19;  // that a band keeps between its two steps

class Backward : Forward {
 public:
    Backward(const DeformAttentionParameters<Scalar>& p, const DeformAttentionGradients<Scalar>& g)
        : Forward(p), g(g), kept(2 * (s.heads * s.samples() + layout.packed) * kTile) {
        for (const auto* spans : {&layout.keys, &layout.values}) {
            for (const Span& span : *spans) {
                for (size_t j = 0; j < span.pieces.size(); j += 2) {
                    Part part{spans == &layout.keys, {span.group, {}}};
                    part.span.pieces.assign(span.pieces.begin() + j,
                                            span.pieces.begin() + std::min(j + 2, span.pieces.size()));
                    parts.push_back(part);
                }
            }
        }
    }

    void run(ParallelFor parallel_for) {
        pack_planes(parallel_for);
        const int64_t clip_tiles = s.frames * layout.tiles();
        const int64_t band = std::min(clip_tiles, std::max<int64_t>(16, kBandNumbers / kept));
        if (g.kv.data) {
            buffer.resize(band * kept);
            parallel_for(s.images * s.groups, &fill_planes, this);
        }
        for (clip = 0; clip < s.images / s.frames; ++clip) {
            for (first = 0; first < clip_tiles; first = last) {
                last = std::min(first + band, clip_tiles);
                parallel_for(last - first, &tiles_of, this);
                if (g.kv.data) parallel_for(s.frames * int64_t(parts.size()), &parts_of, this);
            }
        }
        if (g.kv.data) parallel_for(s.images * s.height, &unpack_rows, this);
    }

 private:
    // Of keys or of values: pieces of one plane that are collected together.
    struct Part {
        bool keys;
        Span span;
    };

    // Where what a tile keeps lies.
    struct Kept {
        Scalar *scores, *weights;  // [heads, samples, kTile]: gradients of the products with q, and the softmax
        Scalar *q, *grad;          // [kTile, packed]
    };

    Kept kept_of(int64_t index) {
        const int64_t each = s.heads * s.samples() * kTile, pixels = layout.packed * kTile;
        Scalar* at = buffer.data() + (index - first) * kept;
        return {at, at + each, at + 2 * each, at + 2 * each + pixels};
    }

    // Products of a packed vector with the samples, and how they grow with the position: of the pieces of all spans of
    // keys, or of values, [pieces, samples, kTile].
    struct Slopes {
        std::vector<Scalar> y, x;
    };

    struct Scratch : Forward::Scratch {
        LineVector<Scalar> grad;  // [kTile, packed]
        std::vector<Scalar> d;    // like scores
        Slopes of_keys, of_values;
        std::vector<Scalar> d_y, d_x;  // [samples, kTile]

        Scratch(const Layout& layout, int64_t key_pieces, int64_t value_pieces)
            : Forward::Scratch(layout), grad(q.size()), d(scores.size()) {
            const int64_t each = layout.s.samples() * kTile;
            for (auto* numbers : {&of_keys.y, &of_keys.x}) numbers->resize(key_pieces * each);
            for (auto* numbers : {&of_values.y, &of_values.x}) numbers->resize(value_pieces * each);
            d_y.resize(each), d_x.resize(each);
        }
    };

    static int64_t pieces_of(const std::vector<Span>& spans) {
        int64_t sum = 0;
        for (const Span& span : spans) sum += int64_t(span.pieces.size());
        return sum;
    }

    static Backward& self(void* context) { return *static_cast<Backward*>(context); }

    static void fill_planes(int64_t begin, int64_t end, void* context) {
        const Layout& layout = self(context).layout;
        for (int64_t task = begin; task < end; ++task) {
            const int64_t group = task % layout.s.groups;
            std::fill_n(self(context).g.packed + task / layout.s.groups * layout.image + layout.start[group],
                        layout.s.bordered() * layout.width[group], Scalar(0));
        }
    }

    static void tiles_of(int64_t begin, int64_t end, void* context) {
        Backward& b = self(context);
        Scratch scratch(b.layout, pieces_of(b.layout.keys), pieces_of(b.layout.values));
        for (int64_t task = begin; task < end; ++task) {
            const int64_t index = b.first + task, tiles = b.layout.tiles();
            b.tile(Tile(b.layout, b.clip * b.s.frames + index / tiles, index % tiles), index, scratch);
        }
    }

    void tile(const Tile& tile, int64_t index, Scratch& scratch) {
        pack_tile(layout.keys, 0, p.q, tile, scale, scratch.q);
        pack_tile(layout.values, s.channels(), g.grad_output, tile, Scalar(1), scratch.grad);
        std::fill(scratch.scores.begin(), scratch.scores.end(), Scalar(0));
        std::fill(scratch.d.begin(), scratch.d.end(), Scalar(0));
        products(tile, layout.keys, scratch.q, scratch.scores, scratch.of_keys, scratch);
        softmax(scratch.scores);
        products(tile, layout.values, scratch.grad, scratch.d, scratch.of_values, scratch);
        through_softmax(scratch);
        if (g.q.data) {
            for (const Span& span : layout.keys) {
                locate_all(tile, span.group, scratch);
                weighted_sums(tile, span, scratch.d, scratch);
            }
            for (int64_t i = 0; i < tile.count * layout.packed; ++i) scratch.out[i] *= scale;
            unpack_tile(layout.keys, 0, scratch.out, tile, g.q);
        }
        if (g.keys_factor != Scalar(1)) {
            for (Scalar& d : scratch.d) d *= g.keys_factor;
        }
        if (g.offset.data) write_offsets(tile, scratch);
        if (g.kv.data) {
            const Kept to = kept_of(index);
            std::copy(scratch.d.begin(), scratch.d.end(), to.scores);
            std::copy(scratch.scores.begin(), scratch.scores.end(), to.weights);
            std::copy(scratch.q.begin(), scratch.q.end(), to.q);
            std::copy(scratch.grad.begin(), scratch.grad.end(), to.grad);
        }
    }

    // Adds the products of x with the samples of all spans to `sums`.
    void products(const Tile& tile, const std::vector<Span>& spans, const LineVector<Scalar>& x,
                  std::vector<Scalar>& sums, Slopes& slopes, Scratch& scratch) const {
        int64_t number = 0;
        for (const Span& span : spans) {
            locate_all(tile, span.group, scratch);
            for (int64_t sample = 0; sample < s.samples(); ++sample) {
                const Positions& at = scratch.positions[sample];
                const Plane from = plane(p.packed, frame(tile.image, sample / s.taps()), span.group);
                int64_t row = (number * s.samples() + sample) * kTile;
                for (const Piece& piece : span.pieces) {
                    Scalar dots[kTile][4];
                    if (piece.vectors == HalfVec::width * 2 / Vec::width) {
                        corner_products<2>(from, at, piece, x, dots);
                    } else {
                        corner_products<0>(from, at, piece, x, dots);
                    }
                    combine(dots, at, row_of(sums, piece.head, sample), slopes.y.data() + row, slopes.x.data() + row);
                    row += s.samples() * kTile;
                }
            }
            number += int64_t(span.pieces.size());
        }
    }

    // With what each corner holds.
    template <int kHalves>
    void corner_products(const Plane& from, const Positions& at, const Piece& piece, const LineVector<Scalar>& x,
                         Scalar (*dots)[4]) const {
        const int64_t n = kHalves ? kHalves * HalfVec::width : piece.vectors * Vec::width;
        for (int64_t i = 0; i < kTile; ++i) {
            const Scalar* pixel = from.corner(at.pixel[i], 0) + piece.at;
            const Scalar* of = x.data() + i * layout.packed + piece.packed;
            HalfVec sums[4] = {HalfVec::zero(), HalfVec::zero(), HalfVec::zero(), HalfVec::zero()};
            for (int64_t c = 0; c < n; c += HalfVec::width) {
                const HalfVec v = HalfVec::load(of + c);
                sums[0] = fma(HalfVec::load(pixel + c), v, sums[0]);
                sums[1] = fma(HalfVec::load(pixel + from.width + c), v, sums[1]);
                sums[2] = fma(HalfVec::load(pixel + from.row + c), v, sums[2]);
                sums[3] = fma(HalfVec::load(pixel + from.row + from.width + c), v, sums[3]);
            }
            sum_lanes(sums, dots[i]);
        }
    }

    static void combine(const Scalar (*dots)[4], const Positions& at, Scalar* sum, Scalar* y, Scalar* x) {
        for (int64_t i = 0; i < kTile; ++i) {
            const Scalar left = dots[i][0] + at.fy[i] * (dots[i][2] - dots[i][0]);
            const Scalar right = dots[i][1] + at.fy[i] * (dots[i][3] - dots[i][1]);
            const Scalar upper = dots[i][0] + at.fx[i] * (dots[i][1] - dots[i][0]);
            const Scalar lower = dots[i][2] + at.fx[i] * (dots[i][3] - dots[i][2]);
            sum[i] += left + at.fx[i] * (right - left);
            y[i] = lower - upper;
            x[i] = right - left;
        }
    }

    // d: gradients of the softmax's results, which become those of its arguments.
    void through_softmax(Scratch& scratch) const {
        for (int64_t head = 0; head < s.heads; ++head) {
            const Scalar* weight = row_of(scratch.scores, head, 0);
            Scalar* d = row_of(scratch.d, head, 0);
            for (int64_t i = 0; i < kTile; i += Vec::width) {
                const int64_t end = s.samples() * kTile + i;
                Vec mean = Vec::zero();
                for (int64_t t = i; t < end; t += kTile) mean = fma(Vec::load(weight + t), Vec::load(d + t), mean);
                for (int64_t t = i; t < end; t += kTile) {
                    (Vec::load(weight + t) * (Vec::load(d + t) - mean)).store(d + t);
                }
            }
        }
    }

    void write_offsets(const Tile& tile, Scratch& scratch) const {
        size_t key = 0, value = 0;
        int64_t key_piece = 0, value_piece = 0;
        for (int64_t group = 0; group < s.groups; ++group) {
            std::fill(scratch.d_y.begin(), scratch.d_y.end(), Scalar(0));
            std::fill(scratch.d_x.begin(), scratch.d_x.end(), Scalar(0));
            if (key < layout.keys.size() && layout.keys[key].group == group) {
                key_piece = add_slopes(layout.keys[key++], key_piece, scratch.of_keys, scratch.d, scratch);
            }
            if (value < layout.values.size() && layout.values[value].group == group) {
                value_piece =
                    add_slopes(layout.values[value++], value_piece, scratch.of_values, scratch.scores, scratch);
            }
            for (int64_t sample = 0; sample < s.samples(); ++sample) {
                const int64_t n = sample / s.taps(), tap = sample % s.taps();
                const int64_t channel = ((n * s.groups + group) * s.taps() + tap) * 2;
                Scalar* to = g.offset.at(tile.image, channel, tile.first);
                for (int64_t i = 0; i < tile.count; ++i) {
                    to[i * g.offset.pixel] = scratch.d_y[sample * kTile + i];
                    to[i * g.offset.pixel + g.offset.channel] = scratch.d_x[sample * kTile + i];
                }
            }
        }
    }

    // Returns the number of the piece after the span's.
    int64_t add_slopes(const Span& span, int64_t number, const Slopes& slopes, std::vector<Scalar>& factors,
                       Scratch& scratch) const {
        const int64_t each = s.samples() * kTile;
        for (const Piece& piece : span.pieces) {
            const Scalar* factor = row_of(factors, piece.head, 0);
            const Scalar *y = slopes.y.data() + number * each, *x = slopes.x.data() + number * each;
            for (int64_t t = 0; t < each; t += Vec::width) {
                const Vec f = Vec::load(factor + t);
                fma(f, Vec::load(y + t), Vec::load(scratch.d_y.data() + t)).store(scratch.d_y.data() + t);
                fma(f, Vec::load(x + t), Vec::load(scratch.d_x.data() + t)).store(scratch.d_x.data() + t);
            }
            ++number;
        }
        return number;
    }

    static void parts_of(int64_t begin, int64_t end, void* context) {
        Backward& b = self(context);
        std::vector<Positions> positions(b.s.taps());
        for (int64_t task = begin; task < end; ++task) {
            b.collect(task / int64_t(b.parts.size()), b.parts[task % b.parts.size()], positions);
        }
    }

    // What the band gives to one part of one frame of the clip.
    void collect(int64_t to_frame, const Part& part, std::vector<Positions>& positions) {
        const int64_t group = part.span.group, width = layout.width[group];
        Scalar* to = g.packed + (clip * s.frames + to_frame) * layout.image + layout.start[group];
        for (int64_t index = first; index < last; ++index) {
            const int64_t b = index / layout.tiles(), n = (to_frame - b + s.frames) % s.frames;
            const Tile tile(layout, clip * s.frames + b, index % layout.tiles());
            locate_group(p, layout, tile, group, n, n + 1, positions.data());
            const Kept from = kept_of(index);
            for (int64_t tap = 0; tap < s.taps(); ++tap) {
                for_pieces(part.span.pieces, [&](auto pieces, auto vectors, const Piece* piece) {
                    scatter<pieces, vectors>(positions[tap], tile.count, piece, part.keys ? from.scores : from.weights,
                                             part.keys ? from.q : from.grad, n * s.taps() + tap, to, width);
                });
            }
        }
    }

    template <int kPieces, int kVectors>
    void scatter(const Positions& at, int64_t count, const Piece* piece, const Scalar* factors, const Scalar* x,
                 int64_t sample, Scalar* to, int64_t width) const {
        const int64_t n = kVectors ? kVectors : piece->vectors, row = layout.row() * width;
        for (int64_t i = 0; i < count; ++i, x += layout.packed) {
            Scalar* upper = to + at.pixel[i] * width;
            Vec weight[4];
            for (int k = 0; k < 4; ++k) weight[k] = Vec::set1(at.weight[k][i]);
            for (int m = 0; m < kPieces; ++m) {
                const Vec factor = Vec::set1(factors[(piece[m].head * s.samples() + sample) * kTile + i]);
                for (int64_t v = 0; v < n; ++v) {
                    const Vec d = factor * Vec::load(x + piece[m].packed + v * Vec::width);
                    Scalar* corner = upper + piece[m].at + v * Vec::width;
                    for (int k = 0; k < 4; ++k) {
                        Scalar* there = corner + (k & 1) * width + (k >> 1) * row;
                        fma(d, weight[k], Vec::load(there)).store(there);
                    }
                }
            }
        }
    }

    static void unpack_rows(int64_t begin, int64_t end, void* context) {
        const Backward& b = self(context);
        const Layout& layout = b.layout;
        for (int64_t task = begin; task < end; ++task) {
            const int64_t image = task / b.s.height, y = task % b.s.height;
            for (const auto* spans : {&layout.keys, &layout.values}) {
                for (const Span& span : *spans) {
                    const int64_t width = layout.width[span.group];
                    const Scalar* from = b.g.packed + image * layout.image + layout.start[span.group] +
                                         ((y + 1) * layout.row() + 1) * width;
                    for (const Piece& piece : span.pieces) {
                        unpack(from + piece.at, width, b.s.width, b.g.kv, image, piece.channel, piece.count,
                               y * b.s.width);
                    }
                }
            }
        }
    }

    const DeformAttentionGradients<Scalar>& g;
    const int64_t kept;                     // numbers that a tile keeps
    std::vector<Part> parts;                // of each frame
    LineVector<Scalar> buffer;              // what the tiles of the present band keep
    int64_t clip = 0, first = 0, last = 0;  // the present band
};

}  // namespace attention

void deform_attention_backward(const DeformAttentionParameters<Scalar>& parameters,
                               const DeformAttentionGradients<Scalar>& gradients, ParallelFor parallel_for) {
    attention::Backward(parameters, gradients).run(parallel_for);
}
