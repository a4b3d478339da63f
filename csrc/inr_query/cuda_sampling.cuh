// Where output pixels lie in the maps of the query, and reading the maps there.
//
// A warp decodes a rectangle of output pixels 8 wide. Lane 4 g + t has the pixels of column g in the rows of the
// rectangle, of which row i is row g + 8 i of the products; of every 32 channels it has eight, from 8 t on.
#pragma once

#include "common/cuda/operands.cuh"
#include "inr_query/cuda_parameters.cuh"

namespace vinr::cuda {

// Where an output pixel falls on one axis of the maps, exactly: the nearest pixel and the distance from its centre in
// half pixels.
struct AxisPlace {
    int nearest;
    float relative;
    VINR_DEVICE float position() const { return float(nearest) + relative / 2; }
};

VINR_DEVICE AxisPlace axis_place(int index, int n_in, int n_out) {
    const uint64_t numerator = (2 * uint64_t(index) + 1) * uint64_t(n_in);
    const int nearest = int(numerator / (2 * uint64_t(n_out)));
    const int64_t rest = int64_t(numerator) - (2 * int64_t(nearest) + 1) * n_out;
    return {nearest, float(rest) / float(n_out)};
}

// The four corners of a position as common/bilinear.h has them, in one word of place and four weights. Corners outside
// are moved to the pixels inside beside them, with weight 0. Where none is inside, no pixel is to be read: any may hold
// NaN, which a weight of zero would let through.
struct Corners {
    uint32_t place;  // pixel of the first corner << 2 | 2 if the lower row is another | 1 if the right column is
    float weight[4];

    static constexpr uint32_t kOutside = 0xfffffffcu;  // no place: maps have fewer than 2^30 - 1 pixels
    VINR_DEVICE bool outside() const { return place == kOutside; }
};

// The corners' addresses in a channels-last map, or those of `zeros`, which spares a choice for each number read;
// a row is shorter than 2^31 elements.
template <typename T>
struct CornerPointers {
    const T* first;
    uint32_t down, along;

    VINR_DEVICE CornerPointers(const T* map, const void* zeros, uint32_t channels, int width, uint32_t place)
        : first(place == Corners::kOutside ? static_cast<const T*>(zeros) : map + uint64_t(place >> 2) * channels),
          down(place & 2 ? channels * uint32_t(width) : 0),
          along(place & 1 ? channels : 0) {}

    VINR_DEVICE const T* at(int corner) const {
        const T* row = corner & 2 ? first + down : first;
        return corner & 1 ? row + along : row;
    }
};

VINR_DEVICE Corners corners_at(float y, float x, const Plane& plane) {
    const int height = plane.height, width = plane.width;
    // False for NaN; only then may they become whole numbers.
    const bool inside = y > -1.0f && y < plane.float_height && x > -1.0f && x < plane.float_width;
    y = inside ? y : 0.0f;
    x = inside ? x : 0.0f;
    const int y0 = int(y + 1.0f) - 1, x0 = int(x + 1.0f) - 1;
    const float fy = y - float(y0), fx = x - float(x0);
    const float top = inside && y0 >= 0 ? 1.0f - fy : 0.0f, bottom = inside && y0 + 1 < height ? fy : 0.0f;
    const float left = x0 >= 0 ? 1.0f - fx : 0.0f, right = x0 + 1 < width ? fx : 0.0f;
    const int first_y = y0 < 0 ? 0 : y0, first_x = x0 < 0 ? 0 : x0;
    const uint32_t down = y0 >= 0 && y0 + 1 < height, along = x0 >= 0 && x0 + 1 < width;
    const uint32_t first = uint32_t(first_y) * uint32_t(width) + uint32_t(first_x);
    return {inside ? first << 2 | down << 1 | along : Corners::kOutside,
            {top * left, top * right, bottom * left, bottom * right}};
}

VINR_DEVICE Corners shuffle(const Corners& corners, int source) {
    Corners out;
    out.place = shuffle(corners.place, source);
    VINR_UNROLL
    for (int k = 0; k < 4; ++k) out.weight[k] = shuffle(corners.weight[k], source);
    return out;
}

// A coordinate of the maps in the upsampled colours.
VINR_DEVICE float fine(float coordinate, int upsample) { return float(upsample) * (coordinate + 0.5f) - 0.5f; }

// Normalised position of output pixel `index` moved by `flow` output pixels, clamped; NaN stays NaN. `last` is the last
// pixel of the axis.
VINR_DEVICE float warped(int index, float last, float flow) {
    constexpr float limit = float(1 - 1e-6);
    const float g = last == 0.0f ? -1.0f : -1.0f + float(2 * index) / last + flow / (last / 2);
    return g < -limit ? -limit : (g > limit ? limit : g);
}

// Normalised coordinates to pixels of an axis of `size`, as align_corners=False has them.
VINR_DEVICE float to_pixel(float g, float size) { return ((g + 1.0f) * size - 1.0f) / 2; }

// The first pixel of a warp's rectangle, and the image it is of.
struct WarpPlace {
    int image, y0, x0;  // image of the launch

