// Forward splatting; included inside a variant's namespace, after its Vec. A pixel gathers its sources, so that a sum
// stays in registers, is written once, and has one order, which follows from the flow alone.
#pragma once

#include "splat/cpu_places.h"

namespace splat {

constexpr int kMostVecs = Vec::width == 16 ? 12 : 8;  // sums in registers

// What a row of pixels receives: of pixel x the entries from begin[x] to begin[x + 1].
struct Received {
    LineVector<int64_t> begin;
    LineVector<uint32_t> source;
    LineVector<Scalar> weight;             // of the tap, and then times the source's
    LineVector<Scalar> factor;             // the source's weight, or its exponent less the pixel's largest
    LineVector<Scalar> largest, relative;  // of a pixel: the largest exponent, and exp(-|largest|)

    explicit Received(int64_t width) : begin(width + 1), largest(width), relative(whole_vectors(width)) {}

    void room(int64_t entries) {
        entries = whole_vectors(entries + kAtOnce);
        if (int64_t(source.size()) >= entries) return;
        source.resize(entries), weight.resize(entries), factor.resize(entries);
    }
};

// out [kVecs vectors] = scale_of(sum of weights) times the weighted sum of rows of `from`; the last vector lies `last`
// numbers behind the first.
template <int kVecs, typename Scale>
inline void gather(const Scalar* from, int64_t channels, const uint32_t* source, const Scalar* weight, int64_t count,
                   const Scale& scale_of, int64_t last, Scalar* out) {
    Vec sums[kVecs];
    for (Vec& sum : sums) sum = Vec::zero();
    Scalar total = 0;
    for (int64_t e = 0; e < count; ++e) {
        const Scalar* x = from + source[e] * channels;
        total += weight[e];
        const Vec w = Vec::set1(weight[e]);
#pragma GCC unroll 12
        for (int v = 0; v < kVecs - 1; ++v) sums[v] = fma(Vec::load(x + v * Vec::width), w, sums[v]);
        sums[kVecs - 1] = fma(Vec::load(x + last), w, sums[kVecs - 1]);
    }
    const Vec scale = Vec::set1(scale_of(total));
#pragma GCC unroll 12
    for (int v = 0; v < kVecs - 1; ++v) (sums[v] * scale).store(out + v * Vec::width);
    (sums[kVecs - 1] * scale).store(out + last);
}

template <int kVecs = kMostVecs, typename... Arguments>
inline void gather_vecs(int64_t vecs, const Arguments&... arguments) {
    if constexpr (kVecs > 1) {
        if (vecs < kVecs) return gather_vecs<kVecs - 1>(vecs, arguments...);
    }
    gather<kVecs>(arguments...);
}

// The same of fewer channels than a vector has; their number is a constant, or 0 for `channels`.
template <int kChannels, typename Scale>
inline void gather_few(const Scalar* from, int64_t channels, const uint32_t* source, const Scalar* weight,
                       int64_t count, const Scale& scale_of, Scalar* out) {
    const int64_t n = kChannels ? kChannels : channels;
    Scalar sums[kChannels ? kChannels : Vec::width] = {}, total = 0;
    for (int64_t e = 0; e < count; ++e) {
        const Scalar* x = from + source[e] * n;
        total += weight[e];
        for (int64_t c = 0; c < n; ++c) sums[c] += weight[e] * x[c];
    }
    const Scalar scale = scale_of(total);
    for (int64_t c = 0; c < n; ++c) out[c] = scale * sums[c];
}

// All channels of one pixel.
template <typename Scale>
inline void gather_pixel(const Scalar* from, int64_t channels, const uint32_t* source, const Scalar* weight,
                         int64_t count, const Scale& scale_of, Scalar* out) {
    if (channels < Vec::width) {
        switch (channels) {
            case 1:
                return gather_few<1>(from, channels, source, weight, count, scale_of, out);
            case 2:
                return gather_few<2>(from, channels, source, weight, count, scale_of, out);
            case 3:
                return gather_few<3>(from, channels, source, weight, count, scale_of, out);
            case 4:
                return gather_few<4>(from, channels, source, weight, count, scale_of, out);
            default:
                return gather_few<0>(from, channels, source, weight, count, scale_of, out);
        }
    }
    for (int64_t c = 0; c < channels; c += kMostVecs * Vec::width) {
        const int64_t vecs = std::min<int64_t>(kMostVecs, whole_vectors(channels - c) / Vec::width);
        // Where the last vector would pass the end it overlaps the one before, and gives the same numbers again.
        const int64_t last = std::min((vecs - 1) * Vec::width, channels - Vec::width - c);
        gather_vecs(vecs, from + c, channels, source, weight, count, scale_of, last, out + c);
    }
}

class Forward {
 public:
    explicit Forward(const SplatParameters<Scalar>& p)
        : p(p), order(p), x(p.channels_last ? p.x : p.turned), divides(p.ending != SplatEnding::kNone) {}

