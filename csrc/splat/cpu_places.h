// Where sources land, and sources in the order of where they land; included inside a variant's namespace, after its
// Vec.
#pragma once

#include "common/cpu/activation_kernel.h"
#include "common/cpu/transpose_kernel.h"
#include "common/cpu/vectors.h"

namespace splat {

constexpr int64_t kColumns = 64;   // pixels whose channels are turned round at a time, in the L1 cache
constexpr int64_t kSlabRows = 16;  // of sources that one task counts

// The row and column of the tap above and to the left, plus one, and the distances from it.
struct Place {
    int64_t row, column;
    Scalar a, b;
};

// The whole part of a number from -1 on, plus one. Not of the number plus one, which may be rounded up.
inline int64_t floor_plus_one(Scalar x) {
    const int64_t whole = int64_t(x);
    return whole + (x >= Scalar(whole));
}

// False where no tap lies in the picture. The comparisons come before any whole number: far places and NaN have none.
inline bool locate(Scalar x, Scalar y, int64_t height, int64_t width, Place& place) {
    if (!(x >= Scalar(-1) && x < Scalar(width) && y >= Scalar(-1) && y < Scalar(height))) return false;
    place.column = floor_plus_one(x), place.row = floor_plus_one(y);
    place.a = x - Scalar(place.column - 1), place.b = y - Scalar(place.row - 1);
    return place.column <= width && place.row <= height;  // a float of more than 2^24 pixels may be rounded up
}

// The place of the source in row i, column j of an image's flow [2, height, width].
inline bool locate_source(const SplatParameters<Scalar>& p, const Scalar* flow, int64_t i, int64_t j, Place& place) {
    const int64_t at = i * p.width + j;
    return locate(Scalar(j) + flow[at], Scalar(i) + flow[p.height * p.width + at], p.height, p.width, place);
}

// values[i] = exp(values[i]) for count values of at most 0; `values` has room for whole vectors. In single precision 0
// from -87 on. NaN stays NaN.
inline void exponentials(Scalar* values, int64_t count) {
    if constexpr (sizeof(Scalar) == 8) {
        for (int64_t i = 0; i < count; ++i) values[i] = std::exp(values[i]);
    } else {
        std::fill(values + count, values + whole_vectors(count), Scalar(0));
        const Vec zero = Vec::zero(), end = Vec::set1(Scalar(87));
        for (int64_t i = 0; i < count; i += Vec::width) {
            // In this order max and min keep NaN, and the comparison, which is false for it.
            const Vec x = min(end, max(zero, zero - Vec::load(values + i)));
            select_not_positive(end - x, zero, exp_minus(x)).store(values + i);
        }
    }
}

// The channels of an image's row from column first on, `count` of them: from planes to `to` [count, channels].
inline void turn_columns(const SplatParameters<Scalar>& p, const Scalar* planes, int64_t image, int64_t row,
                         int64_t first, int64_t count, Scalar* to) {
    const int64_t pixels = p.height * p.width;
    const Scalar* from = planes + image * p.channels * pixels + row * p.width + first;
    transpose(from, pixels, p.channels, count, to, p.channels);
}

// And back.
inline void turn_back(const SplatParameters<Scalar>& p, const Scalar* from, int64_t image, int64_t row, int64_t first,
                      int64_t count, Scalar* planes) {
    const int64_t pixels = p.height * p.width;
    Scalar* to = planes + image * p.channels * pixels + row * p.width + first;
    transpose(from, p.channels, count, p.channels, to, pixels);
}

constexpr int64_t kAtOnce = 4;  // sources that are taken whether they are there or not, without a branch

// A source that lands: its number in its image, the column of its place, its distances from the tap, its weight.
struct Source {
    uint32_t number, column;
    Scalar a, b, weight;
};

// The sources of all images by the row of their upper taps, in a row by the column of their left taps, and of one cell
// in the order of the sources: an order that follows from the flow alone. A row of cells is one more than the picture
// has, since sources land up to a pixel above it.
class Order {
 public:
    explicit Order(const SplatParameters<Scalar>& p)
        : p(p),
          rows(p.height + 1),
          slabs((p.height + kSlabRows - 1) / kSlabRows),
          counts(p.batch * slabs * rows),
          row_start(p.batch * rows + 1),
          column_start(p.batch * rows * (p.width + 2)) {}

