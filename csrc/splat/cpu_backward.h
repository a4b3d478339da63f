// The backward pass of forward splatting; included inside a variant's namespace, after its Vec. A source reads the
// gradient at its four taps: no sum is shared.
#pragma once

#include "splat/cpu_places.h"

namespace splat {

// Sums of the lanes of vectors; HalfVec has an order for them.
inline void sum_vectors(const Vec v[4], Scalar* out) {
    HalfVec halves[4];
    for (int k = 0; k < 4; ++k) {
        Scalar lanes[Vec::width];
        v[k].store(lanes);
        halves[k] = HalfVec::load(lanes);
        if (Vec::width > HalfVec::width) {
            halves[k] = fma(HalfVec::load(lanes + Vec::width - HalfVec::width), HalfVec::set1(1), halves[k]);
        }
    }
    sum_lanes(halves, out);
}

class Backward {
 public:
    Backward(const SplatParameters<Scalar>& p, const SplatGradients<Scalar>& g)
        : p(p),
          g(g),
          grad(p.channels_last ? g.grad_output : g.turned),
          pull(g.norm ? g.pull : g.grad_denominator),
          wants_dots(g.flow || g.weight),
          zeros(p.channels, Scalar(0)) {}

    void run(ParallelFor parallel_for) {
        if (!p.channels_last || (g.norm && wants_dots)) parallel_for(p.batch * p.height, &prepare_rows, this);
        parallel_for(p.batch * p.height, &rows_of, this);
    }

 private:
    static void prepare_rows(int64_t begin, int64_t end, void* context) {
        for (int64_t row = begin; row < end; ++row) static_cast<const Backward*>(context)->prepare(row);
    }

    // Of a row of pixels: the output's gradient with its channels last; and the gradient of the sum of weights, of
    // which the quotient's share is -(gradient . output) / divisor.
    void prepare(int64_t row) const {
        const int64_t image = row / p.height, y = row % p.height, pixels = p.height * p.width;
        if (!p.channels_last) {
            for (int64_t j = 0; j < p.width; j += kColumns) {
                turn_columns(p, g.grad_output, image, y, j, std::min(kColumns, p.width - j),
                             g.turned + (row * p.width + j) * p.channels);
            }
        }
        if (!g.norm || !wants_dots) return;
        Scalar* to = g.pull + row * p.width;
        if (p.channels_last) {
            const Scalar *d = g.grad_output + row * p.width * p.channels, *out = g.out + row * p.width * p.channels;
            for (int64_t j = 0; j < p.width; ++j, d += p.channels, out += p.channels) to[j] = dot(d, out);
        } else {
            std::fill_n(to, p.width, Scalar(0));
            const int64_t first = image * p.channels * pixels + y * p.width;
            for (int64_t c = 0; c < p.channels; ++c) {
                const Scalar *d = g.grad_output + first + c * pixels, *out = g.out + first + c * pixels;
                for (int64_t j = 0; j < p.width; ++j) to[j] += d[j] * out[j];
            }
        }
        const Scalar *scale = g.norm + image * 3 * pixels + y * p.width, *depends = scale + 2 * pixels;
        for (int64_t j = 0; j < p.width; ++j) to[j] = depends[j] != 0 ? -scale[j] * to[j] : Scalar(0);
    }

    Scalar dot(const Scalar* a, const Scalar* b) const {
        Vec sums[4] = {Vec::zero(), Vec::zero(), Vec::zero(), Vec::zero()};
        int64_t c = 0;
        for (int k = 0; c + Vec::width <= p.channels; c += Vec::width, k = (k + 1) % 4) {
            sums[k] = fma(Vec::load(a + c), Vec::load(b + c), sums[k]);
        }
        Scalar parts[4];
        sum_vectors(sums, parts);
        Scalar sum = (parts[0] + parts[1]) + (parts[2] + parts[3]);
        for (; c < p.channels; ++c) sum += a[c] * b[c];
        return sum;
    }