    void run(ParallelFor parallel_for) {
        if (!p.channels_last) parallel_for(p.batch * p.height, &turn_rows, this);
        order.run(parallel_for);
        parallel_for(p.batch * p.height, &rows_of, this);
    }

 private:
    static void turn_rows(int64_t begin, int64_t end, void* context) {
        const SplatParameters<Scalar>& p = static_cast<Forward*>(context)->p;
        for (int64_t row = begin; row < end; ++row) {
            for (int64_t j = 0; j < p.width; j += kColumns) {
                turn_columns(p, p.x, row / p.height, row % p.height, j, std::min(kColumns, p.width - j),
                             p.turned + (row * p.width + j) * p.channels);
            }
        }
    }

    static void rows_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const Forward*>(context);
        Received received(self.p.width);
        LineVector<Scalar> tile(self.p.channels_last ? 0 : kColumns * self.p.channels);
        for (int64_t row = begin; row < end; ++row) {
            const int64_t image = row / self.p.height, y = row % self.p.height;
            self.receive(image, y, received);
            self.weigh(received);
            self.sum(image, y, received, tile.data());
        }
    }

    // The taps that lie in row y, by pixel: first those of sources above it, then of those below.
    void receive(int64_t image, int64_t y, Received& to) const {
        const Order::Row upper = order.row(image, y), lower = order.row(image, y + 1);
        to.room(2 * (upper.count + lower.count));
        int64_t n = 0;
        for (int64_t x = 0; x < p.width; ++x) {
            to.begin[x] = n;
            n = take<true>(upper, x, n, to);
            n = take<false>(lower, x, n, to);
            if (p.exponential) relate(x, n, to);
        }
        to.begin[p.width] = n;
    }

    // Entries from n on of the sources of a row whose left or right taps are pixel x, the right ones first.
    template <bool kUpper>
    int64_t take(const Order::Row& row, int64_t x, int64_t n, Received& to) const {
        const uint32_t first = row.start[x], right = row.start[x + 1] - first, count = row.start[x + 2] - first;
        for (uint32_t k = 0;; k += kAtOnce) {
            // In variables of their own, which nothing else points to: then these loops are vectors.
            Scalar a[kAtOnce], b[kAtOnce], weight[kAtOnce];
            std::copy_n(row.a + first + k, kAtOnce, a);
            std::copy_n(row.b + first + k, kAtOnce, b);
            for (uint32_t i = 0; i < kAtOnce; ++i) weight[i] = k + i < right ? a[i] : Scalar(1) - a[i];
            for (uint32_t i = 0; i < kAtOnce; ++i) weight[i] *= kUpper ? b[i] : Scalar(1) - b[i];
            std::copy_n(weight, kAtOnce, to.weight.data() + n + k);
            std::copy_n(row.number + first + k, kAtOnce, to.source.data() + n + k);
            std::copy_n(row.weight + first + k, kAtOnce, to.factor.data() + n + k);
            if (k + kAtOnce >= count) break;
        }
        return n + count;
    }

