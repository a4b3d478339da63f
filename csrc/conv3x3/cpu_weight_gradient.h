// The gradient of the 3x3 convolution's weight: transformed inputs times transformed gradients, summed over tiles at
// each of Winograd's points, and transformed back. Tiles are taken in stretches that stay in the caches; each sum has
// one order, which follows from the shape alone. Included inside a variant's namespace, after a dense kernel.
#pragma once

#include "common/cpu/kept.h"
#include "common/cpu/line_allocator.h"
#include "common/cpu/outer_kernel.h"
#include "conv3x3/cpu_winograd.h"

class Conv3x3Weight {
 public:
    explicit Conv3x3Weight(const Conv3x3WeightGradient<Scalar>& p)
        : p(p),
          tiles{p.batch, 0, p.height, p.width},
          steps((tiles.count() + kPair - 1) / kPair),
          input_row(kPair * row_of_maps()),
          output_row(kPair * whole_vectors(p.outputs)),
          sum_rows((p.inputs + kBlockRows - 1) / kBlockRows * kBlockRows),
          stretch(std::min(steps, std::max<int64_t>(kSteps, kBytes / step_bytes() / kSteps * kSteps))),
          input_point(stretch * input_row + kLine / int64_t(sizeof(Operand))),
          output_point(stretch * output_row + kLine / int64_t(sizeof(Operand))) {}

    void run(ParallelFor parallel_for) {
        static thread_local Kept<Operand> kept_inputs, kept_gradients;
        static thread_local Kept<Scalar> kept_sums;
        // Behind the last point lies what the last block of its rows reads too.
        inputs = kept_inputs.room(winograd::kPoints * input_point + kBlockRows * kPair);
        gradients = kept_gradients.room(winograd::kPoints * output_point);
        sums = kept_sums.room(winograd::kPoints * sum_point());
        for (first = 0; first < steps; first += stretch) {
            count = std::min(stretch, steps - first);
            parallel_for(count, &in_parallel<&Conv3x3Weight::read>, this);
            parallel_for(winograd::kPoints, &in_parallel<&Conv3x3Weight::multiply>, this);
        }
        if (steps == 0) std::fill_n(sums, winograd::kPoints * sum_point(), Scalar(0));
        parallel_for((p.inputs + kInputs - 1) / kInputs, &in_parallel<&Conv3x3Weight::write>, this);
    }

 private:
    static constexpr int64_t kLine = 64;        // bytes of a cache line, which keep points out of the same sets
    static constexpr int64_t kSteps = 48;       // of one product: its gradients stay in the L1 cache
    static constexpr int64_t kBytes = 2 << 20;  // about, of a stretch's transformed inputs and gradients
    static constexpr int64_t kInputs = 8;       // of a task that writes

    // Numbers of a tile at a point: the last vector of a map may reach over the start of the next one.
    int64_t row_of_maps() const {
        int64_t row = 0, channel = 0;
        for (const auto& map : p.maps) {
            row = std::max(row, channel + whole_vectors(map.channels));
            channel += map.channels;
        }
        return whole_vectors(row);
    }

    int64_t step_bytes() const { return winograd::kPoints * (input_row + output_row) * int64_t(sizeof(Operand)); }
    int64_t sum_point() const { return sum_rows * whole_vectors(p.outputs); }

    template <void (Conv3x3Weight::*kMethod)(int64_t, int64_t) const>
    static void in_parallel(int64_t begin, int64_t end, void* context) {
        (static_cast<const Conv3x3Weight*>(context)->*kMethod)(begin, end);
    }

    // Transforms tiles of the stretch: at each point, a row for each step of kPair tiles.
    void read(int64_t begin, int64_t end) const {
        static thread_local Kept<Scalar> kept;
        Scalar* const earlier = kept.room(winograd::kPoints * std::max(input_row, output_row));
        for (int64_t t = begin; t < end; ++t) {
            read_step(inputs + t * input_row, input_point, input_row, earlier, t, [&](auto tile, auto& store) {
                int64_t channel = 0;
                for (const auto& map : p.maps) {
                    winograd::read_square<winograd::OfInputs>(
                        map, p.height, p.width, tile.image, tile.y - 1, tile.x - 1,
                        [&](Vec value, int64_t c, int i, int j) { store(value, at(i, j), channel + c); });
                    channel += map.channels;
                }
            });
            read_step(gradients + t * output_row, output_point, output_row, earlier, t, [&](auto tile, auto& store) {
                winograd::read_square<winograd::OfOutputGradients>(
                    p.grad, p.height, p.width, tile.image, tile.y, tile.x,
                    [&](Vec value, int64_t c, int i, int j) { store(value, at(i, j), c); });
            });
        }
    }

