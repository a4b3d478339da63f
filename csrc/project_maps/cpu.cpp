// Binding of the projection of maps on the CPU: checks and strides.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <tuple>

#include "common/cpu/binding.h"

namespace vinr {
namespace {

constexpr const char* kOp = "project_maps";

// A map [B, h, w, C], or a copy of it, whose pixels lie evenly spaced in memory.
Tensor evenly_spaced(const Tensor& map) {
    const bool even = map.size(1) <= 1 || map.size(2) <= 1 || map.stride(1) == map.size(2) * map.stride(2);
    return even ? map : torch::stable::contiguous(map);
}

// An op's arguments: checked, the maps' pixels evenly spaced, the weight contiguous.
class Arguments {
 public:
    Arguments(const std::vector<Tensor>& given, const Tensor& given_weight) {
        STD_TORCH_CHECK(!given.empty(), kOp, ": a map is needed");
        const Tensor& like = given[0];
        check_float32_or_float64(kOp, "maps", like);
        check_rank(kOp, "maps", like, "[B, h, w, C]", 4);
        for (const Tensor& map : given) {
            check_cpu(kOp, "maps", map);
            check_same_dtype(kOp, "maps", map, like);
            check_rank(kOp, "maps", map, "[B, h, w, C]", 4);
            check_shape(kOp, "maps", map, "[B, h, w, C]", {like.size(0), like.size(1), like.size(2), map.size(3)});
            inputs += map.size(3);
            maps.push_back(evenly_spaced(map));
        }
        check_cpu(kOp, "weight", given_weight);
        check_same_dtype(kOp, "weight", given_weight, like);
        check_rank(kOp, "weight", given_weight, "[O, C]", 2);
        check_shape(kOp, "weight", given_weight, "[O, C]", {given_weight.size(0), inputs});
        weight = torch::stable::contiguous(given_weight);
    }

    // That of the output, or of the gradient of a map, with so many channels.
    std::vector<int64_t> shape(int64_t channels) const {
        return {maps[0].size(0), maps[0].size(1), maps[0].size(2), channels};
    }

    template <typename scalar_t>
    ProjectMapsParameters<scalar_t> parameters() const {
        ProjectMapsParameters<scalar_t> p{};
        p.batch = maps[0].size(0), p.pixels = maps[0].size(1) * maps[0].size(2);
        for (const Tensor& map : maps) {
            p.maps.push_back({map.size(3), map.stride(0), map.stride(map.size(2) > 1 ? 2 : 1), map.stride(3),
                              numbers<const scalar_t>(map)});
        }
        p.inputs = inputs, p.outputs = weight.size(0);
        p.weight = numbers<const scalar_t>(weight);
        return p;
    }

    std::vector<Tensor> maps;
    Tensor weight;
    int64_t inputs = 0;
};

Tensor project_maps(std::vector<Tensor> maps, const Tensor& weight) {
    const Arguments a(maps, weight);
    Tensor out = new_result(maps[0], a.shape(weight.size(0)));
    with_dtype(weight, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.out = numbers<scalar_t>(out);
        run_kernel(&Kernels<scalar_t>::project_maps, false, p);
    });
    return out;
}

std::tuple<std::vector<Tensor>, Tensor> project_maps_backward(const Tensor& grad_output, std::vector<Tensor> maps,
                                                              const Tensor& weight, std::vector<bool> output_mask) {
    const Arguments a(maps, weight);
    check_cpu(kOp, "grad_output", grad_output);
    check_shape(kOp, "grad_output", grad_output, "[B, h, w, O]", a.shape(weight.size(0)));
    check_same_dtype(kOp, "grad_output", grad_output, weight);
    STD_TORCH_CHECK(output_mask.size() == maps.size() + 1, kOp,
                    ": output_mask must have an entry for each map and one for the weight, ", maps.size() + 1, ", got ",
                    output_mask.size());
    const Tensor grad = torch::stable::contiguous(grad_output);
    std::vector<Tensor> d_maps;
    for (size_t m = 0; m < maps.size(); ++m) {
        d_maps.push_back(new_result(maps[m], output_mask[m] ? a.shape(maps[m].size(3)) : std::vector<int64_t>{0}));
    }
    Tensor d_weight = new_result(
        weight, output_mask.back() ? std::vector<int64_t>{weight.size(0), a.inputs} : std::vector<int64_t>{0});
    with_dtype(weight, [&](auto zero) {
        using scalar_t = decltype(zero);
        const auto p = a.parameters<scalar_t>();
        ProjectMapsGradients<scalar_t> g{};
        g.grad_output = numbers<const scalar_t>(grad);
        for (size_t m = 0; m < maps.size(); ++m) {
            g.maps.push_back(output_mask[m] ? numbers<scalar_t>(d_maps[m]) : nullptr);
        }
        g.weight = output_mask.back() ? numbers<scalar_t>(d_weight) : nullptr;
        run_kernel(&Kernels<scalar_t>::project_maps_backward, false, p, g);
    });
    return {d_maps, d_weight};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // Maps [B, h, w, C_i], joined in mind, times the weight [O, sum C_i]: [B, h, w, O].
    m.def("project_maps(Tensor[] maps, Tensor weight) -> Tensor");
    // Gradients of the maps, and of the weight; empty tensors where output_mask, which has an entry for each map and
    // one for the weight, is false.
    m.def(
        "project_maps_backward(Tensor grad_output, Tensor[] maps, Tensor weight, bool[] output_mask) "
        "-> (Tensor[], Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("project_maps", TORCH_BOX(&vinr::project_maps));
    m.impl("project_maps_backward", TORCH_BOX(&vinr::project_maps_backward));
}