    struct Scratch {
        LineVector<Scalar> x, d_x;  // [kColumns, channels], where those do not lie last
        LineVector<Scalar> weight;  // [4, kColumns]: a source's at each tap, relative to the pixel's largest
        std::vector<Place> place;   // [kColumns]
        std::vector<char> lands;

        explicit Scratch(const Backward& b)
            : x(b.p.channels_last ? 0 : kColumns * b.p.channels),
              d_x(x.size()),
              weight(4 * kColumns),
              place(kColumns),
              lands(kColumns) {}
    };

    static void rows_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const Backward*>(context);
        Scratch scratch(self);
        for (int64_t row = begin; row < end; ++row) {
            for (int64_t j = 0; j < self.p.width; j += kColumns) {
                self.columns(row, j, std::min(kColumns, self.p.width - j), scratch);
            }
        }
    }

    bool inside(int64_t row, int64_t column) const {
        return row >= 0 && row < p.height && column >= 0 && column < p.width;
    }

    // The sources of columns [first, first + count) of a row.
    void columns(int64_t row, int64_t first, int64_t count, Scratch& s) const {
        const int64_t image = row / p.height, i = row % p.height, pixels = p.height * p.width;
        for (int64_t j = 0; j < count; ++j) {
            s.lands[j] = locate_source(p, p.flow + image * 2 * pixels, i, first + j, s.place[j]);
        }
        weigh(image, i * p.width + first, count, s);
        const Scalar* x = p.x + (row * p.width + first) * p.channels;
        if (!p.channels_last && wants_dots) {
            turn_columns(p, p.x, image, i, first, count, s.x.data());
            x = s.x.data();
        }
        Scalar* d_x = p.channels_last && g.x ? g.x + (row * p.width + first) * p.channels : s.d_x.data();
        for (int64_t j = 0; j < count; ++j, x += p.channels, d_x += p.channels) {
            source(image, i * p.width + first + j, s.lands[j] ? &s.place[j] : nullptr, s.weight.data() + 4 * j, x, d_x);
        }
        if (!p.channels_last && g.x) turn_back(p, s.d_x.data(), image, i, first, count, g.x);
    }

    // The weights of sources at their taps.
    void weigh(int64_t image, int64_t first, int64_t count, Scratch& s) const {
        const int64_t pixels = p.height * p.width;
        const Scalar* weight = p.weight ? p.weight + image * pixels + first : nullptr;
        Scalar* to = s.weight.data();
        if (!p.exponential) {
            for (int64_t k = 0; k < 4 * count; ++k) to[k] = weight ? weight[k / 4] : Scalar(1);
            return;
        }
        const Scalar* largest = g.norm + image * 3 * pixels + pixels;
        bool beyond = false;
        for (int64_t k = 0; k < 4 * count; ++k) {
            const Place& place = s.place[k / 4];
            const int64_t y = place.row - 1 + (k % 4) / 2, x = place.column - 1 + k % 2;
            to[k] = s.lands[k / 4] && inside(y, x) ? weight[k / 4] - largest[y * p.width + x] : Scalar(0);
            beyond |= to[k] > 0;
        }
        if (!beyond) return exponentials(to, 4 * count);
        // At taps of weight zero, which have derivatives: as large as it may be, but finite.
        for (int64_t k = 0; k < 4 * count; ++k) to[k] = std::exp(to[k] > 80 ? Scalar(80) : to[k]);
    }

