// Where a tile of output pixels samples the input, and the samples; included inside a variant's namespace, after its
// Vec. A tile is kTile output pixels of one image; numbers past the last pixel are zeros.
#pragma once

#include "common/cpu/activation_kernel.h"
#include "common/cpu/transpose_kernel.h"

namespace deform {

struct Tile {
    int64_t image, first, count;
    Scalar row[kTile], column[kTile];  // of the input pixel under the kernel's first tap

    // Tile `index` of the batch.
    Tile(const DeformConv2dShape& s, int64_t index)
        : Tile(s, {index / tiles_of(s.out_pixels()), 0, s.out_pixels()}, index % tiles_of(s.out_pixels())) {}

    // Tile `index` of a window.
    Tile(const DeformConv2dShape& s, const Window& window, int64_t index)
        : image(window.image), first(window.first + index * kTile), count(std::min(kTile, window.last - first)) {
        int64_t y = first / s.out_width, x = first % s.out_width;
        for (int64_t i = 0; i < kTile; ++i) {
            row[i] = Scalar(y * s.stride[0] - s.padding[0]);
            column[i] = Scalar(x * s.stride[1] - s.padding[1]);
            if (++x == s.out_width) x = 0, ++y;
        }
    }

    static int64_t tiles_of(int64_t pixels) { return (pixels + kTile - 1) / kTile; }
};

inline int64_t count_tiles(const DeformConv2dShape& s) { return s.batch * Tile::tiles_of(s.out_pixels()); }

// Channels of a tile's pixels, one after the other, `stride` apart: a pointer into the tensor if it can be, otherwise
// copied to `buffer` [count, kTile].
inline const Scalar* read_channels(const Planes<const Scalar>& planes, const Tile& tile, int64_t channel, int64_t count,
                                   Scalar* buffer, int64_t& stride) {
    const Scalar* from = planes.at(tile.image, channel, tile.first);
    stride = planes.channel;
    if (planes.pixel == 1 && tile.count == kTile) return from;
    stride = kTile;
    if (tile.count < kTile) std::fill(buffer, buffer + count * kTile, Scalar(0));
    if (planes.channel == 1) {
        transpose(from, planes.pixel, tile.count, count, buffer, kTile);
        return buffer;
    }
    for (int64_t c = 0; c < count; ++c, from += planes.channel) {
        for (int64_t i = 0; i < tile.count; ++i) buffer[c * kTile + i] = from[i * planes.pixel];
    }
    return buffer;
}

inline void write_channel(const Planes<Scalar>& planes, const Tile& tile, int64_t channel, const Scalar* values) {
    Scalar* to = planes.at(tile.image, channel, tile.first);
    for (int64_t i = 0; i < tile.count; ++i) to[i * planes.pixel] = values[i];
}

// Of whole vectors.
inline void sigmoid(const Scalar* x, Scalar* out, int64_t count) {
    for (int64_t i = 0; i < count; i += Vec::width) sigmoid(Vec::load(x + i)).store(out + i);
}

// The corners that a tile's pixels read for one tap of one offset group.
struct Positions {
    int32_t pixel[kTile];         // the upper left corner, as a pixel of the image, which it may lie outside of
    int32_t corners[kTile];       // a bit for each corner inside the image: y0 x0, y0 x1, y1 x0, y1 x1
    Scalar weight[4][kTile];      // of the corners, times the mask
    Scalar mask[kTile];           // zero where a pixel samples outside
    Scalar fy[kTile], fx[kTile];  // how far the position lies past the upper left corner
};

constexpr int32_t kAllCorners = 15;

// Choices as masks of bits: a loop with conditions in it is not vectorised.
inline int32_t all_bits(bool condition) { return -int32_t(condition); }

inline Scalar keep(Scalar x, int32_t mask) {
    int32_t bits;
    __builtin_memcpy(&bits, &x, sizeof(bits));
    bits &= mask;
    __builtin_memcpy(&x, &bits, sizeof(x));
    return x;
}

// An image with a border of zeros: rows -1 to H of columns -1 to W - 1, then two pixels. Column W is column -1 of the
// next row. A position outside reads the corners of row H.
struct Bordered {
    int64_t row, size;  // pixels of a row; of all

