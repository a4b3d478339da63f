// Binding of the Fourier MLP on the CPU: checks.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>
#include <string>
#include <tuple>

#include "common/cpu/binding.h"

namespace vinr {
namespace {

constexpr const char* kOp = "fourier_mlp";
constexpr int64_t kMostNeighbours = 32;

// An op's arguments: checked and contiguous, but for maps whose rows are, which may lie in one tensor.
class Arguments {
 public:
    Arguments(const Tensor& given_coef, const Tensor& given_freq, const Tensor& given_index,
              const Tensor& given_relative, const Tensor& given_phase, const std::optional<Tensor>& given_cell,
              const std::vector<Tensor>& given_layers, const std::optional<Tensor>& given_weights)
        : coef(rows_contiguous(given_coef)), freq(rows_contiguous(given_freq)) {
        check_float32_or_float64(kOp, "coef", coef);
        check_cpu(kOp, "coef", coef);
        check_rank(kOp, "coef", coef, "[B, P, D]", 3);
        batch = coef.size(0), width = coef.size(2);
        STD_TORCH_CHECK(width > 0 && width % (2 * kWidthMultiple) == 0, kOp, ": D must be a positive multiple of ",
                        2 * kWidthMultiple, ", got ", width);
        check_same(freq, "freq");
        check_shape(kOp, "freq", freq, "[B, P, D]", {batch, coef.size(1), width});
        check_rank(kOp, "index", given_index, "[B, N, k]", 3);
        check_cpu(kOp, "index", given_index);
        STD_TORCH_CHECK(given_index.scalar_type() == torch::headeronly::ScalarType::Long, kOp, ": index must be int64");
        points = given_index.size(1), neighbours = given_index.size(2);
        STD_TORCH_CHECK(neighbours >= 1 && neighbours <= kMostNeighbours, kOp, ": k must be 1 to ", kMostNeighbours,
                        ", got ", neighbours);
        check_shape(kOp, "index", given_index, "[B, N, k]", {batch, points, neighbours});
        index = torch::stable::contiguous(given_index);
        check_same(given_relative, "relative");
        check_shape(kOp, "relative", given_relative, "[B, N, k, 2]", {batch, points, neighbours, 2});
        relative = torch::stable::contiguous(given_relative);
        check_same(given_phase, "phase");
        check_rank(kOp, "phase", given_phase, "[D / 2, X]", 2);
        cells = given_phase.size(1);
        STD_TORCH_CHECK(given_cell ? cells > 0 : cells == 1, kOp, ": phase must have ",
                        given_cell ? "columns" : "one column where there is no cell", ", got ", cells);
        check_shape(kOp, "phase", given_phase, "[D / 2, X]", {width / 2, cells});
        phase = torch::stable::contiguous(given_phase);
        if (given_cell) {
            check_same(*given_cell, "cell");
            check_rank(kOp, "cell", *given_cell, "[B, N, X] or [B, 1, X]", 3);
            if (given_cell->size(1) != 1)
                check_shape(kOp, "cell", *given_cell, "[B, N, X]", {batch, points, cells});
            else
                check_shape(kOp, "cell", *given_cell, "[B, 1, X]", {batch, 1, cells});
            cell = torch::stable::contiguous(*given_cell);
        }
        if (given_weights) {
            check_same(*given_weights, "weights");
            check_shape(kOp, "weights", *given_weights, "[B, N, k]", {batch, points, neighbours});
            weights = torch::stable::contiguous(*given_weights);
        }
        STD_TORCH_CHECK(given_layers.size() >= 2, kOp, ": layers must hold one layer at least");
        layers = all_contiguous(given_layers);
        outputs = check_layers(kOp, "layers", layers, width, coef);
    }

    template <typename scalar_t>
    FourierMlpParameters<scalar_t> parameters() const {
        FourierMlpParameters<scalar_t> p{};
        p.batch = batch, p.points = points, p.neighbours = neighbours;
        p.map_rows = coef.size(1), p.half = width / 2;
        p.coef = {numbers<const scalar_t>(coef), coef.stride(0), coef.stride(1)};
        p.freq = {numbers<const scalar_t>(freq), freq.stride(0), freq.stride(1)};
        p.index = numbers<const int64_t>(index);
        p.relative = numbers<const scalar_t>(relative);
        p.cells = cells;
        p.phase = numbers<const scalar_t>(phase);
        p.cell = numbers<const scalar_t>(cell);
        p.cell_per_point = cell && cell->size(1) == points && points != 1;
        p.weights = numbers<const scalar_t>(weights);
        p.layers = layer_views<scalar_t>(kOp, "layers", layers, width, coef);
        return p;
    }

    Tensor coef, freq, index, relative, phase;
    std::optional<Tensor> cell, weights;
    std::vector<Tensor> layers;
    int64_t batch, points, neighbours, width, cells, outputs;

 private:
    static Tensor rows_contiguous(const Tensor& map) {
        return map.dim() == 3 && map.stride(2) == 1 ? map : torch::stable::contiguous(map);
    }

