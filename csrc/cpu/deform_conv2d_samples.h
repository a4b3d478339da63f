// Where a tile of output pixels samples the input, and the samples; included inside a variant's namespace, after its
// Vec. A tile is kTile output pixels of one image; numbers past the last pixel are zeros.

namespace deform {

struct Tile {
    int64_t image, first, count;
    Scalar row[kTile], column[kTile];  // of the input pixel under the kernel's first tap

    // Tile `index` of the batch.
    Tile(const DeformConv2dShape& s, int64_t index) {
        const int64_t tiles = (s.out_pixels() + kTile - 1) / kTile;
        image = index / tiles;
        first = index % tiles * kTile;
        count = std::min(kTile, s.out_pixels() - first);
        int64_t y = first / s.out_width, x = first % s.out_width;
        for (int64_t i = 0; i < kTile; ++i) {
            row[i] = Scalar(y * s.stride[0] - s.padding[0]);
            column[i] = Scalar(x * s.stride[1] - s.padding[1]);
            if (++x == s.out_width) x = 0, ++y;
        }
    }
};

inline int64_t count_tiles(const DeformConv2dShape& s) { return s.batch * ((s.out_pixels() + kTile - 1) / kTile); }

// One channel of a tile's pixels: a pointer into the tensor if it can be, otherwise copied to `buffer`.
inline const Scalar* read_channel(const Planes<const Scalar>& planes, const Tile& tile, int64_t channel,
                                  Scalar* buffer) {
    const Scalar* from = planes.at(tile.image, channel, tile.first);
    if (planes.pixel == 1 && tile.count == kTile) return from;
    for (int64_t i = 0; i < tile.count; ++i) buffer[i] = from[i * planes.pixel];
    for (int64_t i = tile.count; i < kTile; ++i) buffer[i] = 0;
    return buffer;
}

inline void write_channel(const Planes<Scalar>& planes, const Tile& tile, int64_t channel, const Scalar* values) {
    Scalar* to = planes.at(tile.image, channel, tile.first);
    for (int64_t i = 0; i < tile.count; ++i) to[i * planes.pixel] = values[i];
}

// 1 / (1 + exp(-x)) to 2e-7; written for the compiler to vectorise, which a call of std::exp would not be.
inline void sigmoid(const Scalar* x, Scalar* out) {
    for (int64_t i = 0; i < kTile; ++i) {
        // Beyond +-87 the exponential leaves the normal numbers; NaN passes through the comparisons and stays.
        Scalar t = -x[i];
        t = t > Scalar(87) ? Scalar(87) : t;
        t = t < Scalar(-87) ? Scalar(-87) : t;
        const Scalar scaled = t * Scalar(1.44269504089) + Scalar(12582912);  // the nearest whole number, in low bits
        const Scalar whole = scaled - Scalar(12582912);
        const Scalar r = (t - whole * Scalar(0.693359375)) + whole * Scalar(2.12194440e-4);
        Scalar p = Scalar(1.9875691500e-4);  // the polynomial of Cephes' expf
        p = p * r + Scalar(1.3981999507e-3);
        p = p * r + Scalar(8.3334519073e-3);
        p = p * r + Scalar(4.1665795894e-2);
        p = p * r + Scalar(1.6666665459e-1);
        p = p * r + Scalar(5.0000001201e-1);
        p = p * r * r + r + Scalar(1);
        int32_t bits;
        __builtin_memcpy(&bits, &scaled, sizeof(bits));
        bits = int32_t((uint32_t(bits) - 0x4B400000u + 127u) << 23);
        Scalar power;
        __builtin_memcpy(&power, &bits, sizeof(power));
        out[i] = Scalar(1) / (Scalar(1) + p * power);
    }
}

// The corners that a tile's pixels read for one tap of one offset group. Of the four, those outside the image have
// weight zero and the address of one inside.
struct Positions {
    int32_t pixel[kTile];                           // the upper left corner, as a pixel of the image
    int32_t step_y[kTile], step_x[kTile];           // -1 where the lower (right) corner is another pixel, else 0
    Scalar weight[4][kTile];                        // times the mask: y0 x0, y0 x1, y1 x0, y1 x1
    Scalar mask[kTile];                             // zero outside
    Scalar weight_y[2][kTile], weight_x[2][kTile];  // of the upper and lower (left and right) corners
    Scalar valid_y[2][kTile], valid_x[2][kTile];    // 1 where they are inside the image
};

// Choices as masks of bits: a loop with conditions in it is not vectorised.
inline int32_t all_bits(bool condition) { return -int32_t(condition); }

inline Scalar keep(Scalar x, int32_t mask) {
    int32_t bits;
    __builtin_memcpy(&bits, &x, sizeof(bits));
    bits &= mask;
    __builtin_memcpy(&x, &bits, sizeof(x));
    return x;
}

// Without kGradients, the arrays that only gradients read stay unset.
template <bool kGradients>
inline void locate(const DeformInputs<Scalar>& in, const Tile& tile, int64_t offset_group, int64_t tap,
                   Positions& out) {
    const DeformConv2dShape& s = in.shape;
    Scalar buffer[3][kTile];
    const int64_t plane = offset_group * s.taps() + tap;
    const Scalar* dy = read_channel(in.offset, tile, 2 * plane, buffer[0]);
    const Scalar* dx = read_channel(in.offset, tile, 2 * plane + 1, buffer[1]);
    const Scalar* mask = buffer[2];
    if (in.mask.data == nullptr) {
        std::fill(buffer[2], buffer[2] + kTile, Scalar(1));
    } else {
        mask = read_channel(in.mask, tile, plane, buffer[2]);
        if (in.logits) sigmoid(mask, buffer[2]), mask = buffer[2];
    }
    const Scalar tap_y = Scalar(tap / s.kernel_width * s.dilation[0]);
    const Scalar tap_x = Scalar(tap % s.kernel_width * s.dilation[1]);
    const Scalar height = Scalar(s.height), width = Scalar(s.width);
    const int32_t last_y = int32_t(s.height - 1), last_x = int32_t(s.width - 1), row = int32_t(s.width);
    for (int64_t i = 0; i < kTile; ++i) {
        Scalar y = tile.row[i] + tap_y + dy[i], x = tile.column[i] + tap_x + dx[i];
        // False for NaN too; the comparison comes before any conversion to an integer, undefined for such numbers.
        const int32_t inside =
            all_bits(y > Scalar(-1)) & all_bits(y < height) & all_bits(x > Scalar(-1)) & all_bits(x < width);
        y = keep(y, inside);
        x = keep(x, inside);
        const Scalar m = keep(mask[i], inside);
        // Truncation of a number above -1, shifted by one, is its floor.
        const int32_t y0 = int32_t(y + Scalar(1)) - 1, x0 = int32_t(x + Scalar(1)) - 1;
        const Scalar fy = y - Scalar(y0), fx = x - Scalar(x0);
        const int32_t first_y = all_bits(y0 >= 0), second_y = all_bits(y0 < last_y);
        const int32_t first_x = all_bits(x0 >= 0), second_x = all_bits(x0 < last_x);
        const Scalar top = keep(Scalar(1), inside & first_y & all_bits(y0 <= last_y));
        const Scalar left = keep(Scalar(1), inside & first_x & all_bits(x0 <= last_x));
        const Scalar bottom = keep(Scalar(1), inside & second_y), right = keep(Scalar(1), inside & second_x);
        const Scalar wy0 = top * (Scalar(1) - fy), wy1 = bottom * fy;
        const Scalar wx0 = left * (Scalar(1) - fx), wx1 = right * fx;
        const int32_t yc = std::min(y0 & first_y, last_y), xc = std::min(x0 & first_x, last_x);
        out.pixel[i] = yc * row + xc;
        out.step_y[i] = first_y & second_y;
        out.step_x[i] = first_x & second_x;
        if constexpr (kGradients) {
            out.mask[i] = m;
            out.weight_y[0][i] = wy0, out.weight_y[1][i] = wy1;
            out.weight_x[0][i] = wx0, out.weight_x[1][i] = wx1;
            out.valid_y[0][i] = top, out.valid_y[1][i] = bottom;
            out.valid_x[0][i] = left, out.valid_x[1][i] = right;
        }
        const Scalar my0 = m * wy0, my1 = m * wy1;
        out.weight[0][i] = my0 * wx0, out.weight[1][i] = my0 * wx1;
        out.weight[2][i] = my1 * wx0, out.weight[3][i] = my1 * wx1;
    }
}

// The four corners of pixel i of a tile, as offsets into a channels-last image.
struct CornerOffsets {
    int64_t at[4];