    explicit Bordered(const DeformConv2dShape& s) : row(s.width + 1), size((s.height + 2) * row + 2) {}
};

// The offsets and mask of a tile for some taps of one offset group, channel by channel.
struct TileParameters {
    std::vector<Scalar> buffer;  // [3, taps, kTile]
    const Scalar *dy, *dx, *mask;
    int64_t offset_stride, mask_stride;  // between taps

    explicit TileParameters(int64_t taps) : buffer(3 * taps * kTile) {}

    void read(const DeformInputs<Scalar>& in, const Tile& tile, int64_t offset_group, int64_t first, int64_t taps) {
        const int64_t plane = offset_group * in.shape.taps() + first;
        Scalar *offsets = buffer.data(), *masks = offsets + 2 * taps * kTile;
        dy = read_channels(in.offset, tile, 2 * plane, 2 * taps, offsets, offset_stride);
        dx = dy + offset_stride;
        offset_stride *= 2;
        if (in.mask.data == nullptr) {
            std::fill(masks, masks + taps * kTile, Scalar(1));
            mask = masks, mask_stride = kTile;
            return;
        }
        mask = read_channels(in.mask, tile, plane, taps, masks, mask_stride);
        if (!in.logits) return;
        for (int64_t tap = 0; tap < taps; ++tap) sigmoid(mask + tap * mask_stride, masks + tap * kTile, kTile);
        mask = masks, mask_stride = kTile;
    }
};

// What the positions are for: samples of a bordered image, where corners outside need no care; samples of the image
// itself; gradients.
enum class For { kBordered, kSamples, kGradients };

// Arrays that the purpose does not need stay unset. `index` is that of the tap in `parameters`.
template <For kFor>
inline void locate(const DeformConv2dShape& s, const Tile& tile, const TileParameters& parameters, int64_t index,
                   int64_t tap, Positions& out) {
    const Scalar* dy = parameters.dy + index * parameters.offset_stride;
    const Scalar* dx = parameters.dx + index * parameters.offset_stride;
    const Scalar* mask = parameters.mask + index * parameters.mask_stride;
    const Scalar tap_y = Scalar(tap / s.kernel_width * s.dilation[0]);
    const Scalar tap_x = Scalar(tap % s.kernel_width * s.dilation[1]);
    const Scalar height = Scalar(s.height), width = Scalar(s.width);
    const int32_t rows = int32_t(s.height), columns = int32_t(s.width);
    const int32_t outside = kFor == For::kBordered ? (rows + 1) * (columns + 1) : 0;
    for (int64_t i = 0; i < kTile; ++i) {
        Scalar y = tile.row[i] + tap_y + dy[i], x = tile.column[i] + tap_x + dx[i];
        // False for NaN too; the comparison comes before any conversion to an integer, undefined for such numbers.
        const int32_t inside =
            all_bits(y > Scalar(-1)) & all_bits(y < height) & all_bits(x > Scalar(-1)) & all_bits(x < width);
        y = keep(y, inside);
        x = keep(x, inside);
        // The lower right corner. Truncation of a number above 0 is its floor; the sum may round up to H + 1.
        const int32_t y1 = std::min(int32_t(y + Scalar(1)), rows), x1 = std::min(int32_t(x + Scalar(1)), columns);
        const Scalar fy = y - Scalar(y1 - 1), fx = x - Scalar(x1 - 1);
        const Scalar m = mask[i], lower = m * fy, upper = m - lower;
        out.weight[1][i] = upper * fx, out.weight[3][i] = lower * fx;
        out.weight[0][i] = upper - upper * fx, out.weight[2][i] = lower - lower * fx;
        if constexpr (kFor == For::kBordered) {
            const int32_t pixel = y1 * (columns + 1) + x1;
            out.pixel[i] = (pixel & inside) | (outside & ~inside);
            continue;
        }
        const int32_t in_row = (all_bits(x1 > 0) & 1) | (all_bits(x1 < columns) & 2);
        out.corners[i] = inside & ((all_bits(y1 > 0) & in_row) | (all_bits(y1 < rows) & in_row << 2));
        out.pixel[i] = (y1 - 1) * columns + (x1 - 1);
        if constexpr (kFor == For::kGradients) out.mask[i] = keep(m, inside), out.fy[i] = fy, out.fx[i] = fx;
    }
}

// Some channels of an image.
template <typename scalar_t>
struct Pixels {
    scalar_t* data;
    int64_t stride, row;  // of a pixel and of a row

