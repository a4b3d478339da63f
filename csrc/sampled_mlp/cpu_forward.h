// Sampled maps start an MLP, over tiles of points; included inside a variant's namespace, after one of the dense
// kernels. A tile's samples are gathered into the start of its first layer, then go through all layers.
#pragma once

#include "common/cpu/mlp_kernel.h"
#include "common/cpu/sample_kernel.h"

template <Activation kActivation>
class SampledMlp {
 public:
    explicit SampledMlp(const SampledMlpParameters<Scalar>& p)
        : p(p),
          inputs(p.layers[0].inputs),
          width(padded_width(p.layers[0].outputs)),
          outputs(p.layers.back().outputs),
          rows(p.batch * p.points),
          tiles((rows + kTile - 1) / kTile),
          columns(std::max(padded_width(inputs), width)),
          bias(width, Scalar(0)),
          zeros(width, Scalar(0)) {
        for (const auto& layer : p.layers) columns = std::max(columns, padded_width(layer.outputs));
        std::copy_n(p.layers[0].bias, p.layers[0].outputs, bias.begin());
    }

 protected:
    const Scalar* map_of(const SampledMap<Scalar>& map, int64_t row) const {
        return map.map + row / p.points * map.height * map.width * width;
    }

    void add_sample(const SampledMap<Scalar>& map, int64_t row, Scalar* sum) const {
        const Scalar *data = map_of(map, row), y = map.positions[2 * row], x = map.positions[2 * row + 1];
        if (map.nearest) {
            const int64_t offset = nearest_pixel(y, x, map.height, map.width, map.width * width, width);
            if (offset < 0) return;
            for (int64_t c = 0; c < width; c += Vec::width)
                (Vec::load(data + offset + c) + Vec::load(sum + c)).store(sum + c);
        } else {
            const Reader reader(data, zeros.data(), width, map.height, map.width, y, x);
            for (int64_t c = 0; c < width; c += Vec::width) (reader.at(c) + Vec::load(sum + c)).store(sum + c);
        }
    }

    // The start of the first layer and its input, in rows `stride` apart.
    void gather(int64_t first, int64_t count, Scalar* start, Operand* x, int64_t stride) const {
        for (int64_t i = 0; i < count; ++i, start += stride, x += stride) {
            std::copy(bias.begin(), bias.end(), start);
            for (const auto& map : p.maps) add_sample(map, first + i, start);
            if (inputs > 0) copy_operands(p.x + (first + i) * inputs, inputs, x);
        }
    }

    const SampledMlpParameters<Scalar>& p;
    int64_t inputs, width, outputs;  // width: of the first layer, padded
    int64_t rows, tiles, columns;
    std::vector<Scalar> bias, zeros;  // padded; what is read outside maps
};

template <Activation kActivation>
class SampledMlpForward : SampledMlp<kActivation> {
    using Base = SampledMlp<kActivation>;

 public:
    explicit SampledMlpForward(const SampledMlpParameters<Scalar>& p)
        : Base(p), first_layer(pack_layer(p.layers[0], 0, p.layers[0].inputs)), tail(p.layers, p.omega) {}

    void run(ParallelFor parallel_for) { parallel_for(this->tiles, &tiles_of, this); }

 private:
    static void tiles_of(int64_t begin, int64_t end, void* context) {
        const auto& self = *static_cast<const SampledMlpForward*>(context);
        Scratch scratch(self.columns);
        [[maybe_unused]] const DenseScope scope;
        for (int64_t tile = begin; tile < end; ++tile) {
            self.tile(tile * kTile, std::min(kTile, self.rows - tile * kTile), scratch);
        }
    }

    void tile(int64_t first, int64_t count, Scratch& s) const {
        this->gather(first, count, s.start, s.x, s.columns);
        const auto finish = [&, outputs = this->outputs](Vec z, int64_t row, int64_t column) {
            if (row >= count) return;
            Scalar lanes[Vec::width];
            z.store(lanes);
            Scalar* out = this->p.out + (first + row) * outputs;
            std::copy_n(lanes, std::min(Vec::width, outputs - column), out + column);
        };
        if (tail.layers.empty()) {
            dense_into(first_layer, count, s.x, s.columns, s.start, s.columns, finish);
        } else {
            dense<kActivation>(first_layer, count, s.x, s.columns, s.start, s.columns, s.a, s.columns, tail.omega);
            tail.run(count, s.a, s.b, s.columns, finish);
        }
    }

    PackedLayer first_layer;
    PackedTail<kActivation> tail;
};

template <template <Activation> class Pass, typename... Arguments>
void with_activation(Activation activation, ParallelFor parallel_for, const Arguments&... arguments) {
    switch (activation) {
        case Activation::kSine:
            return Pass<Activation::kSine>(arguments...).run(parallel_for);
        case Activation::kRelu:
            return Pass<Activation::kRelu>(arguments...).run(parallel_for);
        case Activation::kGelu:
            return Pass<Activation::kGelu>(arguments...).run(parallel_for);
        case Activation::kNone:
            break;
    }
}

void sampled_mlp(const SampledMlpParameters<Scalar>& parameters, ParallelFor parallel_for) {
    with_activation<SampledMlpForward>(parameters.activation, parallel_for, parameters);
}