    // transform(tile, store) of the step's tiles, which calls store(vector, point, channel). Where there are two,
    // the first one's wait in `earlier` [points, row / 2] for the second one's, or for zeros.
    template <typename Transform>
    void read_step(Operand* to, int64_t point, int64_t row, Scalar* earlier, int64_t step,
                   const Transform& transform) const {
        const int64_t tile = (first + step) * kPair;
        if constexpr (kPair == 1) {
            const auto store = [=](auto value, int64_t n, int64_t c) { value.store(to + n * point + c); };
            transform(tiles[tile], store);
        } else {
            const int64_t half = row / kPair;
            const auto keep = [=](Vec value, int64_t n, int64_t c) { value.store(earlier + n * half + c); };
            const auto join = [=](Vec value, int64_t n, int64_t c) {
                const Vec pair[kPair] = {Vec::load(earlier + n * half + c), value};
                store_weights(pair, to + n * point + kPair * c);
            };
            transform(tiles[tile], keep);
            if (tile + 1 < tiles.count()) return transform(tiles[tile + 1], join);
            for (int64_t n = 0; n < winograd::kPoints; ++n) {
                for (int64_t c = 0; c < half; c += Vec::width) join(Vec::zero(), n, c);
            }
        }
    }

    static int64_t at(int64_t i, int64_t j) { return i * winograd::kInputs + j; }

    // Adds the stretch to the sums at points.
    void multiply(int64_t begin, int64_t end) const {
        for (int64_t n = begin; n < end; ++n) {
            const Operand *x = inputs + n * input_point, *dz = gradients + n * output_point;
            Scalar* const sum = sums + n * sum_point();
            if (first == 0) std::fill_n(sum, sum_point(), Scalar(0));
            for (int64_t t = 0; t < count; t += kSteps) {
                add_outer(x + t * input_row, input_row, p.inputs, dz + t * output_row, output_row,
                          whole_vectors(p.outputs), std::min(kSteps, count - t), sum);
            }
        }
    }

    // Transforms the sums of some inputs back.
    void write(int64_t begin, int64_t end) const {
        constexpr int taps = winograd::kTaps * winograd::kTaps;
        for (int64_t input = begin * kInputs; input < std::min(end * kInputs, p.inputs); ++input) {
            for (int64_t output = 0; output < p.outputs; output += Vec::width) {
                const Scalar* from = sums + input * whole_vectors(p.outputs) + output;
                const int64_t outputs = std::min(Vec::width, p.outputs - output);
                winograd::transform<winograd::OfWeightGradients>(
                    [&](int i, int j) { return Vec::load(from + at(i, j) * sum_point()); },
                    [&](Vec value, int i, int j) {
                        Scalar of_outputs[Vec::width];
                        value.store(of_outputs);
                        Scalar* to = p.weight + (output * p.inputs + input) * taps + i * winograd::kTaps + j;
                        for (int64_t o = 0; o < outputs; ++o) to[o * p.inputs * taps] = of_outputs[o];
                    });
            }
        }
    }

    const Conv3x3WeightGradient<Scalar>& p;
    winograd::Tiles tiles;
    int64_t steps;                                    // of kPair tiles, whose numbers lie side by side
    int64_t input_row, output_row;                    // operands of a step at a point
    int64_t sum_rows;                                 // inputs, with room for the last block of them
    int64_t stretch;                                  // steps
    int64_t input_point, output_point;                // operands from a point to the next
    int64_t first = 0, count = 0;                     // steps of the stretch at hand
    Operand *inputs = nullptr, *gradients = nullptr;  // [points, stretch, row]
    Scalar* sums = nullptr;                           // [points, inputs, outputs]
};

void conv3x3_weight(const Conv3x3WeightGradient<Scalar>& p, ParallelFor parallel_for) {
    Conv3x3Weight(p).run(parallel_for);
}