    scalar_t* corner(int64_t pixel, int k) const { return data + pixel * stride + (k & 1) * stride + (k >> 1) * row; }
};

// Calls f(vector type, channel) over `channels`, in the widest vectors that fit and then by single channels; kChannels
// is their number where it is known at compile time.
template <int64_t kChannels, typename F, typename Single>
inline __attribute__((always_inline)) void for_channels(int64_t channels, F&& wide, Single&& single) {
    const int64_t n = kChannels ? kChannels : channels;
    int64_t c = 0;
    for (; c + Vec::width <= n; c += Vec::width) wide(Vec(), c);
    for (; c + HalfVec::width <= n; c += HalfVec::width) wide(HalfVec(), c);
    for (; c < n; ++c) single(c);
}

// Calls run(constant) with the number of channels where it is one that deserves code of its own, otherwise with 0.
template <typename F>
inline void with_channels(int64_t channels, F&& run) {
    if (channels == 8) {
        run(std::integral_constant<int64_t, 8>());
    } else if (channels == 16) {
        run(std::integral_constant<int64_t, 16>());
    } else {
        run(std::integral_constant<int64_t, 0>());
    }
}

// One sample of which a corner lies outside: what lies outside is not read, whatever it holds.
inline void sample_edge(const Pixels<const Scalar>& image, int64_t channels, const Positions& p, int64_t i,
                        Scalar* out) {
    const Scalar zero = p.weight[0][i] * Scalar(0);  // NaN where the mask is
    for (int64_t c = 0; c < channels; ++c) out[c] = zero;
    for (int k = 0; k < 4; ++k) {
        if ((p.corners[i] >> k & 1) == 0) continue;
        const Scalar* from = image.corner(p.pixel[i], k);
        for (int64_t c = 0; c < channels; ++c) out[c] += from[c] * p.weight[k][i];
    }
}

template <int64_t kChannels, bool kBordered>
inline void sample_channels(const Pixels<const Scalar>& image, int64_t channels, const Positions& p, int64_t count,
                            Scalar* out, int64_t out_stride) {
    for (int64_t i = 0; i < count; ++i, out += out_stride) {
        if (!kBordered && p.corners[i] != kAllCorners) {
            sample_edge(image, kChannels ? kChannels : channels, p, i, out);
            continue;
        }
        const Scalar* upper = image.data + p.pixel[i] * image.stride;
        const Scalar* lower = upper + image.row;
        const Scalar w[4] = {p.weight[0][i], p.weight[1][i], p.weight[2][i], p.weight[3][i]};
        for_channels<kChannels>(
            channels,
            [&](auto vec, int64_t c) {
                using V = decltype(vec);
                V sum = V::load(upper + c) * V::set1(w[0]);
                sum = fma(V::load(upper + image.stride + c), V::set1(w[1]), sum);
                sum = fma(V::load(lower + c), V::set1(w[2]), sum);
                fma(V::load(lower + image.stride + c), V::set1(w[3]), sum).store(out + c);
            },
            [&](int64_t c) {
                out[c] =
                    upper[c] * w[0] + upper[image.stride + c] * w[1] + lower[c] * w[2] + lower[image.stride + c] * w[3];
            });
    }
}

// Samples of `channels` channels of one offset group at `positions`, times the mask: rows of `out`.
template <bool kBordered>
inline void sample(const Pixels<const Scalar>& image, int64_t channels, const Positions& positions, int64_t count,
                   Scalar* out, int64_t out_stride) {
    with_channels(channels, [&](auto fixed) {
        sample_channels<decltype(fixed)::value, kBordered>(image, channels, positions, count, out, out_stride);
    });
}

}  // namespace deform
