// The 3x3 convolution over tiles of 4 x 4 output pixels. A block of tiles is transformed, multiplied by the transformed
// weights at each of Winograd's points, and transformed back, all of it in the L2 cache. Each tile's numbers follow
// from its own inputs alone. Included inside a variant's namespace, after its Vec and a dense kernel.
#pragma once

#include "common/cpu/kept.h"
#include "common/cpu/transpose_kernel.h"
#include "conv3x3/cpu_winograd.h"

class Conv3x3 {
 public:
    explicit Conv3x3(const Conv3x3Parameters<Scalar>& p)
        : p(p),
          tiles{p.batch, p.first_row, p.last_row, p.width},
          depth((p.inputs + kPair - 1) / kPair),
          padded_outputs(whole_vectors(p.outputs)),
          row(whole_vectors(p.inputs)),
          block_tiles(tiles_of_a_block(row)),
          point(block_tiles * row + kLine / sizeof(Operand)),
          bias(padded_outputs, Scalar(0)) {
        std::copy_n(p.bias, p.bias ? p.outputs : 0, bias.data());
    }

    void run(ParallelFor parallel_for) {
        static thread_local Kept<Operand> transformed;
        weights = transformed.room(winograd::kPoints * depth * kPair * padded_outputs);
        input_blocks = (p.inputs + kInputBlock - 1) / kInputBlock;
        weight_tasks = padded_outputs / Vec::width * input_blocks;
        const Body body = [](int64_t begin, int64_t end, void* context) {
            Conv3x3& self = *static_cast<Conv3x3*>(context);
            self.transform_weights();
            self.convolve(begin, end);
        };
        parallel_for((tiles.count() + kBlockRows - 1) / kBlockRows, body, this);
    }

 private:
    static constexpr int64_t kLine = 64;        // bytes of a cache line
    static constexpr int64_t kInputBlock = 32;  // input channels of a task that transforms weights; whole pairs
    static constexpr int64_t kPanel = kPanelVecs * Vec::width;
    static constexpr int64_t kMostTiles = 24;        // of a block
    static constexpr int64_t kBlockBytes = 1 << 18;  // about, of a block's transformed inputs

    static int64_t tiles_of_a_block(int64_t row) {
        const int64_t tile = winograd::kPoints * row * sizeof(Operand);
        const int64_t blocks = std::max<int64_t>(1, kBlockBytes / tile / kBlockRows);
        return std::min(kMostTiles, blocks * kBlockRows);
    }

    // Panels of [points, depth, up to kPanelVecs vectors] operands, as dense_panel reads them.
    Operand* panel_weights(int64_t column) const { return weights + winograd::kPoints * depth * kPair * column; }

    int64_t panel_width(int64_t column) const { return std::min(kPanel, padded_outputs - column); }

    // Whoever of the threads comes takes tasks until none is left, and goes on when all are done: waking threads twice,
    // for the weights and for the tiles, would take as long as the weights do.
    void transform_weights() {
        for (;;) {
            const int64_t task = __atomic_fetch_add(&weights_taken, 1, __ATOMIC_RELAXED);
            if (task >= weight_tasks) break;
            transform_weights(task);
            __atomic_fetch_add(&weights_done, 1, __ATOMIC_RELEASE);
        }
        while (__atomic_load_n(&weights_done, __ATOMIC_ACQUIRE) < weight_tasks) {
        }
    }

    // A task is a vector of outputs and kInputBlock inputs.
    void transform_weights(int64_t task) const {
        constexpr int taps = winograd::kTaps * winograd::kTaps;
        // [inputs, taps, outputs]. Nothing here may throw: others wait for this task.
        alignas(kLine) Scalar turned[(kInputBlock + kPair) * taps * Vec::width] = {};
        const int64_t output = task / input_blocks * Vec::width, input = task % input_blocks * kInputBlock;
        const int64_t inputs = std::min(kInputBlock, p.inputs - input);
        transpose(p.weight + output * p.weight_stride + input * taps, p.weight_stride,
                  std::min(Vec::width, p.outputs - output), inputs * taps, turned, Vec::width);
        const int64_t panel = output / kPanel * kPanel, width = panel_width(panel);
        Operand* const to = panel_weights(panel) + (output - panel) * kPair;
        for (int64_t i = 0; i < inputs; i += kPair) {
            Vec values[winograd::kPoints][kPair];
            for (int64_t k = 0; k < kPair; ++k) {
                const Scalar* from = turned + (i + k) * taps * Vec::width;
                winograd::transform<winograd::OfWeights>(
                    [&](int y, int x) { return Vec::load(from + (y * winograd::kTaps + x) * Vec::width); },
                    [&](Vec value, int y, int x) { values[y * winograd::kInputs + x][k] = value; });
            }
            for (int64_t n = 0; n < winograd::kPoints; ++n) {
                store_weights(values[n], to + (n * depth + (input + i) / kPair) * kPair * width);
            }
        }
    }

