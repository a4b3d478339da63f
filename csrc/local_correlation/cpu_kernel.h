// Local correlation of two maps, and its gradients; included inside a variant's namespace, after its Vec. Every sum has
// one order, which follows from the shape alone: over the channels, and over the displacements.
#pragma once

class LocalCorrelation {
 public:
    explicit LocalCorrelation(const LocalCorrelationParameters<Scalar>& p)
        : p(p), side(2 * p.radius + 1), zeros(p.channels, Scalar(0)) {}

    void run(ParallelFor parallel_for) { parallel_for(p.batch * p.height, &rows_of<LocalCorrelation>, this); }

 protected:
    // The rows of all images; both passes have a `row` of their own.
    template <typename Pass>
    static void rows_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const Pass*>(context);
        for (int64_t row = begin; row < end; ++row) self.row(row / self.p.height, row % self.p.height);
    }

    struct Displacement {
        int64_t back_y, back_x, ahead_y, ahead_x;
    };

    // The displacements of one image, rows first.
    std::vector<Displacement> displacements(int64_t image) const {
        const int64_t* back = p.back.data() + image * side;
        std::vector<Displacement> all;
        for (int64_t y = 0; y < side; ++y) {
            for (int64_t x = 0; x < side; ++x) {
                all.push_back({back[y], back[x], y - p.radius - back[y], x - p.radius - back[x]});
            }
        }
        return all;
    }

    bool inside(int64_t y, int64_t x) const { return y >= 0 && y < p.height && x >= 0 && x < p.width; }
    int64_t pixel(int64_t image, int64_t y, int64_t x) const { return (image * p.height + y) * p.width + x; }

    // A pixel's channels; zeros outside the map.
    const Scalar* at(const Scalar* map, int64_t image, int64_t y, int64_t x) const {
        return inside(y, x) ? map + pixel(image, y, x) * p.channels : zeros.data();
    }

    const LocalCorrelationParameters<Scalar>& p;
    int64_t side;

 private:
    void row(int64_t image, int64_t y) const {
        const auto all = displacements(image);
        const int64_t count = int64_t(all.size());
        const Scalar mean = Scalar(1) / Scalar(p.channels);
        for (int64_t x = 0; x < p.width; ++x) {
            Scalar* out = p.out + pixel(image, y, x) * count;
            for (int64_t k = 0; k < count; k += 4) {
                const Scalar *a[4], *b[4];
                for (int i = 0; i < 4; ++i) {
                    const Displacement& d = all[std::min(k + i, count - 1)];
                    a[i] = at(p.first, image, y - d.back_y, x - d.back_x);
                    b[i] = at(p.second, image, y + d.ahead_y, x + d.ahead_x);
                }
                Scalar sums[4];
                dots(a, b, sums);
                for (int64_t i = 0; i < std::min<int64_t>(4, count - k); ++i) out[k + i] = mean * sums[i];
            }
        }
    }

    void dots(const Scalar* const a[4], const Scalar* const b[4], Scalar* sums) const {
        HalfVec partial[4];
        for (HalfVec& v : partial) v = HalfVec::set1(Scalar(0));
        int64_t c = 0;
        for (; c + HalfVec::width <= p.channels; c += HalfVec::width) {
            for (int i = 0; i < 4; ++i) partial[i] = fma(HalfVec::load(a[i] + c), HalfVec::load(b[i] + c), partial[i]);
        }
        sum_lanes(partial, sums);
        for (; c < p.channels; ++c) {
            for (int i = 0; i < 4; ++i) sums[i] += a[i][c] * b[i][c];
        }
    }

    LineVector<Scalar> zeros;
};

class LocalCorrelationBackward : LocalCorrelation {
 public:
    LocalCorrelationBackward(const LocalCorrelationParameters<Scalar>& p, const LocalCorrelationGradients<Scalar>& g)
        : LocalCorrelation(p), g(g) {}

    void run(ParallelFor parallel_for) { parallel_for(p.batch * p.height, &rows_of<LocalCorrelationBackward>, this); }

 private:
    friend LocalCorrelation;

    // A pixel's gradient gathers what read the pixel, so that no two threads write to one place.
    void row(int64_t image, int64_t y) const {
        const auto all = displacements(image);
        for (int64_t x = 0; x < p.width; ++x) {
            if (g.first) {
                Scalar* out = g.first + pixel(image, y, x) * p.channels;
                std::fill_n(out, p.channels, Scalar(0));
                for (size_t k = 0; k < all.size(); ++k) {
                    const Displacement& d = all[k];
                    add(image, y + d.back_y, x + d.back_x, k, p.second, d.ahead_y, d.ahead_x, out);
                }
            }
            if (g.second) {
                Scalar* out = g.second + pixel(image, y, x) * p.channels;
                std::fill_n(out, p.channels, Scalar(0));
                for (size_t k = 0; k < all.size(); ++k) {
                    const Displacement& d = all[k];
                    add(image, y - d.ahead_y, x - d.ahead_x, k, p.first, -d.back_y, -d.back_x, out);
                }
            }
        }
    }

    // What output k at (y, x) owes to a factor whose partner lies (dy, dx) from there in the other map.
    void add(int64_t image, int64_t y, int64_t x, size_t k, const Scalar* other, int64_t dy, int64_t dx,
             Scalar* out) const {
        if (!inside(y, x) || !inside(y + dy, x + dx)) return;
        const Scalar factor = g.grad_output[pixel(image, y, x) * side * side + int64_t(k)] / Scalar(p.channels);
        const Scalar* partner = other + pixel(image, y + dy, x + dx) * p.channels;
        int64_t c = 0;
        for (; c + Vec::width <= p.channels; c += Vec::width) {
            fma(Vec::set1(factor), Vec::load(partner + c), Vec::load(out + c)).store(out + c);
        }
        for (; c < p.channels; ++c) out[c] += factor * partner[c];
    }

    const LocalCorrelationGradients<Scalar>& g;
};

void local_correlation(const LocalCorrelationParameters<Scalar>& parameters, ParallelFor parallel_for) {
    LocalCorrelation(parameters).run(parallel_for);
}

void local_correlation_backward(const LocalCorrelationParameters<Scalar>& parameters,
                                const LocalCorrelationGradients<Scalar>& gradients, ParallelFor parallel_for) {
    LocalCorrelationBackward(parameters, gradients).run(parallel_for);
}
