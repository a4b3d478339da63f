// The forward pass of deformable attention; included inside a variant's namespace, after its Vec. A task is a tile of
// pixels: scores of every head and sample, their softmax, then the means of values, each a group at a time, so that
// what a tile reads of a plane stays in the nearest cache. No sample is stored.
#pragma once

#include "common/cpu/activation_kernel.h"
#include "deform_attention/cpu_layout.h"

namespace attention {

// A corner's place in memory, relative to the upper left one, k & 1 to the right and k >> 1 below.
struct Plane {
    const Scalar* data;
    int64_t width, row;  // of a pixel and of a row, in numbers

    const Scalar* corner(int64_t pixel, int k) const { return data + pixel * width + (k & 1) * width + (k >> 1) * row; }
};

// The sample of a vector of channels.
inline Vec sampled(const Scalar* upper, const Plane& plane, const Vec weight[4]) {
    const Scalar* lower = upper + plane.row;
    Vec sum = Vec::load(upper) * weight[0];
    sum = fma(Vec::load(upper + plane.width), weight[1], sum);
    sum = fma(Vec::load(lower), weight[2], sum);
    return fma(Vec::load(lower + plane.width), weight[3], sum);
}

// Calls run(pieces at once, vectors of each or 0 where that is not known, first piece) over the pieces of a span.
template <typename F>
inline __attribute__((always_inline)) void for_pieces(const std::vector<Piece>& pieces, F&& run) {
    using std::integral_constant;
    for (size_t j = 0; j < pieces.size();) {
        const Piece* piece = pieces.data() + j;
        const bool pair = j + 1 < pieces.size() && piece[1].vectors == piece[0].vectors && piece[0].vectors <= 2;
        j += pair ? 2 : 1;
        if (pair && piece->vectors == 1) {
            run(integral_constant<int, 2>(), integral_constant<int, 1>(), piece);
        } else if (pair) {
            run(integral_constant<int, 2>(), integral_constant<int, 2>(), piece);
        } else if (piece->vectors == 1) {
            run(integral_constant<int, 1>(), integral_constant<int, 1>(), piece);
        } else {
            run(integral_constant<int, 1>(), integral_constant<int, 0>(), piece);
        }
    }
}

// exp(-x) for x of at least 0; NaN stays NaN.
inline Vec exp_of_minus(Vec x) {
    if constexpr (sizeof(Scalar) == 4) {
        return exp_minus(min(Vec::set1(Scalar(87)), x));
    } else {
        Scalar lanes[Vec::width];
        x.store(lanes);
        for (Scalar& lane : lanes) lane = std::exp(-lane);
        return Vec::load(lanes);
    }
}

class Forward {
 public:
    explicit Forward(const DeformAttentionParameters<Scalar>& p)
        : p(p), layout(p.shape), s(layout.s), scale(Scalar(1 / std::sqrt(double(s.depth)))) {}

    void run(ParallelFor parallel_for) {
        pack_planes(parallel_for);
        parallel_for(s.images * layout.tiles(), &tiles_of, this);
    }

 protected:
    void pack_planes(ParallelFor parallel_for) { parallel_for(s.images * s.groups * s.height, &rows_of, this); }

    static void rows_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const Forward*>(context);
        const int64_t h = self.s.height, G = self.s.groups;
        for (int64_t row = begin; row < end; ++row) {
            pack_row(self.layout, self.p.kv, self.p.packed, row / h / G, row / h % G, row % h);
        }
    }

    Plane plane(const Scalar* planes, int64_t image, int64_t group) const {
        const int64_t width = layout.width[group];
        return {planes + image * layout.image + layout.start[group], width, layout.row() * width};
    }

    // The frame that image number `image` samples n-th.
    int64_t frame(int64_t image, int64_t n) const {
        return image / s.frames * s.frames + (image % s.frames + n) % s.frames;
    }

    struct Scratch {
        LineVector<Scalar> q, out;         // [kTile, packed]
        std::vector<Positions> positions;  // [samples]
        std::vector<Scalar> scores;        // [heads, samples, kTile]

