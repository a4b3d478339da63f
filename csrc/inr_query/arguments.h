// Checks of inr_query's arguments, shared by its CPU and CUDA bindings.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <optional>

#include "checks.h"
#include "common/widths.h"

namespace vinr {

// The arguments that are tensors, contiguous.
struct QueryTensors {
    Tensor maps, times;
    std::optional<Tensor> colours;
    std::vector<Tensor> feat, flow, encode;
};

inline QueryTensors checked_query(const Tensor& maps, const std::optional<Tensor>& colours, const Tensor& times,
                                  const std::vector<int64_t>& lr_size, const std::vector<int64_t>& size,
                                  int64_t frame_upsample, const std::vector<Tensor>& feat,
                                  const std::vector<Tensor>& flow, const std::vector<Tensor>& encode) {
    constexpr const char* op = "inr_query";
    check_rank(op, "maps", maps, "[B, h, w, C]", 4);
    check_rank(op, "times", times, "[T, B]", 2);
    check_shape(op, "times", times, "[T, B]", {times.size(0), maps.size(0)});
    check_same_dtype(op, "times", times, maps);
    STD_TORCH_CHECK(lr_size.size() == 2 && lr_size[0] > 0 && lr_size[1] > 0 && lr_size[0] <= maps.size(1) &&
                        lr_size[1] <= maps.size(2),
                    op, ": lr_size must lie within maps ", shape_string(maps.sizes()), ", got ", shape_string(lr_size));
    STD_TORCH_CHECK(size.size() == 2 && size[0] > 0 && size[1] > 0, op, ": size must be positive, got ",
                    shape_string(size));
    STD_TORCH_CHECK(frame_upsample >= 1, op, ": frame_upsample must be positive, got ", frame_upsample);
    if (colours) {
        check_shape(op, "colours", *colours, "[B, u h, u w, 8]",
                    {maps.size(0), frame_upsample * maps.size(1), frame_upsample * maps.size(2), 8});
        check_same_dtype(op, "colours", *colours, maps);
    }
    for (const auto* network : {&feat, &flow, &encode}) {
        STD_TORCH_CHECK(network->size() >= 4, op, ": feat, flow and encode need at least two layers each, got ",
                        network->size(), " tensors");
    }
    const int64_t sampled = colours ? 6 : 0;
    const int64_t features = check_layers(op, "feat", feat, 3, maps);
    const int64_t flows = check_layers(op, "flow", flow, features + sampled + 1, maps);
    check_layers(op, "encode", encode, 2 * (features + sampled) + 1, maps);
    STD_TORCH_CHECK(flows == 4, op, ": flow must end in 4 outputs, got ", flows);
    const int64_t widths =
        padded_width(feat[0].size(0)) + padded_width(flow[0].size(0)) + 2 * padded_width(encode[0].size(0));
    STD_TORCH_CHECK(maps.size(3) == widths, op, ": maps must have ", widths, " channels, got ",
                    shape_string(maps.sizes()));
    using torch::stable::contiguous;
    return {contiguous(maps),
            contiguous(times),
            colours ? std::optional<Tensor>(contiguous(*colours)) : std::nullopt,
            all_contiguous(feat),
            all_contiguous(flow),
            all_contiguous(encode)};
}

}  // namespace vinr