    // Units of kBlockRows tiles.
    void convolve(int64_t begin, int64_t end) const {
        static thread_local Kept<Operand> kept_inputs;
        static thread_local Kept<Scalar> kept_products;
        // The last store of a row may reach into the next one.
        Operand* const inputs = kept_inputs.room(winograd::kPoints * point + 2 * Vec::width);
        Scalar* const products = kept_products.room(winograd::kPoints * product_point());
        const int64_t last = std::min(end * kBlockRows, tiles.count());
        for (int64_t first = begin * kBlockRows; first < last; first += block_tiles) {
            const int64_t count = std::min(block_tiles, last - first);
            for (int64_t t = 0; t < count; ++t) read_tile(tiles[first + t], inputs + t * row);
            for (int64_t column = 0; column < padded_outputs; column += kPanel) {
                multiply_panel(column, count, inputs, products);
                for (int64_t t = 0; t < count; ++t) {
                    write_tile(tiles[first + t], column, products + t * kPanel);
                }
            }
        }
    }

    int64_t product_point() const { return block_tiles * kPanel + kLine / sizeof(Scalar); }

    void multiply_panel(int64_t column, int64_t count, const Operand* inputs, Scalar* products) const {
        alignas(kLine) static constexpr Scalar zeros[kPanel] = {};
        const int64_t width = panel_width(column);
        for (int64_t n = 0; n < winograd::kPoints; ++n) {
            Scalar* const to = products + n * product_point();
            dense_panel(
                width / Vec::width, count, inputs + n * point, row, depth,
                panel_weights(column) + n * depth * kPair * width, zeros, 0,
                [=](Vec sums, int64_t r, int64_t c) { sums.store(to + r * kPanel + c); }, 0);
        }
    }

    // A tile's transformed inputs, at each point a row of all channels.
    void read_tile(const winograd::Tiles::Tile& tile, Operand* to) const {
        for (const auto& map : p.maps) {
            winograd::read_square<winograd::OfInputs>(
                map, p.height, p.width, tile.image, tile.y - 1, tile.x - 1, [&](Vec value, int64_t c, int i, int j) {
                    store_operands(value, to + (i * winograd::kInputs + j) * point + c);
                });
            to += map.channels;
        }
    }

    // The output pixels of a tile that lie in the picture, for the channels of a panel.
    void write_tile(const winograd::Tiles::Tile& tile, int64_t panel, const Scalar* products) const {
        const int64_t rows = std::min<int64_t>(winograd::kOutputs, p.last_row - tile.y);
        const int64_t columns = std::min<int64_t>(winograd::kOutputs, p.width - tile.x);
        for (int64_t c = 0; c < panel_width(panel); c += Vec::width) {
            const int64_t channel = panel + c, left = p.outputs - channel;
            const Vec plus = Vec::load(bias.data() + channel), slope = Vec::set1(p.slope);
            winograd::transform<winograd::OfOutputs>(
                [&](int i, int j) { return Vec::load(products + (i * winograd::kInputs + j) * product_point() + c); },
                [&](Vec value, int i, int j) {
                    if (i >= rows || j >= columns) return;
                    value = value + plus;
                    if (p.add.data) {
                        value = value + load_part(p.add.at(tile.image, tile.y + i, tile.x + j) + channel, left);
                    }
                    if (p.slope != Scalar(1)) value = select_not_positive(value, value * slope, value);
                    store_part(value, p.out.at(tile.image, tile.y + i, tile.x + j) + channel, left);
                });
        }
    }

    const Conv3x3Parameters<Scalar>& p;
    winograd::Tiles tiles;
    int64_t depth;           // steps of a product's sum, of kPair channels
    int64_t padded_outputs;  // to whole vectors
    int64_t row;             // operands of a tile at a point
    int64_t block_tiles;
    int64_t point;  // from a point to the next; not a power of two, which would lie in few sets of the cache
    LineVector<Scalar> bias;
    Operand* weights = nullptr;
    int64_t input_blocks = 0, weight_tasks = 0, weights_taken = 0, weights_done = 0;
};

void conv3x3(const Conv3x3Parameters<Scalar>& p, ParallelFor parallel_for) { Conv3x3(p).run(parallel_for); }
