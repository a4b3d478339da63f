// How deformable attention lays out what it reads, and where a tile of pixels samples; included inside a variant's
// namespace, after its Vec. Keys and values become a plane for each offset group, channels last, with a border of
// zeros. A head's channels in it, or those of them that one group moves, are a piece, which begins a cache line.
#pragma once

#include "common/cpu/line_allocator.h"
#include "common/cpu/transpose_kernel.h"

namespace attention {

constexpr int64_t kTile = 16;  // pixels of one image, one after the other
constexpr int64_t kLine = 64 / int64_t(sizeof(Scalar));
using Whole = std::conditional_t<sizeof(Scalar) == 4, int32_t, int64_t>;

struct Piece {
    int64_t channel, count;  // of kv
    int64_t head, vectors;
    int64_t at;      // in a pixel of the group's plane
    int64_t packed;  // in a packed pixel of q, or of the output
};

// The pieces of keys, or those of values, that one group moves.
struct Span {
    int64_t group;
    std::vector<Piece> pieces;
};

struct Layout {
    const DeformAttentionShape s;
    std::vector<Span> keys, values;
    std::vector<int64_t> width, start;  // of a pixel of a group's plane; of the plane in an image
    int64_t image = 0;                  // numbers of one
    int64_t packed = 0;                 // of a packed pixel of q, or of the output

    explicit Layout(const DeformAttentionShape& shape) : s(shape) {
        const int64_t C = s.channels(), group = 2 * C / s.groups;
        int64_t end_of_keys = 0, end_of_values = 0;
        for (int64_t g = 0; g < s.groups; ++g) {
            Span of_keys{g, {}}, of_values{g, {}};
            int64_t at = 0;
            for (int64_t c = g * group; c < (g + 1) * group;) {
                const int64_t count = std::min(s.depth - c % s.depth, (g + 1) * group - c);
                const int64_t padded = (count + kLine - 1) / kLine * kLine;
                const bool key = c < C;
                int64_t& end = key ? end_of_keys : end_of_values;
                (key ? of_keys : of_values)
                    .pieces.push_back(
                        {c, count, c / s.depth % s.heads, (count + Vec::width - 1) / Vec::width, at, end});
                end += padded, at += padded, c += count;
            }
            if (!of_keys.pieces.empty()) keys.push_back(of_keys);
            if (!of_values.pieces.empty()) values.push_back(of_values);
            width.push_back(at);
            start.push_back(image);
            image += at * s.bordered();
        }
        packed = std::max(end_of_keys, end_of_values);
    }

    int64_t row() const { return s.width + 1; }                         // pixels
    int64_t tiles() const { return (s.pixels() + kTile - 1) / kTile; }  // of an image
};

// Some pixels of one image, one after the other.
struct Tile {
    int64_t image, first, count;
    Scalar row[kTile], column[kTile];  // under the kernel's first tap

