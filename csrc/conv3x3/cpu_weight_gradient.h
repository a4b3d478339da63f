// The gradient of the 3x3 convolution's weight: transformed inputs times transformed gradients, summed over tiles at
// each of Winograd's points, and transformed back. Tiles are taken in stretches that stay in the caches; each sum has
// one order, which follows from the shape alone. Included inside a variant's namespace, after its Vec.
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
          input_row((p.inputs + kBlockRows - 1) / kBlockRows * kBlockRows + Vec::width),
          output_row(whole_vectors(p.outputs)),
          stretch(std::min(tiles.count(), std::max<int64_t>(kTiles, kBytes / tile_bytes() / kTiles * kTiles))) {}

    void run(ParallelFor parallel_for) {
        static thread_local Kept<Scalar> kept_inputs, kept_gradients, kept_sums;
        inputs = kept_inputs.room(winograd::kPoints * stretch * input_row);
        gradients = kept_gradients.room(winograd::kPoints * stretch * output_row);
        sums = kept_sums.room(winograd::kPoints * input_row * output_row);
        std::fill_n(sums, winograd::kPoints * input_row * output_row, Scalar(0));
        for (first = 0; first < tiles.count(); first += stretch) {
            count = std::min(stretch, tiles.count() - first);
            parallel_for(count, &in_parallel<&Conv3x3Weight::read>, this);
            parallel_for(winograd::kPoints, &in_parallel<&Conv3x3Weight::multiply>, this);
        }
        parallel_for((p.inputs + kInputs - 1) / kInputs, &in_parallel<&Conv3x3Weight::write>, this);
    }

 private:
    static constexpr int64_t kTiles = 48;       // of one product: its gradients stay in the L1 cache
    static constexpr int64_t kBytes = 6 << 20;  // about, of a stretch's transformed inputs and gradients
    static constexpr int64_t kInputs = 8;       // of a task that writes

    int64_t tile_bytes() const { return winograd::kPoints * (input_row + output_row) * int64_t(sizeof(Scalar)); }

    template <void (Conv3x3Weight::*kMethod)(int64_t, int64_t) const>
    static void in_parallel(int64_t begin, int64_t end, void* context) {
        (static_cast<const Conv3x3Weight*>(context)->*kMethod)(begin, end);
    }

    // Transforms tiles of the stretch: at each point, a row for each tile.
    void read(int64_t begin, int64_t end) const {
        for (int64_t t = begin; t < end; ++t) {
            const auto tile = tiles[first + t];
            Scalar* to = inputs + t * input_row;
            for (const auto& map : p.maps) {
                winograd::read_square<winograd::OfInputs>(
                    map, p.height, p.width, tile.image, tile.y - 1, tile.x - 1,
                    [&](Vec value, int64_t c, int i, int j) { value.store(to + at(i, j) * stretch * input_row + c); });
                to += map.channels;
            }
            to = gradients + t * output_row;
            winograd::read_square<winograd::OfOutputGradients>(
                p.grad, p.height, p.width, tile.image, tile.y, tile.x,
                [&](Vec value, int64_t c, int i, int j) { value.store(to + at(i, j) * stretch * output_row + c); });
        }
    }

    static int64_t at(int64_t i, int64_t j) { return i * winograd::kInputs + j; }

    // Adds the stretch to the sums at points.
    void multiply(int64_t begin, int64_t end) const {
        for (int64_t n = begin; n < end; ++n) {
            const Scalar* x = inputs + n * stretch * input_row;
            const Scalar* dz = gradients + n * stretch * output_row;
            for (int64_t t = 0; t < count; t += kTiles) {
                add_outer(x + t * input_row, input_row, p.inputs, dz + t * output_row, output_row, output_row,
                          std::min(kTiles, count - t), sums + n * input_row * output_row);
            }
        }
    }

    // Transforms the sums of some inputs back.
    void write(int64_t begin, int64_t end) const {
        constexpr int taps = winograd::kTaps * winograd::kTaps;
        for (int64_t input = begin * kInputs; input < std::min(end * kInputs, p.inputs); ++input) {
            for (int64_t output = 0; output < p.outputs; output += Vec::width) {
                const Scalar* from = sums + input * output_row + output;
                const int64_t outputs = std::min(Vec::width, p.outputs - output);
                winograd::transform<winograd::OfWeightGradients>(
                    [&](int i, int j) { return Vec::load(from + at(i, j) * input_row * output_row); },
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
    int64_t input_row, output_row;  // numbers of a tile at a point: room for whole vectors, and blocks of rows
    int64_t stretch;                // tiles
    int64_t first = 0, count = 0;   // tiles of the stretch at hand
    Scalar *inputs = nullptr, *gradients = nullptr;  // [points, stretch, row]
    Scalar* sums = nullptr;                          // [points, inputs, outputs]
};

void conv3x3_weight(const Conv3x3WeightGradient<Scalar>& p, ParallelFor parallel_for) {
    Conv3x3Weight(p).run(parallel_for);
}
