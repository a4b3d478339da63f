// Binding of the sampled MLP on the CPU: checks and padding.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <array>
#include <optional>
#include <string>
#include <tuple>

#include "common/cpu/binding.h"

namespace vinr {
namespace {

constexpr const char* kOp = "sampled_mlp";

Activation activation_of(const std::string& name) {
    if (name == "sine") return Activation::kSine;
    if (name == "relu") return Activation::kRelu;
    STD_TORCH_CHECK(name == "gelu", kOp, ": activation must be sine, relu or gelu, got ", name);
    return Activation::kGelu;
}

// An op's arguments: checked, contiguous, the maps' channels padded.
class Arguments {
 public:
    Arguments(const std::vector<Tensor>& given_maps, const std::vector<Tensor>& given_positions,
              const std::vector<bool>& nearest, const std::optional<Tensor>& given_x,
              const std::optional<Tensor>& x_weight, const std::optional<Tensor>& bias,
              const std::vector<Tensor>& given_layers, const std::string& activation, double omega)
        : nearest(nearest), activation(activation_of(activation)), omega(omega) {
        STD_TORCH_CHECK(given_maps.size() == given_positions.size() && given_maps.size() == nearest.size(), kOp,
                        ": maps, positions and nearest must be as many, got ", given_maps.size(), ", ",
                        given_positions.size(), " and ", nearest.size());
        STD_TORCH_CHECK(given_x.has_value() == x_weight.has_value(), kOp, ": x and x_weight must be given together");
        STD_TORCH_CHECK(given_x.has_value() || !given_maps.empty(), kOp, ": a map or x is needed");
        like = given_maps.empty() ? *given_x : given_maps[0];
        check_float32_or_float64(kOp, "maps", like);
        check_rank(kOp, given_maps.empty() ? "x" : "maps", like, given_maps.empty() ? "[B, N, X]" : "[B, H, W, D]",
                   given_maps.empty() ? 3 : 4);
        if (x_weight) check_rank(kOp, "x_weight", *x_weight, "[D, X]", 2);
        width = given_maps.empty() ? x_weight->size(0) : like.size(3);
        batch = like.size(0);
        if (!given_positions.empty()) check_rank(kOp, "positions", given_positions[0], "[B, N, 2]", 3);
        points = given_positions.empty() ? like.size(1) : given_positions[0].size(1);
        for (const Tensor& position : given_positions) {
            check_same(position, "positions");
            check_shape(kOp, "positions", position, "[B, N, 2]", {batch, points, 2});
            positions.push_back(torch::stable::contiguous(position));
        }
        for (const Tensor& map : given_maps) {
            check_same(map, "maps");
            check_rank(kOp, "maps", map, "[B, H, W, D]", 4);
            check_shape(kOp, "maps", map, "[B, H, W, D]", {batch, map.size(1), map.size(2), width});
            STD_TORCH_CHECK(map.size(1) > 0 && map.size(2) > 0, kOp, ": a map must have pixels, got ",
                            shape_string(map.sizes()));
            const int64_t missing = padded_width(width) - width;
            maps.push_back(torch::stable::contiguous(missing ? torch::stable::pad(map, {0, missing}) : map));
        }
        if (given_x) {
            check_same(*given_x, "x");
            check_shape(kOp, "x", *given_x, "[B, N, X]", {batch, points, x_weight->size(1)});
            x = torch::stable::contiguous(*given_x);
        }
        layers.push_back(x_weight ? torch::stable::contiguous(*x_weight) : empty({width, 0}));
        layers.push_back(bias ? torch::stable::contiguous(*bias) : torch::stable::new_zeros(like, {width}));
        for (const Tensor& tensor : given_layers) layers.push_back(torch::stable::contiguous(tensor));
        outputs = layers[layers.size() - 2].size(0);
    }

    Tensor empty(std::vector<int64_t> shape) const { return new_result(like, shape); }

    template <typename scalar_t>
    SampledMlpParameters<scalar_t> parameters() const {
        SampledMlpParameters<scalar_t> p{};
        p.batch = batch, p.points = points;
        for (size_t i = 0; i < maps.size(); ++i) {
            p.maps.push_back({maps[i].size(1), maps[i].size(2), nearest[i], numbers<const scalar_t>(maps[i]),
                              numbers<const scalar_t>(positions[i])});
        }
        p.x = numbers<const scalar_t>(x);
        p.layers = layer_views<scalar_t>(kOp, "layers", layers, layers[0].size(1), like);
        p.activation = activation;
        p.omega = scalar_t(omega);
        return p;
    }

    std::vector<Tensor> maps, positions, layers;  // layers: with the first one
    std::optional<Tensor> x;
    int64_t batch, points, width, outputs;

 private:
    void check_same(const Tensor& tensor, const char* name) const {
        check_cpu(kOp, name, tensor);
        check_same_dtype(kOp, name, tensor, like);
    }

