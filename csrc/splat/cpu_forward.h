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
    LineVector<Scalar> share;                    // of the tap, and then times the weight
    LineVector<Scalar> exponent;                 // the source's, relative to the pixel's largest
    LineVector<Scalar> largest, epsilon, scale;  // of a pixel

    explicit Received(int64_t width) : begin(width + 1) {
        for (auto* v : {&largest, &epsilon, &scale}) v->resize(whole_vectors(width));
    }

    void room(int64_t entries) {
        if (int64_t(source.size()) >= entries) return;
        source.resize(entries), share.resize(entries), exponent.resize(whole_vectors(entries));
    }
};

// out [kVecs vectors] = scale times the sum of rows of `from`, the last vector `last` numbers behind the first one's
// start.
template <int kVecs>
inline void gather(const Scalar* from, int64_t channels, const uint32_t* source, const Scalar* weight, int64_t count,
                   Scalar scale, int64_t last, Scalar* out) {
    Vec sums[kVecs];
    for (Vec& sum : sums) sum = Vec::zero();
    for (int64_t e = 0; e < count; ++e) {
        const Scalar* x = from + source[e] * channels;
        const Vec w = Vec::set1(weight[e]);
#pragma GCC unroll 12
        for (int v = 0; v < kVecs - 1; ++v) sums[v] = fma(Vec::load(x + v * Vec::width), w, sums[v]);
        sums[kVecs - 1] = fma(Vec::load(x + last), w, sums[kVecs - 1]);
    }
    const Vec factor = Vec::set1(scale);
#pragma GCC unroll 12
    for (int v = 0; v < kVecs - 1; ++v) (sums[v] * factor).store(out + v * Vec::width);
    (sums[kVecs - 1] * factor).store(out + last);
}

template <int kVecs = kMostVecs, typename... Arguments>
inline void gather_vecs(int64_t vecs, Arguments... arguments) {
    if constexpr (kVecs > 1) {
        if (vecs < kVecs) return gather_vecs<kVecs - 1>(vecs, arguments...);
    }
    gather<kVecs>(arguments...);
}

// The same of fewer channels than a vector has; their number is a constant, or 0 for `channels`.
template <int kChannels>
inline void gather_few(const Scalar* from, int64_t channels, const uint32_t* source, const Scalar* weight,
                       int64_t count, Scalar scale, Scalar* out) {
    const int64_t n = kChannels ? kChannels : channels;
    Scalar sums[kChannels ? kChannels : Vec::width] = {};
    for (int64_t e = 0; e < count; ++e) {
        const Scalar* x = from + source[e] * n;
        for (int64_t c = 0; c < n; ++c) sums[c] += weight[e] * x[c];
    }
    for (int64_t c = 0; c < n; ++c) out[c] = scale * sums[c];
}