        explicit Scratch(const Layout& layout)
            : q(kTile * layout.packed),
              out(kTile * layout.packed),
              positions(layout.s.samples()),
              scores(layout.s.heads * layout.s.samples() * kTile) {}
    };

    Scalar* row_of(std::vector<Scalar>& numbers, int64_t head, int64_t sample) const {
        return numbers.data() + (head * s.samples() + sample) * kTile;
    }

    // A tile's channels of some spans, packed.
    void pack_tile(const std::vector<Span>& spans, int64_t first_channel, const Planes<const Scalar>& from,
                   const Tile& tile, Scalar factor, LineVector<Scalar>& to) const {
        for (const Span& span : spans) {
            for (const Piece& piece : span.pieces) {
                pack(from, tile.image, piece.channel - first_channel, piece.count, tile.first, tile.count,
                     to.data() + piece.packed, layout.packed);
            }
        }
        if (factor != Scalar(1)) {
            for (int64_t i = 0; i < tile.count * layout.packed; ++i) to[i] *= factor;
        }
    }

    void unpack_tile(const std::vector<Span>& spans, int64_t first_channel, const LineVector<Scalar>& from,
                     const Tile& tile, const Planes<Scalar>& to) const {
        for (const Span& span : spans) {
            for (const Piece& piece : span.pieces) {
                unpack(from.data() + piece.packed, layout.packed, tile.count, to, tile.image,
                       piece.channel - first_channel, piece.count, tile.first);
            }
        }
    }

    // Adds products of q with the samples of a span's keys to scores.
    void add_scores(const Tile& tile, const Span& span, Scratch& scratch) const {
        for (int64_t sample = 0; sample < s.samples(); ++sample) {
            const Positions& at = scratch.positions[sample];
            const Plane from = plane(p.packed, frame(tile.image, sample / s.taps()), span.group);
            for_pieces(span.pieces, [&](auto pieces, auto vectors, const Piece* piece) {
                score_pieces<pieces, vectors>(from, at, piece, sample, scratch);
            });
        }
    }

    template <int kPieces, int kVectors>
    void score_pieces(const Plane& from, const Positions& at, const Piece* piece, int64_t sample,
                      Scratch& scratch) const {
        const int64_t n = kVectors ? kVectors : piece->vectors;
        for (int64_t first = 0; first < kTile; first += 4) {
            Vec sums[kPieces][4];
            for (int j = 0; j < 4; ++j) {
                const int64_t i = first + j;
                Vec weight[4];
                for (int k = 0; k < 4; ++k) weight[k] = Vec::set1(at.weight[k][i]);
                const Scalar* pixel = from.corner(at.pixel[i], 0);
                const Scalar* q = scratch.q.data() + i * layout.packed;
                for (int m = 0; m < kPieces; ++m) {
                    sums[m][j] = sampled(pixel + piece[m].at, from, weight) * Vec::load(q + piece[m].packed);
                    for (int64_t v = 1; v < n; ++v) {
                        const int64_t c = v * Vec::width;
                        sums[m][j] = fma(sampled(pixel + piece[m].at + c, from, weight),
                                         Vec::load(q + piece[m].packed + c), sums[m][j]);
                    }
                }
            }
            for (int m = 0; m < kPieces; ++m) {
                Scalar found[4];
                sum_lanes(sums[m], found);
                Scalar* to = row_of(scratch.scores, piece[m].head, sample) + first;
                for (int j = 0; j < 4; ++j) to[j] += found[j];
            }
        }
    }

    // Of each head, over its samples.
    void softmax(std::vector<Scalar>& scores) const {
        for (int64_t head = 0; head < s.heads; ++head) {
            Scalar* x = row_of(scores, head, 0);
            for (int64_t i = 0; i < kTile; i += Vec::width) {
                const int64_t end = s.samples() * kTile + i;
                Vec most = Vec::load(x + i), sum = Vec::zero();
                for (int64_t t = i; t < end; t += kTile) most = max(Vec::load(x + t), most);
                for (int64_t t = i; t < end; t += kTile) {
                    const Vec e = exp_of_minus(most - Vec::load(x + t));
                    e.store(x + t);
                    sum = sum + e;
                }
                const Vec all = Vec::set1(Scalar(1)) / sum;
                for (int64_t t = i; t < end; t += kTile) (Vec::load(x + t) * all).store(x + t);
            }
        }
    }