    CornerOffsets(const DeformConv2dShape& s, const Positions& p, int64_t i) {
        const int64_t dx = int64_t(p.step_x[i]) & s.channels, dy = int64_t(p.step_y[i]) & (s.width * s.channels);
        at[0] = int64_t(p.pixel[i]) * s.channels;
        at[1] = at[0] + dx, at[2] = at[0] + dy, at[3] = at[2] + dx;
    }
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

template <int64_t kChannels>
inline void sample_channels(const DeformConv2dShape& s, const Scalar* image, int64_t channels, const Positions& p,
                            int64_t count, Scalar* out, int64_t out_stride) {
    for (int64_t i = 0; i < count; ++i, out += out_stride) {
        const CornerOffsets corner(s, p, i);
        const Scalar w[4] = {p.weight[0][i], p.weight[1][i], p.weight[2][i], p.weight[3][i]};
        for_channels<kChannels>(
            channels,
            [&](auto vec, int64_t c) {
                using V = decltype(vec);
                V sum = V::load(image + corner.at[0] + c) * V::set1(w[0]);
                for (int k = 1; k < 4; ++k) sum = fma(V::load(image + corner.at[k] + c), V::set1(w[k]), sum);
                sum.store(out + c);
            },
            [&](int64_t c) {
                Scalar sum = 0;
                for (int k = 0; k < 4; ++k) sum += image[corner.at[k] + c] * w[k];
                out[c] = sum;
            });
    }
}

// Samples of one offset group at `positions`, times the mask: its channels of out [kTile, C], rows of `out_stride`.
inline void sample_group(const DeformInputs<Scalar>& in, const Tile& tile, int64_t offset_group,
                         const Positions& positions, Scalar* out, int64_t out_stride) {
    const DeformConv2dShape& s = in.shape;
    const int64_t channels = s.channels / s.offset_groups, first = offset_group * channels;
    const Scalar* image = in.input + tile.image * s.pixels() * s.channels + first;
    with_channels(channels, [&](auto fixed) {
        sample_channels<decltype(fixed)::value>(s, image, channels, positions, tile.count, out + first, out_stride);
    });
    for (int64_t i = tile.count; i < kTile; ++i) {
        std::fill(out + i * out_stride + first, out + i * out_stride + first + channels, Scalar(0));
    }
}

}  // namespace deform
