// Arguments of the 3x3 convolution on the CPU, for all ops that have one within: checked, maps whose channels lie side
// by side.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <optional>

#include "common/cpu/binding.h"

namespace vinr {

// The tensor, or a copy of it whose channels lie side by side.
inline Tensor side_by_side(const Tensor& t) {
    return t.stride(1) == 1 || t.size(1) == 1 ? t : torch::stable::contiguous(t, MemoryFormat::ChannelsLast);
}

template <typename scalar_t>
ChannelsLast<scalar_t> channels_last_view(const Tensor& t) {
    return {numbers<scalar_t>(t), t.size(1), t.stride(0), t.stride(2), t.stride(3)};
}

inline void check_map(const char* op, const char* name, const Tensor& t, const Tensor& like, int64_t channels) {
    check_cpu(op, name, t);
    check_same_dtype(op, name, t, like);
    check_shape(op, name, t, "[B, C, h, w]", {like.size(0), channels, like.size(2), like.size(3)});
}

// Maps of a call, of one size.
class Conv3x3Maps {
 public:
    Conv3x3Maps(const char* op, const std::vector<Tensor>& given) {
        STD_TORCH_CHECK(!given.empty(), op, ": a map is needed");
        check_float32_or_float64(op, "maps", given[0]);
        for (const Tensor& map : given) {
            check_rank(op, "maps", map, "[B, C, h, w]", 4);
            check_map(op, "maps", map, given[0], map.size(1));
            channels += map.size(1);
            maps.push_back(side_by_side(map));
        }
    }

    const Tensor& first() const { return maps[0]; }

    // That of a weight for them, where there is something to compute.
    std::vector<int64_t> weight_shape(const char* op, int64_t outputs) const {
        const Tensor& like = first();
        const std::vector<int64_t> shape{outputs, channels, 3, 3};
        STD_TORCH_CHECK(like.size(2) > 0 && like.size(3) > 0 && outputs > 0 && channels > 0, op,
                        ": there must be pixels and channels, got maps of ", like.size(2), " x ", like.size(3),
                        " pixels, weight ", shape_string(shape));
        return shape;
    }

    template <typename scalar_t, typename Parameters>
    void into(Parameters& p) const {
        p.batch = first().size(0), p.height = first().size(2), p.width = first().size(3);
        p.inputs = channels;
        for (const Tensor& map : maps) {
            if (map.size(1) > 0) p.maps.push_back(channels_last_view<const scalar_t>(map));
        }
    }

 private:
    std::vector<Tensor> maps;
    int64_t channels = 0;
};

// All that a convolution reads.
class Conv3x3Arguments {
 public:
    // add_rows: of `add`, where not all rows are computed.
    Conv3x3Arguments(const char* op, const std::vector<Tensor>& given_maps, const Tensor& given_weight,
                     const std::optional<Tensor>& given_bias, const std::optional<Tensor>& given_add,
                     std::optional<int64_t> add_rows = std::nullopt)
        : maps(op, given_maps) {
        const Tensor& like = maps.first();
        check_cpu(op, "weight", given_weight);
        check_same_dtype(op, "weight", given_weight, like);
        check_rank(op, "weight", given_weight, "[O, C, 3, 3]", 4);
        outputs = given_weight.size(0);
        check_shape(op, "weight", given_weight, "[O, C, 3, 3]", maps.weight_shape(op, outputs));
        // The taps of an output's inputs side by side, and its inputs; outputs may lie further apart.
        const auto& w = given_weight;
        const bool together = w.stride(3) == 1 && w.stride(2) == 3 && w.stride(1) == 9;
        weight = together ? w : torch::stable::contiguous(w);
        if (given_bias) {
            check_cpu(op, "bias", *given_bias);
            check_same_dtype(op, "bias", *given_bias, like);
            check_shape(op, "bias", *given_bias, "[O]", {outputs});
            bias = torch::stable::contiguous(*given_bias);
        }
        if (given_add) {
            check_cpu(op, "add", *given_add);
            check_same_dtype(op, "add", *given_add, like);
            const int64_t rows = add_rows.value_or(like.size(2));
            check_shape(op, "add", *given_add, "[B, O, h, w]", {like.size(0), outputs, rows, like.size(3)});
            add = side_by_side(*given_add);
        }
    }

    // Of all rows, without an activation, and without where results go.
    template <typename scalar_t>
    Conv3x3Parameters<scalar_t> parameters() const {
        Conv3x3Parameters<scalar_t> p{};
        maps.into<scalar_t>(p);
        p.outputs = outputs, p.last_row = p.height;
        p.weight = numbers<const scalar_t>(weight), p.weight_stride = weight.stride(0);
        p.bias = numbers<const scalar_t>(bias);
        if (add) p.add = channels_last_view<const scalar_t>(*add);
        p.slope = 1;
        return p;
    }

    Conv3x3Maps maps;
    int64_t outputs;

 private:
    Tensor weight;
    std::optional<Tensor> bias, add;
};

}  // namespace vinr