    // Sums of a span's samples, each times a weight of its head, as packed pixels.
    void weighted_sums(const Tile& tile, const Span& span, std::vector<Scalar>& weights, Scratch& scratch) const {
        for_pieces(span.pieces, [&](auto pieces, auto vectors, const Piece* piece) {
            sum_pieces<pieces, vectors>(tile, span.group, piece, weights, scratch);
        });
    }

    template <int kPieces, int kVectors>
    void sum_pieces(const Tile& tile, int64_t group, const Piece* piece, std::vector<Scalar>& weights,
                    Scratch& scratch) const {
        constexpr int kAtOnce = kVectors ? kVectors : 1;
        const int64_t K = s.taps();
        for (int64_t i = 0; i < tile.count; ++i) {
            for (int64_t v = 0; v < (kVectors ? kVectors : piece->vectors); v += kAtOnce) {
                Vec sums[kPieces][kAtOnce];
                for (auto& of_piece : sums) {
                    for (Vec& sum : of_piece) sum = Vec::zero();
                }
                for (int64_t n = 0; n < s.frames; ++n) {
                    const Plane from = plane(p.packed, frame(tile.image, n), group);
                    const Positions* at = scratch.positions.data() + n * K;
                    const Scalar* of[kPieces];
                    for (int m = 0; m < kPieces; ++m) of[m] = row_of(weights, piece[m].head, n * K) + i;
                    for (int64_t tap = 0; tap < K; ++tap, ++at) {
                        Vec weight[4];
                        for (int k = 0; k < 4; ++k) weight[k] = Vec::set1(at->weight[k][i]);
                        const Scalar* pixel = from.corner(at->pixel[i], 0) + v * Vec::width;
                        for (int m = 0; m < kPieces; ++m) {
                            const Vec factor = Vec::set1(of[m][tap * kTile]);
                            for (int u = 0; u < kAtOnce; ++u) {
                                sums[m][u] = fma(sampled(pixel + piece[m].at + u * Vec::width, from, weight), factor,
                                                 sums[m][u]);
                            }
                        }
                    }
                }
                for (int m = 0; m < kPieces; ++m) {
                    Scalar* to = scratch.out.data() + i * layout.packed + piece[m].packed + v * Vec::width;
                    for (int u = 0; u < kAtOnce; ++u) sums[m][u].store(to + u * Vec::width);
                }
            }
        }
    }

    void locate_all(const Tile& tile, int64_t group, Scratch& scratch) const {
        locate_group(p, layout, tile, group, 0, s.frames, scratch.positions.data());
    }

    const DeformAttentionParameters<Scalar>& p;
    const Layout layout;
    const DeformAttentionShape& s;
    const Scalar scale;

 private:
    static void tiles_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const Forward*>(context);
        Scratch scratch(self.layout);
        for (int64_t t = begin; t < end; ++t) {
            self.tile(Tile(self.layout, t / self.layout.tiles(), t % self.layout.tiles()), scratch);
        }
    }

    void tile(const Tile& tile, Scratch& scratch) const {
        pack_tile(layout.keys, 0, p.q, tile, scale, scratch.q);
        std::fill(scratch.scores.begin(), scratch.scores.end(), Scalar(0));
        for (const Span& span : layout.keys) {
            locate_all(tile, span.group, scratch);
            add_scores(tile, span, scratch);
        }
        softmax(scratch.scores);
        for (const Span& span : layout.values) {
            locate_all(tile, span.group, scratch);
            weighted_sums(tile, span, scratch.scores, scratch);
        }
        unpack_tile(layout.values, s.channels(), scratch.out, tile, p.out);
    }
};

}  // namespace attention

void deform_attention(const DeformAttentionParameters<Scalar>& parameters, ParallelFor parallel_for) {
    attention::Forward(parameters).run(parallel_for);
}