    void run(ParallelFor parallel_for) {
        parallel_for(p.batch * slabs, &each<&Order::count>, this);
        int64_t start = 0;
        for (int64_t image = 0; image < p.batch; ++image) {
            for (int64_t row = 0; row < rows; ++row) {
                row_start[image * rows + row] = start;
                for (int64_t slab = 0; slab < slabs; ++slab) {
                    int64_t& count = counts[(image * slabs + slab) * rows + row];
                    start += std::exchange(count, start);
                }
            }
        }
        row_start.back() = start;
        unsorted.reset(new Source[start]);
        numbers.reset(new uint32_t[start + kAtOnce]);
        values.reset(new Scalar[3 * (start + kAtOnce)]);
        std::fill_n(numbers.get() + start, kAtOnce, 0);
        for (int k = 0; k < 3; ++k) std::fill_n(column_of(k) + start, kAtOnce, Scalar(0));
        parallel_for(p.batch * slabs, &each<&Order::fill>, this);
        parallel_for(p.batch * rows, &each<&Order::sort>, this);
        unsorted.reset();
    }

    // The sources of one row of cells, kAtOnce behind the last of which may be read; and for each column, and two more,
    // where in them its own begin.
    struct Row {
        const uint32_t* number;
        const Scalar *a, *b, *weight;
        const uint32_t* start;
        int64_t count;
    };

    Row row(int64_t image, int64_t row) const {
        const int64_t index = image * rows + row, first = row_start[index];
        return {numbers.get() + first,
                column_of(0) + first,
                column_of(1) + first,
                column_of(2) + first,
                column_start.data() + index * (p.width + 2),
                row_start[index + 1] - first};
    }

 private:
    template <void (Order::*task)(int64_t)>
    static void each(int64_t begin, int64_t end, void* context) {
        for (int64_t i = begin; i < end; ++i) (static_cast<Order*>(context)->*task)(i);
    }

    // a, b or weight of the sorted sources
    Scalar* column_of(int k) const { return values.get() + k * (row_start.back() + kAtOnce); }

    // take(source's number, place) of each source of a slab that lands.
    template <typename Take>
    void for_landing(int64_t index, const Take& take) const {
        const int64_t image = index / slabs, first = index % slabs * kSlabRows;
        const Scalar* flow = p.flow + image * 2 * p.height * p.width;
        Place place;
        for (int64_t i = first; i < std::min(first + kSlabRows, p.height); ++i) {
            for (int64_t j = 0; j < p.width; ++j) {
                if (locate_source(p, flow, i, j, place)) take(i * p.width + j, place);
            }
        }
    }

    void count(int64_t index) {
        int64_t* found = counts.data() + index * rows;
        for_landing(index, [&](int64_t, const Place& place) { ++found[place.row]; });
    }

    void fill(int64_t index) {
        int64_t* next = counts.data() + index * rows;
        const Scalar* weight = p.weight ? p.weight + index / slabs * p.height * p.width : nullptr;
        for_landing(index, [&](int64_t number, const Place& place) {
            unsorted[next[place.row]++] = {uint32_t(number), uint32_t(place.column), place.a, place.b,
                                           weight ? weight[number] : Scalar(1)};
        });
    }

    void sort(int64_t index) {
        uint32_t* start = column_start.data() + index * (p.width + 2);
        const int64_t first = row_start[index], end = row_start[index + 1];
        for (int64_t k = first; k < end; ++k) ++start[unsorted[k].column + 1];
        for (int64_t c = 1; c < p.width + 2; ++c) start[c] += start[c - 1];
        // start[c] is now where column c begins, and becomes where it ends, which is where the next one begins.
        Scalar *a = column_of(0), *b = column_of(1), *weight = column_of(2);
        for (int64_t k = first; k < end; ++k) {
            const Source& s = unsorted[k];
            const int64_t to = first + start[s.column]++;
            numbers[to] = s.number, a[to] = s.a, b[to] = s.b, weight[to] = s.weight;
        }
        std::copy_backward(start, start + p.width + 1, start + p.width + 2);
        start[0] = 0;
    }

    const SplatParameters<Scalar>& p;
    const int64_t rows, slabs;
    std::vector<int64_t> counts;         // [batch, slabs, rows]: sources, and then where the next one goes
    std::vector<int64_t> row_start;      // [batch, rows] and the end
    std::vector<uint32_t> column_start;  // [batch, rows, width + 2]
    // Not vectors: those would write zeros first.
    std::unique_ptr<Source[]> unsorted;
    std::unique_ptr<uint32_t[]> numbers;
    std::unique_ptr<Scalar[]> values;  // a, b and weight
};

}  // namespace splat