    // One source; no place where it lands nowhere. weight: at each tap.
    void source(int64_t image, int64_t number, const Place* place, const Scalar* weight, const Scalar* x,
                Scalar* d_x) const {
        const int64_t pixels = p.height * p.width, at = image * pixels + number;
        Scalar d_flow_x = 0, d_flow_y = 0, d_weight = 0;
        if (!place) {
            if (g.x) std::fill_n(d_x, p.channels, Scalar(0));
        } else {
            const Scalar along[2] = {Scalar(1) - place->a, place->a}, down[2] = {Scalar(1) - place->b, place->b};
            const Scalar* taps[4];
            Scalar factor[4], dots[4] = {}, scale[4], pulled[4];
            bool there[4];
            for (int k = 0; k < 4; ++k) {
                const int64_t row = place->row - 1 + k / 2, column = place->column - 1 + k % 2;
                const int64_t pixel = row * p.width + column;
                there[k] = inside(row, column);
                taps[k] = there[k] ? grad + (image * pixels + pixel) * p.channels : zeros.data();
                scale[k] = there[k] && g.norm ? g.norm[image * 3 * pixels + pixel] : Scalar(1);
                pulled[k] = there[k] && pull ? pull[image * pixels + pixel] : Scalar(0);
                const Scalar share = along[k % 2] * down[k / 2];
                // A tap of weight zero may have an exponential without bound.
                factor[k] = there[k] && !(p.exponential && share == 0) ? share * weight[k] * scale[k] : Scalar(0);
            }
            if (wants_dots) {
                g.x ? channels<true, true>(x, taps, factor, d_x, dots)
                    : channels<true, false>(x, taps, factor, d_x, dots);
            } else {
                channels<false, true>(x, taps, factor, d_x, dots);
            }
            for (int k = 0; k < 4; ++k) {
                if (!there[k]) continue;
                const Scalar slope = scale[k] * dots[k] + pulled[k];  // of the output by what the tap weighs
                d_flow_x += (k % 2 ? down[k / 2] : -down[k / 2]) * weight[k] * slope;
                d_flow_y += (k / 2 ? along[k % 2] : -along[k % 2]) * weight[k] * slope;
                const Scalar share = along[k % 2] * down[k / 2];
                if (!p.exponential) {
                    d_weight += share * slope;
                } else if (share != 0) {
                    d_weight += share * weight[k] * slope;
                }
            }
        }
        if (g.flow) {
            g.flow[image * 2 * pixels + number] = d_flow_x;
            g.flow[image * 2 * pixels + pixels + number] = d_flow_y;
        }
        if (g.weight) g.weight[at] = d_weight;
    }

    // dots[k] = x . tap k; d_x = the sum of factor[k] times tap k.
    template <bool kDots, bool kInput>
    void channels(const Scalar* x, const Scalar* const taps[4], const Scalar factor[4], Scalar* d_x,
                  Scalar* dots) const {
        Vec sums[4], factors[4];
        for (int k = 0; k < 4; ++k) sums[k] = Vec::zero(), factors[k] = Vec::set1(factor[k]);
        int64_t c = 0;
        for (; c + Vec::width <= p.channels; c += Vec::width) {
            Vec tap[4];
            for (int k = 0; k < 4; ++k) tap[k] = Vec::load(taps[k] + c);
            if constexpr (kDots) {
                const Vec value = Vec::load(x + c);
                for (int k = 0; k < 4; ++k) sums[k] = fma(value, tap[k], sums[k]);
            }
            if constexpr (kInput) {
                Vec d = tap[0] * factors[0];
                for (int k = 1; k < 4; ++k) d = fma(tap[k], factors[k], d);
                d.store(d_x + c);
            }
        }
        if constexpr (kDots) sum_vectors(sums, dots);
        for (; c < p.channels; ++c) {
            Scalar d = 0;
            for (int k = 0; k < 4; ++k) {
                if constexpr (kDots) dots[k] += x[c] * taps[k][c];
                d += taps[k][c] * factor[k];
            }
            if constexpr (kInput) d_x[c] = d;
        }
    }

    const SplatParameters<Scalar>& p;
    const SplatGradients<Scalar>& g;
    const Scalar* grad;  // channels last
    const Scalar* pull;  // the gradient of the sum of weights, [batch, height, width]; null for zero
    const bool wants_dots;
    LineVector<Scalar> zeros;
};

}  // namespace splat

void splat_backward(const SplatParameters<Scalar>& parameters, const SplatGradients<Scalar>& gradients,
                    ParallelFor parallel_for) {
    splat::Backward(parameters, gradients).run(parallel_for);
}
