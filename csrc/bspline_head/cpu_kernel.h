// A linear layer of cubic B-splines, and its gradients; included inside a variant's namespace, after a dense kernel.
// A pixel's sums follow from its own numbers alone; those over pixels run over the tiles of a slab in turn, then over
// the slabs.
#pragma once

#include "common/cpu/outer_kernel.h"
#include "common/cpu/transpose_kernel.h"

// Six times the cubic B-spline: (2 - u)^3 - 4 (1 - u)^3 of u = |x|, each term where it is positive. NaN stays NaN.
struct SixSplines {
    explicit SixSplines(Vec x) {
        const Vec zero = Vec::zero(), u = max(zero - x, x);
        outer = max(zero, Vec::set1(Scalar(2)) - u), inner = max(zero, Vec::set1(Scalar(1)) - u);
        outer_square = outer * outer, inner_square = inner * inner;
    }

    Vec value() const { return fma(inner_square * inner, Vec::set1(Scalar(-4)), outer_square * outer); }

    // The derivative by x, of which x is the argument.
    Vec derivative(Vec x) const {
        const Vec fall = fma(inner_square, Vec::set1(Scalar(-4)), outer_square) * Vec::set1(Scalar(3));
        return select_not_positive(x, fall, Vec::zero() - fall);
    }

    Vec outer, inner, outer_square, inner_square;
};

class BsplineHead {
 public:
    explicit BsplineHead(const BsplineHeadParameters<Scalar>& p)
        : p(p),
          width(whole_vectors(p.splines)),
          image_tiles((p.pixels + kTile - 1) / kTile),
          tiles(p.batch * image_tiles),
          dilation(width, Scalar(0)),
          weight(p.outputs * width, Scalar(0)) {
        std::copy_n(p.dilation, p.splines, dilation.data());
        for (int64_t o = 0; o < p.outputs; ++o) {
            for (int64_t k = 0; k < p.splines; ++k) weight[o * width + k] = p.weight[o * p.splines + k] / 6;
        }
    }

 protected:
    // Pixels of one image.
    struct Tile {
        int64_t image, first, count;
    };

    Tile tile(int64_t index) const {
        const int64_t first = index % image_tiles * kTile;
        return {index / image_tiles, first, std::min(kTile, p.pixels - first)};
    }

    static const Scalar* row(const SplineRows<Scalar>& rows, const Tile& t, int64_t pixel) {
        return rows.data + t.image * rows.image_stride + (t.first + pixel) * rows.pixel_stride;
    }

    // Of the numbers [times, batch, pixels, outputs].
    int64_t place(int64_t time, const Tile& t) const {
        return ((time * p.batch + t.image) * p.pixels + t.first) * p.outputs;
    }

    const BsplineHeadParameters<Scalar>& p;
    int64_t width;  // padded splines
    int64_t image_tiles, tiles;
    LineVector<Scalar> dilation, weight;  // padded with zeros; weights [outputs, width] are a sixth
};

class BsplineHeadForward : BsplineHead {
 public:
    explicit BsplineHeadForward(const BsplineHeadParameters<Scalar>& p)
        : BsplineHead(p), start(p.outputs * Vec::width, Scalar(0)) {
        for (int64_t o = 0; o < p.outputs && p.bias; ++o) start[o * Vec::width] = p.bias[o];
    }

    void run(ParallelFor parallel_for) { parallel_for(tiles, &tiles_of, this); }

 private:
    static constexpr int kBlock = 4;  // outputs that are added up at once