// All channels of one pixel.
inline void gather_pixel(const Scalar* from, int64_t channels, const uint32_t* source, const Scalar* weight,
                         int64_t count, Scalar scale, Scalar* out) {
    if (channels < Vec::width) {
        switch (channels) {
            case 1:
                return gather_few<1>(from, channels, source, weight, count, scale, out);
            case 2:
                return gather_few<2>(from, channels, source, weight, count, scale, out);
            case 3:
                return gather_few<3>(from, channels, source, weight, count, scale, out);
            case 4:
                return gather_few<4>(from, channels, source, weight, count, scale, out);
            default:
                return gather_few<0>(from, channels, source, weight, count, scale, out);
        }
    }
    for (int64_t c = 0; c < channels; c += kMostVecs * Vec::width) {
        const int64_t vecs = std::min<int64_t>(kMostVecs, whole_vectors(channels - c) / Vec::width);
        // Where the last vector would pass the end it overlaps the one before, and gives the same numbers again.
        const int64_t last = std::min((vecs - 1) * Vec::width, channels - Vec::width - c);
        gather_vecs(vecs, from + c, channels, source, weight, count, scale, last, out + c);
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
            if (self.p.exponential) self.weigh(received);
            self.sum_weights(image, y, received);
            self.sum(image, y, received, tile.data());
        }
    }

    // The taps that lie in row y, by pixel: first those below their sources' places, then those above.
    void receive(int64_t image, int64_t y, Received& to) const {
        const Order::Row below = order.row(image, y), above = order.row(image, y + 1);
        to.room(2 * (below.count + above.count));
        int64_t n = 0;
        for (int64_t x = 0; x < p.width; ++x) {
            to.begin[x] = n;
            for (const bool is_below : {true, false}) {
                const Order::Row& row = is_below ? below : above;
                for (uint32_t e = row.start[x]; e < row.start[x + 2]; ++e, ++n) {
                    const Order::Source& s = row.sources[e];
                    const Scalar along = int64_t(s.column) == x ? s.a : Scalar(1) - s.a;
                    to.source[n] = s.number;
                    to.share[n] = along * (is_below ? s.b : Scalar(1) - s.b);
                    to.exponent[n] = s.weight;
                }
            }
        }
        to.begin[p.width] = n;
        if (p.weight && !p.exponential) {
            for (int64_t e = 0; e < n; ++e) to.share[e] *= to.exponent[e];
        }
    }

    // Weights relative to the largest of a pixel, and 1e-7 with them: exponentials neither overflow nor vanish.
    void weigh(Received& r) const {
        for (int64_t x = 0; x < p.width; ++x) {
            Scalar largest = -std::numeric_limits<Scalar>::infinity();
            for (int64_t e = r.begin[x]; e < r.begin[x + 1]; ++e) {
                if (r.exponent[e] == -std::numeric_limits<Scalar>::infinity()) r.share[e] = 0;
                if (r.share[e] > 0) largest = std::max(largest, r.exponent[e]);
            }
            if (largest == -std::numeric_limits<Scalar>::infinity()) largest = 0;
            for (int64_t e = r.begin[x]; e < r.begin[x + 1]; ++e) {
                // A larger one has a tap of weight zero. NaN stays.
                const Scalar relative = r.exponent[e] - largest;
                r.exponent[e] = relative > 0 ? Scalar(0) : relative;
            }
            r.largest[x] = largest, r.epsilon[x] = -std::abs(largest);
        }
        exponentials(r.exponent.data(), r.begin[p.width]);
        exponentials(r.epsilon.data(), p.width);
        for (int64_t e = 0; e < r.begin[p.width]; ++e) r.share[e] *= r.exponent[e];
    }

    // What is known of each pixel before the channels are.
    void sum_weights(int64_t image, int64_t y, Received& r) const {
        const int64_t first = (image * p.height + y) * p.width;
        for (int64_t x = 0; x < p.width; ++x) {
            const Scalar *begin = r.share.data() + r.begin[x], *end = r.share.data() + r.begin[x + 1];
            Scalar sum = 0, most = 1;
            for (const Scalar* w = begin; w < end; ++w) {
                sum += *w;
                if (*w > most) most = *w;
            }
            if (p.denominator) p.denominator[first + x] = sum;
            if (p.count) p.count[first + x] = Scalar(end - begin);
            if (p.max) p.max[first + x] = most;
            r.scale[x] = 1;
            if (divides) divide(image, y, x, sum, r);
        }
    }

    void divide(int64_t image, int64_t y, int64_t x, Scalar sum, Received& r) const {
        const Scalar largest = p.exponential ? r.largest[x] : Scalar(0);
        Scalar epsilon = Scalar(1e-7);
        if (p.exponential) epsilon = largest > 0 ? epsilon * r.epsilon[x] : epsilon / r.epsilon[x];
        bool depends = true;
        if (p.ending == SplatEnding::kAdd) sum += epsilon;
        if (p.ending == SplatEnding::kZero && sum == 0) sum = 1, depends = false;
        if (p.ending == SplatEnding::kClip && sum < epsilon) sum = epsilon, depends = false;
        r.scale[x] = Scalar(1) / sum;
        const int64_t pixels = p.height * p.width;
        Scalar* norm = p.norm + image * 3 * pixels + y * p.width + x;
        norm[0] = r.scale[x], norm[pixels] = largest, norm[2 * pixels] = Scalar(depends);
    }

    void sum(int64_t image, int64_t y, const Received& r, Scalar* tile) const {
        const Scalar* from = x + image * p.height * p.width * p.channels;
        Scalar* out = p.out + (image * p.height + y) * p.width * p.channels;
        for (int64_t j = 0; j < p.width; j += kColumns) {
            const int64_t count = std::min(kColumns, p.width - j);
            Scalar* to = p.channels_last ? out + j * p.channels : tile;
            for (int64_t i = j; i < j + count; ++i, to += p.channels) {
                const int64_t first = r.begin[i];
                gather_pixel(from, p.channels, r.source.data() + first, r.share.data() + first, r.begin[i + 1] - first,
                             r.scale[i], to);
            }
            if (!p.channels_last) turn_back(p, tile, image, y, j, count, p.out);
        }
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