    Tensor like;
    std::vector<bool> nearest;
    Activation activation;
    double omega;
};

Tensor sampled_mlp(std::vector<Tensor> maps, std::vector<Tensor> positions, std::vector<bool> nearest,
                   std::optional<Tensor> x, std::optional<Tensor> x_weight, std::optional<Tensor> bias,
                   std::vector<Tensor> layers, std::string activation, double omega, std::string operands) {
    const bool bfloat16 = rounds_to_bfloat16(kOp, operands);
    const Arguments a(maps, positions, nearest, x, x_weight, bias, layers, activation, omega);
    Tensor out = a.empty({a.batch, a.points, a.outputs});
    with_dtype(a.layers[0], [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.out = numbers<scalar_t>(out);
        run_kernel(&Kernels<scalar_t>::sampled_mlp, bfloat16, p);
    });
    return out;
}

std::tuple<std::vector<Tensor>, std::vector<Tensor>, Tensor, Tensor> sampled_mlp_backward(
    const Tensor& grad_output, std::vector<Tensor> maps, std::vector<Tensor> positions, std::vector<bool> nearest,
    std::optional<Tensor> x, std::optional<Tensor> x_weight, std::optional<Tensor> bias, std::vector<Tensor> layers,
    std::string activation, double omega, std::vector<bool> output_mask, std::string operands) {
    STD_TORCH_CHECK(output_mask.size() == 4, kOp, ": output_mask must have 4 entries, got ", output_mask.size());
    const bool bfloat16 = rounds_to_bfloat16(kOp, operands);
    const Arguments a(maps, positions, nearest, x, x_weight, bias, layers, activation, omega);
    check_shape(kOp, "grad_output", grad_output, "[B, N, out]", {a.batch, a.points, a.outputs});
    check_cpu(kOp, "grad_output", grad_output);
    check_same_dtype(kOp, "grad_output", grad_output, a.layers[1]);
    const Tensor grad = torch::stable::contiguous(grad_output);
    std::vector<Tensor> d_maps, d_positions;
    if (output_mask[0]) {
        for (const Tensor& map : a.maps) d_maps.push_back(torch::stable::new_zeros(map, map.sizes()));
    }
    if (output_mask[1]) {
        for (const Tensor& t : a.positions) d_positions.push_back(new_result(t, sizes_of(t)));
    }
    Tensor d_x = output_mask[2] && a.x ? a.empty({a.batch, a.points, a.layers[0].size(1)}) : a.empty({0});
    int64_t weights = 0;
    for (const Tensor& t : a.layers) weights += t.numel();
    Tensor d_weights = torch::stable::new_zeros(grad, {output_mask[3] ? weights : 0});
    with_dtype(a.layers[0], [&](auto zero) {
        using scalar_t = decltype(zero);
        const auto p = a.parameters<scalar_t>();
        SampledMlpGradients<scalar_t> g{};
        g.grad_output = numbers<const scalar_t>(grad);
        for (const Tensor& t : d_maps) g.maps.push_back(numbers<scalar_t>(t));
        for (const Tensor& t : d_positions) g.positions.push_back(numbers<scalar_t>(t));
        g.x = d_x.numel() > 0 ? numbers<scalar_t>(d_x) : nullptr;
        g.weights = output_mask[3] ? numbers<scalar_t>(d_weights) : nullptr;
        run_kernel(&Kernels<scalar_t>::sampled_mlp_backward, bfloat16, p, g);
    });
    if (a.width != padded_width(a.width)) {
        for (Tensor& t : d_maps) t = torch::stable::contiguous(torch::stable::narrow(t, 3, 0, a.width));
    }
    return {d_maps, d_positions, d_x, d_weights};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // Maps [B, H, W, D] channels-last, positions [B, N, 2] (y, x) in pixels of their maps; layers holds weight and bias
    // of each layer after the first in turn.
    m.def(
        "sampled_mlp(Tensor[] maps, Tensor[] positions, bool[] nearest, Tensor? x, Tensor? x_weight, Tensor? bias, "
        "Tensor[] layers, str activation, float omega, str operands) -> Tensor");
    // Gradients of maps, of positions, of x, and of x_weight, bias and layers, flat, in this order; empty lists and
    // tensors where output_mask is false. A bias that is not given has a gradient of D numbers all the same.
    m.def(
        "sampled_mlp_backward(Tensor grad_output, Tensor[] maps, Tensor[] positions, bool[] nearest, Tensor? x, "
        "Tensor? x_weight, Tensor? bias, Tensor[] layers, str activation, float omega, bool[4] output_mask, str "
        "operands) "
        "-> (Tensor[], Tensor[], Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("sampled_mlp", TORCH_BOX(&vinr::sampled_mlp));
    m.impl("sampled_mlp_backward", TORCH_BOX(&vinr::sampled_mlp_backward));
}