    static void tiles_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const BsplineHeadForward*>(context);
        LineVector<Scalar> sums(kTile * kBlock * Vec::width), turned(kTile * kBlock * Vec::width);
        for (int64_t index = begin; index < end; ++index) {
            const Tile t = self.tile(index);
            for (int64_t time = 0; time < self.p.times; ++time) {
                for (int64_t o = 0; o < self.p.outputs; o += kBlock) {
                    switch (std::min<int64_t>(kBlock, self.p.outputs - o)) {
                        case 4:
                            self.outputs_of<4>(t, time, o, sums.data(), turned.data());
                            break;
                        case 3:
                            self.outputs_of<3>(t, time, o, sums.data(), turned.data());
                            break;
                        case 2:
                            self.outputs_of<2>(t, time, o, sums.data(), turned.data());
                            break;
                        default:
                            self.outputs_of<1>(t, time, o, sums.data(), turned.data());
                    }
                }
            }
        }
    }

    template <int kOutputs>
    void outputs_of(const Tile& t, int64_t time, int64_t first, Scalar* sums, Scalar* turned) const {
        const Vec now = Vec::set1(p.t[time * p.batch + t.image]);
        const int64_t splines = p.splines;
        const Scalar *const dilations = dilation.data(), *const weights = weight.data() + first * width;
        for (int64_t i = 0; i < t.count; ++i) {
            const Scalar *coef = row(p.coef, t, i), *knot = row(p.knot, t, i);
            Vec sum[kOutputs];
#pragma GCC unroll 4
            for (int o = 0; o < kOutputs; ++o) sum[o] = Vec::load(start.data() + (first + o) * Vec::width);
            const auto add = [&](Vec amplitudes, Vec knots, int64_t k) {
                const Vec value = amplitudes * SixSplines(Vec::load(dilations + k) * (now - knots)).value();
#pragma GCC unroll 4
                for (int o = 0; o < kOutputs; ++o) {
                    sum[o] = fma(value, Vec::load(weights + o * width + k), sum[o]);
                }
            };
            int64_t k = 0;
            for (; k + Vec::width <= splines; k += Vec::width) add(Vec::load(coef + k), Vec::load(knot + k), k);
            if (k < splines) add(load_part(coef + k, splines - k), load_part(knot + k, splines - k), k);
#pragma GCC unroll 4
            for (int o = 0; o < kOutputs; ++o) sum[o].store(sums + (i * kOutputs + o) * Vec::width);
        }
        // Lanes are added with those of other sums beside them.
        const int64_t count = t.count * kOutputs, stride = kTile * kBlock;
        transpose(sums, Vec::width, count, Vec::width, turned, stride);
        for (int64_t r = 0; r < count; r += Vec::width) {
            Vec total = Vec::load(turned + r);
            for (int64_t lane = 1; lane < Vec::width; ++lane) total = total + Vec::load(turned + lane * stride + r);
            total.store(turned + r);
        }
        Scalar* const out = p.out + place(time, t) + first;
        if (kOutputs == p.outputs) {
            std::copy_n(turned, count, out);
        } else {
            for (int64_t i = 0; i < t.count; ++i) std::copy_n(turned + i * kOutputs, kOutputs, out + i * p.outputs);
        }
    }

    LineVector<Scalar> start;  // [outputs] vectors, of which the first number is the bias
};

class BsplineHeadBackward : BsplineHead {
 public:
    BsplineHeadBackward(const BsplineHeadParameters<Scalar>& p, const BsplineHeadGradients<Scalar>& g)
        : BsplineHead(p), g(g) {
        sums.resize((p.outputs + 1) * width + p.outputs + p.times * p.batch);
    }

    void run(ParallelFor parallel_for) {
        parallel_for(kSlabs, &slabs_of, this);
        const Scalar* sum = sums.add(parallel_for);
        if (g.dilation) std::copy_n(sum, p.splines, g.dilation);
        sum += width;
        for (int64_t o = 0; o < p.outputs && g.weight; ++o) {
            for (int64_t k = 0; k < p.splines; ++k) g.weight[o * p.splines + k] = sum[o * width + k] / 6;
        }
        sum += p.outputs * width;
        if (g.bias) std::copy_n(sum, p.outputs, g.bias);
        if (g.t) std::copy_n(sum + p.outputs, p.times * p.batch, g.t);
    }

 private:
    static void slabs_of(int64_t begin, int64_t end, void* context) {
        auto& self = *static_cast<BsplineHeadBackward*>(context);
        LineVector<Scalar> d_times(self.p.times * Vec::width);
        for (int64_t slab = begin; slab < end; ++slab) {
            for (int64_t index = slab * self.tiles / kSlabs; index < (slab + 1) * self.tiles / kSlabs; ++index) {
                self.add_tile(self.tile(index), self.sums.of(slab), d_times.data());
            }
        }
    }