    Tile(const Layout& layout, int64_t image, int64_t index)
        : image(image), first(index * kTile), count(std::min(kTile, layout.s.pixels() - first)) {
        const DeformAttentionShape& s = layout.s;
        int64_t y = first / s.width, x = first % s.width;
        for (int64_t i = 0; i < kTile; ++i) {
            row[i] = Scalar(y - s.padding_y), column[i] = Scalar(x - s.padding_x);
            if (++x == s.width) x = 0, ++y;
        }
    }
};

// transpose, for which blocks overlap where their size does not divide the matrix's.
inline void turn(const Scalar* from, int64_t from_stride, int64_t rows, int64_t columns, Scalar* to,
                 int64_t to_stride) {
    if (rows < kTurn || columns < kTurn) return transpose(from, from_stride, rows, columns, to, to_stride);
    for (int64_t r = 0; r < rows; r += kTurn) {
        const int64_t y = std::min(r, rows - kTurn);
        for (int64_t c = 0; c < columns; c += kTurn) {
            const int64_t x = std::min(c, columns - kTurn);
            transpose_block(from + y * from_stride + x, from_stride, to + x * to_stride + y, to_stride);
        }
    }
}

// Some channels of `count` pixels -> rows of `stride` numbers, the last line of each filled with zeros.
inline void pack(const Planes<const Scalar>& planes, int64_t image, int64_t channel, int64_t channels, int64_t first,
                 int64_t count, Scalar* to, int64_t stride) {
    const Scalar* from = planes.at(image, channel, first);
    const int64_t last_line = (channels - 1) / kLine * kLine;
    for (int64_t i = 0; i < count; ++i) std::fill_n(to + i * stride + last_line, kLine, Scalar(0));
    if (planes.channel == 1) {
        for (int64_t i = 0; i < count; ++i) std::copy_n(from + i * planes.pixel, channels, to + i * stride);
    } else {
        turn(from, planes.channel, channels, count, to, stride);
    }
}

// The other way.
inline void unpack(const Scalar* from, int64_t stride, int64_t count, const Planes<Scalar>& planes, int64_t image,
                   int64_t channel, int64_t channels, int64_t first) {
    Scalar* to = planes.at(image, channel, first);
    if (planes.channel == 1) {
        for (int64_t i = 0; i < count; ++i) std::copy_n(from + i * stride, channels, to + i * planes.pixel);
    } else {
        turn(from, stride, count, channels, to, planes.channel);
    }
}

// One row of one group's plane of an image, with its border; of the last row, the rest of the plane too.
inline void pack_row(const Layout& layout, const Planes<const Scalar>& kv, Scalar* planes, int64_t image, int64_t group,
                     int64_t y) {
    const DeformAttentionShape& s = layout.s;
    const int64_t width = layout.width[group], row = layout.row() * width;
    Scalar* to = planes + image * layout.image + layout.start[group] + (y + 1) * row;
    if (y == 0) std::fill(to - row, to, Scalar(0));
    std::fill_n(to, width, Scalar(0));
    for (const auto* spans : {&layout.keys, &layout.values}) {
        for (const Span& span : *spans) {
            if (span.group != group) continue;
            for (const Piece& piece : span.pieces) {
                pack(kv, image, piece.channel, piece.count, y * s.width, s.width, to + width + piece.at, width);
            }
        }
    }
    if (y == s.height - 1) std::fill_n(to + row, row + 2 * width, Scalar(0));
}

// Where a tile reads for one tap of one group.
struct Positions {
    Whole pixel[kTile];           // of the bordered plane, the upper left corner
    Scalar weight[4][kTile];      // of the corners
    Scalar fy[kTile], fx[kTile];  // how far the position lies past the upper left corner
};

// Choices as masks of bits: a loop with conditions in it is not vectorised.
inline Whole all_bits(bool condition) { return -Whole(condition); }

inline Scalar keep(Scalar x, Whole mask) {
    Whole bits;
    __builtin_memcpy(&bits, &x, sizeof(bits));
    bits &= mask;
    __builtin_memcpy(&x, &bits, sizeof(x));
    return x;
}

inline void locate(const Layout& layout, const Tile& tile, int64_t tap, const Scalar* dy, const Scalar* dx,
                   Positions& out) {
    const DeformAttentionShape& s = layout.s;
    const Scalar tap_y = Scalar(tap / s.kernel_width), tap_x = Scalar(tap % s.kernel_width);
    const Scalar height = Scalar(s.height), width = Scalar(s.width);
    const Whole rows = Whole(s.height), columns = Whole(s.width), outside = (rows + 1) * (columns + 1);
    for (int64_t i = 0; i < kTile; ++i) {
        Scalar y = tile.row[i] + tap_y + dy[i], x = tile.column[i] + tap_x + dx[i];
        // False for NaN too; the comparison comes before any conversion to an integer, undefined for such numbers.
        const Whole inside =
            all_bits(y > Scalar(-1)) & all_bits(y < height) & all_bits(x > Scalar(-1)) & all_bits(x < width);
        y = keep(y, inside), x = keep(x, inside);
        // The lower right corner. Truncation of a number above 0 is its floor; the sum may round up to h + 1.
        const Whole y1 = std::min(Whole(y + Scalar(1)), rows), x1 = std::min(Whole(x + Scalar(1)), columns);
        const Scalar fy = y - Scalar(y1 - 1), fx = x - Scalar(x1 - 1);
        out.weight[3][i] = fy * fx, out.weight[2][i] = fy - fy * fx;
        out.weight[1][i] = fx - fy * fx, out.weight[0][i] = Scalar(1) - fy - (fx - fy * fx);
        out.fy[i] = fy, out.fx[i] = fx;
        out.pixel[i] = ((y1 * (columns + 1) + x1) & inside) | (outside & ~inside);
    }
}

// The positions of all samples of one group, [frames, taps], or those in the n-th frame alone.
inline void locate_group(const DeformAttentionParameters<Scalar>& p, const Layout& layout, const Tile& tile,
                         int64_t group, int64_t first_frame, int64_t last_frame, Positions* out) {
    const int64_t K = layout.s.taps();
    Scalar buffer[2 * kTile];
    for (int64_t n = first_frame; n < last_frame; ++n) {
        for (int64_t tap = 0; tap < K; ++tap, ++out) {
            const int64_t channel = ((n * layout.s.groups + group) * K + tap) * 2;
            const Scalar* from = p.offset.at(tile.image, channel, tile.first);
            if (p.offset.pixel == 1 && tile.count == kTile) {
                locate(layout, tile, tap, from, from + p.offset.channel, *out);
                continue;
            }
            std::fill_n(buffer, 2 * kTile, Scalar(0));
            for (int64_t i = 0; i < tile.count; ++i) {
                buffer[i] = from[i * p.offset.pixel];
                buffer[kTile + i] = from[i * p.offset.pixel + p.offset.channel];
            }
            locate(layout, tile, tap, buffer, buffer + kTile, *out);
        }
    }
}

}  // namespace attention