    void check_same(const Tensor& tensor, const char* name) const {
        check_cpu(kOp, name, tensor);
        check_same_dtype(kOp, name, tensor, coef);
    }
};

Tensor fourier_mlp(const Tensor& coef, const Tensor& freq, const Tensor& index, const Tensor& relative,
                   const Tensor& phase, std::optional<Tensor> cell, std::vector<Tensor> layers,
                   std::optional<Tensor> weights, std::string operands) {
    const bool bfloat16 = rounds_to_bfloat16(kOp, operands);
    const Arguments a(coef, freq, index, relative, phase, cell, layers, weights);
    Tensor out = new_result(a.coef, {a.batch, a.points, a.outputs});
    with_dtype(a.coef, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.out = numbers<scalar_t>(out);
        run_kernel(&Kernels<scalar_t>::fourier_mlp, bfloat16, p);
    });
    return out;
}

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Gradients fourier_mlp_backward(const Tensor& grad_output, const Tensor& coef, const Tensor& freq, const Tensor& index,
                               const Tensor& relative, const Tensor& phase, std::optional<Tensor> cell,
                               std::vector<Tensor> layers, std::optional<Tensor> weights, std::vector<bool> output_mask,
                               std::string operands) {
    STD_TORCH_CHECK(output_mask.size() == 6, kOp, ": output_mask must have 6 entries, got ", output_mask.size());
    const bool bfloat16 = rounds_to_bfloat16(kOp, operands);
    const Arguments a(coef, freq, index, relative, phase, cell, layers, weights);
    check_cpu(kOp, "grad_output", grad_output);
    check_same_dtype(kOp, "grad_output", grad_output, a.coef);
    check_shape(kOp, "grad_output", grad_output, "[B, N, out]", {a.batch, a.points, a.outputs});
    const Tensor grad = torch::stable::contiguous(grad_output);
    const auto result = [&](bool wanted, std::vector<int64_t> sizes) {
        return new_result(a.coef, wanted ? sizes : std::vector<int64_t>{0});
    };
    const auto zeros = [&](bool wanted, std::vector<int64_t> sizes) {
        return torch::stable::new_zeros(a.coef, wanted ? sizes : std::vector<int64_t>{0});
    };
    int64_t numbers_of_layers = 0;
    for (const Tensor& t : a.layers) numbers_of_layers += t.numel();
    Tensor d_coef = zeros(output_mask[0], sizes_of(a.coef)), d_freq = zeros(output_mask[0], sizes_of(a.coef));
    Tensor d_relative = result(output_mask[1], sizes_of(a.relative));
    Tensor d_phase = result(output_mask[2], sizes_of(a.phase));
    Tensor d_cell = result(output_mask[3], {a.batch, a.points, a.cells});
    Tensor d_layers = zeros(output_mask[4], {numbers_of_layers});
    Tensor d_weights = result(output_mask[5], sizes_of(a.index));
    with_dtype(a.coef, [&](auto zero) {
        using scalar_t = decltype(zero);
        const auto wanted = [&](int64_t which, Tensor& t) {
            return output_mask[which] ? numbers<scalar_t>(t) : nullptr;
        };
        FourierMlpGradients<scalar_t> g{};
        g.grad_output = numbers<const scalar_t>(grad);
        g.coef = wanted(0, d_coef), g.freq = wanted(0, d_freq), g.relative = wanted(1, d_relative);
        g.phase = wanted(2, d_phase), g.cell = wanted(3, d_cell), g.layers = wanted(4, d_layers);
        g.weights = wanted(5, d_weights);
        run_kernel(&Kernels<scalar_t>::fourier_mlp_backward, bfloat16, a.parameters<scalar_t>(), g);
    });
    return {d_coef, d_freq, d_relative, d_phase, d_cell, d_layers, d_weights};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // Maps [B, P, D], D a multiple of 32; index [B, N, k] int64, relative [B, N, k, 2], phase [D / 2, X], cell [B, N or
    // 1, X], where there is none X = 1; layers holds weight and bias of each layer in turn; weights [B, N, k].
    m.def(
        "fourier_mlp(Tensor coef, Tensor freq, Tensor index, Tensor relative, Tensor phase, Tensor? cell, "
        "Tensor[] layers, Tensor? weights, str operands) -> Tensor");
    // Gradients of coef and freq, relative, phase, cell ([B, N, X]), layers, flat, and weights; empty where output_mask
    // is false.
    m.def(
        "fourier_mlp_backward(Tensor grad_output, Tensor coef, Tensor freq, Tensor index, Tensor relative, "
        "Tensor phase, Tensor? cell, Tensor[] layers, Tensor? weights, bool[6] output_mask, str operands) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("fourier_mlp", TORCH_BOX(&vinr::fourier_mlp));
    m.impl("fourier_mlp_backward", TORCH_BOX(&vinr::fourier_mlp_backward));
}