    // A slab's sums are those of dilation [width], weight [outputs, width], bias [outputs] and t [times, batch].
    void add_tile(const Tile& t, Scalar* sum, Scalar* d_times) const {
        std::fill_n(d_times, p.times * Vec::width, Scalar(0));
        const auto add = p.outputs == 3   ? &BsplineHeadBackward::add_splines<3>
                         : p.outputs == 1 ? &BsplineHeadBackward::add_splines<1>
                                          : &BsplineHeadBackward::add_splines<0>;
        for (int64_t k = 0; k < p.splines; k += Vec::width) {
            (this->*add)(t, k, sum + k, sum + width + k, d_times);
        }
        Scalar *d_bias = sum + (p.outputs + 1) * width, *d_t = d_bias + p.outputs;
        for (int64_t time = 0; time < p.times; ++time) {
            const Scalar* const grad = g.grad_output + place(time, t);
            for (int64_t i = 0; i < t.count; ++i) {
                for (int64_t o = 0; o < p.outputs; ++o) d_bias[o] += grad[i * p.outputs + o];
            }
            for (int64_t lane = 0; lane < Vec::width; ++lane) {
                d_t[time * p.batch + t.image] += d_times[time * Vec::width + lane];
            }
        }
    }

    // A vector of splines of all pixels of a tile at all times. Sums of the kOutputs outputs stay in registers; 0: any
    // number of outputs, whose sums do not.
    template <int kOutputs>
    void add_splines(const Tile& t, int64_t k, Scalar* d_dilation, Scalar* d_weight, Scalar* d_times) const {
        const int64_t left = p.splines - k, outputs = kOutputs > 0 ? kOutputs : p.outputs;
        const Vec dilated = Vec::load(dilation.data() + k);
        const Scalar* const weights = weight.data() + k;
        Vec sum_dilation = Vec::load(d_dilation), sum_weight[kOutputs + 1];
#pragma GCC unroll 4
        for (int o = 0; o < kOutputs; ++o) sum_weight[o] = Vec::load(d_weight + o * width);
        for (int64_t i = 0; i < t.count; ++i) {
            const Vec coef = load_part(row(p.coef, t, i) + k, left), knot = load_part(row(p.knot, t, i) + k, left);
            Vec sum_coef = Vec::zero(), sum_knot = Vec::zero();
            for (int64_t time = 0; time < p.times; ++time) {
                const Scalar* const grad = g.grad_output + place(time, t) + i * outputs;
                const Vec since = Vec::set1(p.t[time * p.batch + t.image]) - knot, x = dilated * since;
                const SixSplines six(x);
                const Vec value = six.value(), product = coef * value;
                Vec d = Vec::zero();
#pragma GCC unroll 4
                for (int64_t o = 0; o < outputs; ++o) {
                    const Vec of_output = Vec::set1(grad[o]);
                    d = fma(of_output, Vec::load(weights + o * width), d);
                    if constexpr (kOutputs > 0) {
                        sum_weight[o] = fma(of_output, product, sum_weight[o]);
                    } else {
                        fma(of_output, product, Vec::load(d_weight + o * width)).store(d_weight + o * width);
                    }
                }
                sum_coef = fma(d, value, sum_coef);
                const Vec d_x = d * coef * six.derivative(x);
                sum_dilation = fma(d_x, since, sum_dilation);
                sum_knot = sum_knot + d_x;
                fma(d_x, dilated, Vec::load(d_times + time * Vec::width)).store(d_times + time * Vec::width);
            }
            const int64_t at = (t.image * p.pixels + t.first + i) * p.splines + k;
            if (g.coef) store_part(sum_coef, g.coef + at, left);
            if (g.knot) store_part(Vec::zero() - sum_knot * dilated, g.knot + at, left);
        }
        sum_dilation.store(d_dilation);
#pragma GCC unroll 4
        for (int o = 0; o < kOutputs; ++o) sum_weight[o].store(d_weight + o * width);
    }

    const BsplineHeadGradients<Scalar>& g;
    SlabSums sums;
};

void bspline_head(const BsplineHeadParameters<Scalar>& parameters, ParallelFor parallel_for) {
    BsplineHeadForward(parameters).run(parallel_for);
}

void bspline_head_backward(const BsplineHeadParameters<Scalar>& parameters,
                           const BsplineHeadGradients<Scalar>& gradients, ParallelFor parallel_for) {
    BsplineHeadBackward(parameters, gradients).run(parallel_for);
}