    // Blocks of kAcross x kDown warps, each with 8 x kRows pixels.
    template <int kAcross, int kDown, int kRows>
    static VINR_DEVICE WarpPlace of(const QueryParameters& p, unsigned tile) {
        const unsigned row = tile / unsigned(p.tiles_x), image = row / unsigned(p.tiles_y);
        return {int(image),
                int(row - image * unsigned(p.tiles_y)) * kDown * kRows + int(unsigned(warp()) / kAcross) * kRows,
                int(tile - row * unsigned(p.tiles_x)) * kAcross * 8 + int(unsigned(warp()) % kAcross) * 8};
    }

    VINR_DEVICE int batch(const QueryParameters& p) const { return (p.first_image + image) / p.arguments.times; }
    VINR_DEVICE float now(const QueryParameters& p) const {
        const int time = (p.first_image + image) % p.arguments.times;
        return load(p.arguments.time + int64_t(time) * p.arguments.batch + batch(p));
    }
    VINR_DEVICE const float* maps(const QueryParameters& p) const {
        return p.arguments.maps + batch(p) * p.map_numbers;
    }
    VINR_DEVICE const float* colours(const QueryParameters& p) const {
        return p.arguments.colours + batch(p) * p.colour_numbers;
    }
    VINR_DEVICE int row(const QueryParameters& p, int i) const {
        return y0 + i < p.arguments.height ? y0 + i : p.arguments.height - 1;
    }
    VINR_DEVICE int column(const QueryParameters& p, int g) const {
        return x0 + g < p.arguments.width ? x0 + g : p.arguments.width - 1;
    }
    VINR_DEVICE bool holds(const QueryParameters& p, int i, int g) const {
        return y0 + i < p.arguments.height && x0 + g < p.arguments.width;
    }
};

// The rectangle's places on both axes, a lane each: columns in lanes 0 to 7, rows in lanes 8 to 15.
VINR_DEVICE AxisPlace lane_axis_place(const QueryParameters& p, const WarpPlace& at) {
    const QueryArguments& a = p.arguments;
    const int i = lane() & 7;
    return lane() & 8 ? axis_place(at.row(p, i), a.lr_height, a.height)
                      : axis_place(at.column(p, i), a.lr_width, a.width);
}
VINR_DEVICE AxisPlace shuffle(const AxisPlace& place, int source) {
    return {shuffle(place.nearest, source), shuffle(place.relative, source)};
}

// Eight channels at a position, times their weights, into v.
template <typename O, typename T>
VINR_DEVICE void sample8(const CornerPointers<T>& from, int channel, const Corners& at, float (&v)[8]) {
    VINR_UNROLL
    for (int k = 0; k < 4; ++k) {
        float corner[8];
        O::load8(from.at(k) + channel, corner);
        VINR_UNROLL
        for (int c = 0; c < 8; ++c) v[c] = k ? fmaf(corner[c], at.weight[k], v[c]) : corner[c] * at.weight[0];
    }
}

// z += unit * sample of 64 channels of the maps at each pixel of the lane; `own` are the corners of row lane % 4.
template <int M>
VINR_DEVICE void add_map(float (&z)[M][8][4], const float* map, const void* zeros, int channels, int width, Corners own,
                         float unit) {
    VINR_UNROLL
    for (int k = 0; k < 4; ++k) own.weight[k] *= unit;
    const float* eight = map + 8 * lane_column();
    VINR_UNROLL
    for (int i = 0; i < 2 * M; ++i) {
        const Corners at = shuffle(own, (lane() & ~3) + i);
        const CornerPointers<float> from(eight, zeros, uint32_t(channels), width, at.place);
        VINR_UNROLL
        for (int part = 0; part < 2; ++part) {
            float v[8];
            sample8<SingleOperand>(from, 32 * part, at, v);
            VINR_UNROLL
            for (int c = 0; c < 8; ++c) z[i / 2][4 * part + c / 2][2 * (i % 2) + c % 2] += v[c];
        }
    }
}

// The HR feature at each pixel of the lane as a left factor of 64 columns.
template <typename O, int M>
VINR_DEVICE void read_hr(typename O::Fragment (&a)[M][4], const typename O::Stored* hr, const void* zeros, int width,
                         const Corners& own) {
    const typename O::Stored* eight = hr + 8 * lane_column();
    VINR_UNROLL
    for (int i = 0; i < 2 * M; ++i) {
        const Corners at = shuffle(own, (lane() & ~3) + i);
        const CornerPointers<typename O::Stored> from(eight, zeros, 64, width, at.place);
        VINR_UNROLL
        for (int part = 0; part < 2; ++part) {
            float v[8];
            sample8<O>(from, 32 * part, at, v);
            O::set_row(a[i / 2][2 * part], i % 2, v[0], v[1], v[2], v[3]);
            O::set_row(a[i / 2][2 * part + 1], i % 2, v[4], v[5], v[6], v[7]);
        }
    }
}

// Two of a position's eight colours, those of the lane's columns.
VINR_DEVICE void read_colours(const float* colours, const void* zeros, int width, const Corners& at, float& first,
                              float& second) {
    struct alignas(8) Pair {
        float first, second;
    };
    const CornerPointers<float> from(colours + 2 * lane_column(), zeros, 8, width, at.place);
    first = second = 0.0f;
    VINR_UNROLL
    for (int k = 0; k < 4; ++k) {
        const Pair pair = load(reinterpret_cast<const Pair*>(from.at(k)));
        first = fmaf(pair.first, at.weight[k], first);
        second = fmaf(pair.second, at.weight[k], second);
    }
}

}  // namespace vinr::cuda