    // Exponents of pixel x's entries, up to `end`, relative to the largest, so that exponentials neither overflow nor
    // all vanish.
    void relate(int64_t x, int64_t end, Received& r) const {
        constexpr Scalar none = -std::numeric_limits<Scalar>::infinity();
        const int64_t begin = r.begin[x];
        Scalar most[kAtOnce] = {none, none, none, none}, exponent[kAtOnce], weight[kAtOnce];
        for (int64_t e = begin; e < end; e += kAtOnce) {
            std::copy_n(r.factor.data() + e, kAtOnce, exponent);
            std::copy_n(r.weight.data() + e, kAtOnce, weight);
            for (int64_t i = 0; i < kAtOnce; ++i) {
                const Scalar counts = (e + i < end) & (weight[i] > 0) ? exponent[i] : none;
                most[i] = counts > most[i] ? counts : most[i];
            }
        }
        const Scalar most_of_all = std::max(std::max(most[0], most[1]), std::max(most[2], most[3]));
        const Scalar largest = most_of_all == none ? Scalar(0) : most_of_all;
        for (int64_t e = begin; e < end; e += kAtOnce) {
            std::copy_n(r.factor.data() + e, kAtOnce, exponent);
            for (Scalar& of : exponent) of -= largest;
            // A larger one has a tap of weight zero. NaN stays.
            for (Scalar& of : exponent) of = of > 0 ? Scalar(0) : of;
            std::copy_n(exponent, kAtOnce, r.factor.data() + e);
        }
        r.largest[x] = largest, r.relative[x] = -std::abs(largest);
    }

    void weigh(Received& r) const {
        if (!p.weight) return;
        const int64_t count = r.begin[p.width];
        if (p.exponential) {
            exponentials(r.factor.data(), count);
            exponentials(r.relative.data(), p.width);
        }
        for (int64_t e = 0; e < count; ++e) r.weight[e] *= r.factor[e];
    }

    void sum(int64_t image, int64_t y, const Received& r, Scalar* tile) const {
        const Scalar* from = x + image * p.height * p.width * p.channels;
        const int64_t row = (image * p.height + y) * p.width;
        for (int64_t j = 0; j < p.width; j += kColumns) {
            const int64_t count = std::min(kColumns, p.width - j);
            Scalar* to = p.channels_last ? p.out + (row + j) * p.channels : tile;
            for (int64_t i = j; i < j + count; ++i, to += p.channels) {
                const int64_t first = r.begin[i], entries = r.begin[i + 1] - first;
                const Scalar* weight = r.weight.data() + first;
                const auto scale_of = [&](Scalar total) {
                    if (divides) return divide(image, y, i, total, r);
                    if (p.denominator) p.denominator[row + i] = total;
                    return Scalar(1);
                };
                gather_pixel(from, p.channels, r.source.data() + first, weight, entries, scale_of, to);
                if (p.count) p.count[row + i] = Scalar(entries);
                if (p.max) p.max[row + i] = largest_of(weight, entries);
            }
            if (!p.channels_last) turn_back(p, tile, image, y, j, count, p.out);
        }
    }

    // Not less than 1; NaN is no larger one.
    static Scalar largest_of(const Scalar* weight, int64_t count) {
        Scalar largest = 1;
        for (int64_t e = 0; e < count; ++e) largest = std::max(largest, weight[e]);
        return largest;
    }

    // What the sum of a pixel is multiplied by.
    Scalar divide(int64_t image, int64_t y, int64_t x, Scalar total, const Received& r) const {
        const Scalar largest = p.exponential ? r.largest[x] : Scalar(0);
        Scalar epsilon = Scalar(1e-7);
        if (p.exponential) epsilon = largest > 0 ? epsilon * r.relative[x] : epsilon / r.relative[x];
        bool depends = true;
        if (p.ending == SplatEnding::kAdd) total += epsilon;
        if (p.ending == SplatEnding::kZero && total == 0) total = 1, depends = false;
        if (p.ending == SplatEnding::kClip && total < epsilon) total = epsilon, depends = false;
        const int64_t pixels = p.height * p.width;
        Scalar* norm = p.norm + image * 3 * pixels + y * p.width + x;
        norm[0] = Scalar(1) / total, norm[pixels] = largest, norm[2 * pixels] = Scalar(depends);
        return norm[0];
    }

    const SplatParameters<Scalar>& p;
    Order order;
    const Scalar* x;  // channels last
    const bool divides;
};

}  // namespace splat

void splat_forward(const SplatParameters<Scalar>& parameters, ParallelFor parallel_for) {
    splat::Forward(parameters).run(parallel_for);
}
