// Binding of the convolution of an enlarged picture on the CPU, as a whole or as a table of its different results.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>
#include <tuple>

#include "common/cpu/binding.h"

namespace vinr {
namespace {

constexpr const char* kOp = "nearest_conv";

// The places along one axis: of each input pixel the next ones, from first[k] to first[k + 1].
struct Axis {
    std::vector<NearestPlace> places;
    std::vector<int64_t> first;
};

// Of output pixels by their input pixels, `step` numbers apart.
Axis enlarged_axis(const char* name, const Tensor& given, int64_t pixels, int64_t step) {
    check_cpu(kOp, name, given);
    STD_TORCH_CHECK(given.scalar_type() == torch::headeronly::ScalarType::Long, kOp, ": ", name, " must be int64");
    check_rank(kOp, name, given, "[out]", 1);
    const Tensor index = torch::stable::contiguous(given);
    const int64_t* k = numbers<const int64_t>(index);
    const int64_t count = index.numel();
    STD_TORCH_CHECK(count > 0 && k[0] == 0 && k[count - 1] == pixels - 1, kOp, ": ", name,
                    " must go from 0 to the last input pixel, ", pixels - 1);
    Axis axis{{}, {0}};
    for (int64_t i = 0; i < count; ++i) {
        const bool starts = i == 0 || k[i] != k[i - 1];
        STD_TORCH_CHECK(i == 0 || k[i] == k[i - 1] || k[i] == k[i - 1] + 1, kOp, ": ", name,
                        " must go up by 0 or 1, got ", k[i - 1], " and ", k[i]);
        if (starts && i > 0) axis.first.push_back(i);
        const bool ends = i == count - 1 || k[i] != k[i + 1];
        axis.places.push_back({(starts ? kFirst : 0) | (ends ? kLast : 0), i * step});
    }
    axis.first.push_back(count);
    return axis;
}

// Of all types for each of so many pixels, `step` numbers from type to type.
Axis table_axis(const char* name, const std::vector<int64_t>& types, int64_t pixels, int64_t pixel_step, int64_t step) {
    Axis axis{{}, {0}};
    for (int64_t k = 0; k < pixels; ++k) {
        for (size_t t = 0; t < types.size(); ++t) {
            STD_TORCH_CHECK(types[t] >= 0 && types[t] <= (kFirst | kLast), kOp, ": ", name, " must lie in 0 to 3, got ",
                            types[t]);
            axis.places.push_back({int(types[t]), k * pixel_step + int64_t(t) * step});
        }
        axis.first.push_back(int64_t(axis.places.size()));
    }
    return axis;
}

// An op's arguments, checked and contiguous.
class Arguments {
 public:
    Arguments(const Tensor& given_x, const Tensor& given_weight, const std::optional<Tensor>& given_bias) {
        check_float32_or_float64(kOp, "x", given_x);
        check_rank(kOp, "x", given_x, "[B, h, w, C]", 4);
        check_cpu(kOp, "x", given_x);
        check_cpu(kOp, "weight", given_weight);
        check_same_dtype(kOp, "weight", given_weight, given_x);
        check_rank(kOp, "weight", given_weight, "[3, 3, O, C]", 4);
        check_shape(kOp, "weight", given_weight, "[3, 3, O, C]", {3, 3, given_weight.size(2), given_x.size(3)});
        STD_TORCH_CHECK(given_x.size(1) > 0 && given_x.size(2) > 0 && given_weight.numel() > 0, kOp,
                        ": there must be pixels and channels, got x ", shape_string(given_x.sizes()), ", weight ",
                        shape_string(given_weight.sizes()));
        if (given_bias) {
            check_cpu(kOp, "bias", *given_bias);
            check_same_dtype(kOp, "bias", *given_bias, given_x);
            check_shape(kOp, "bias", *given_bias, "[O]", {given_weight.size(2)});
            bias = torch::stable::contiguous(*given_bias);
        }
        x = torch::stable::contiguous(given_x);
        weight = torch::stable::contiguous(given_weight);
        outputs = weight.size(2);
    }

    // Results [B, HH, WW, O].
    void enlarge(const Tensor& given_rows, const Tensor& given_columns) {
        check_rank(kOp, "columns", given_columns, "[out]", 1);
        shape = {x.size(0), given_rows.numel(), given_columns.numel(), outputs};
        rows = enlarged_axis("rows", given_rows, x.size(1), shape[2] * outputs);
        columns = enlarged_axis("columns", given_columns, x.size(2), outputs);
    }

    // Results [B, h, w, types of rows, of columns, O].
    void tabulate(const std::vector<int64_t>& row_types, const std::vector<int64_t>& column_types) {
        const int64_t R = int64_t(row_types.size()), C = int64_t(column_types.size());
        STD_TORCH_CHECK(R > 0 && C > 0, kOp, ": types of rows and columns are needed");
        shape = {x.size(0), x.size(1), x.size(2), R, C, outputs};
        rows = table_axis("row_types", row_types, x.size(1), x.size(2) * R * C * outputs, C * outputs);
        columns = table_axis("column_types", column_types, x.size(2), R * C * outputs, outputs);
    }

    template <typename scalar_t>
    NearestConvParameters<scalar_t> parameters() const {
        NearestConvParameters<scalar_t> p{};
        p.batch = x.size(0), p.height = x.size(1), p.width = x.size(2), p.inputs = x.size(3), p.outputs = outputs;
        p.x = numbers<const scalar_t>(x), p.weight = numbers<const scalar_t>(weight);
        p.bias = numbers<const scalar_t>(bias);
        p.rows = rows.places, p.first_row = rows.first;
        p.columns = columns.places, p.first_column = columns.first;
        p.image_stride = 1;
        for (size_t i = 1; i < shape.size(); ++i) p.image_stride *= shape[i];
        return p;
    }

    Tensor x, weight;
    std::optional<Tensor> bias;
    int64_t outputs;
    std::vector<int64_t> shape;  // of results
    Axis rows, columns;
};

Tensor run(const Arguments& a) {
    Tensor out = new_result(a.x, a.shape);
    with_dtype(a.x, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.out = numbers<scalar_t>(out);
        run_kernel(&Kernels<scalar_t>::nearest_conv, false, p);
    });
    return out;
}

using Gradients = std::tuple<Tensor, Tensor, Tensor>;

Gradients run_backward(const Arguments& a, const Tensor& grad_output, const std::vector<bool>& mask) {
    check_cpu(kOp, "grad_output", grad_output);
    check_same_dtype(kOp, "grad_output", grad_output, a.x);
    check_shape(kOp, "grad_output", grad_output, "like the result", a.shape);
    STD_TORCH_CHECK(mask.size() == 3, kOp, ": output_mask must have 3 entries, got ", mask.size());
    const Tensor grad = torch::stable::contiguous(grad_output);
    const std::vector<int64_t> none{0};
    Tensor d_x = new_result(a.x, mask[0] ? sizes_of(a.x) : none);
    Tensor d_weight = new_result(a.x, mask[1] ? sizes_of(a.weight) : none);
    Tensor d_bias = new_result(a.x, mask[2] ? std::vector<int64_t>{a.outputs} : none);
    Tensor products = new_result(a.x, {a.x.size(0), a.x.size(1), a.x.size(2), 9, padded_width(a.outputs)});
    with_dtype(a.x, [&](auto zero) {
        using scalar_t = decltype(zero);
        const auto p = a.parameters<scalar_t>();
        NearestConvGradients<scalar_t> g{};
        g.grad_output = numbers<const scalar_t>(grad);
        g.products = numbers<scalar_t>(products);
        g.x = mask[0] ? numbers<scalar_t>(d_x) : nullptr;
        g.weight = mask[1] ? numbers<scalar_t>(d_weight) : nullptr;
        g.bias = mask[2] ? numbers<scalar_t>(d_bias) : nullptr;
        run_kernel(&Kernels<scalar_t>::nearest_conv_backward, false, p, g);
    });
    return {d_x, d_weight, d_bias};
}

Tensor nearest_conv(const Tensor& x, const Tensor& weight, std::optional<Tensor> bias, const Tensor& rows,
                    const Tensor& columns) {
    Arguments a(x, weight, bias);
    a.enlarge(rows, columns);
    return run(a);
}

Gradients nearest_conv_backward(const Tensor& grad_output, const Tensor& x, const Tensor& weight, const Tensor& rows,
                                const Tensor& columns, std::vector<bool> output_mask) {
    Arguments a(x, weight, std::nullopt);
    a.enlarge(rows, columns);
    return run_backward(a, grad_output, output_mask);
}

Tensor nearest_conv_table(const Tensor& x, const Tensor& weight, std::optional<Tensor> bias,
                          std::vector<int64_t> row_types, std::vector<int64_t> column_types) {
    Arguments a(x, weight, bias);
    a.tabulate(row_types, column_types);
    return run(a);
}

Gradients nearest_conv_table_backward(const Tensor& grad_output, const Tensor& x, const Tensor& weight,
                                      std::vector<int64_t> row_types, std::vector<int64_t> column_types,
                                      std::vector<bool> output_mask) {
    Arguments a(x, weight, std::nullopt);
    a.tabulate(row_types, column_types);
    return run_backward(a, grad_output, output_mask);
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // x [B, h, w, C], weight [3, 3, O, C], both axes whole sum, first and last tap; rows [HH] and columns [WW], of each
    // output row or column that of the input -> [B, HH, WW, O].
    m.def("nearest_conv(Tensor x, Tensor weight, Tensor? bias, Tensor rows, Tensor columns) -> Tensor");
    // Gradients of x, weight and bias; empty tensors where output_mask is false.
    m.def(
        "nearest_conv_backward(Tensor grad_output, Tensor x, Tensor weight, Tensor rows, Tensor columns, "
        "bool[3] output_mask) -> (Tensor, Tensor, Tensor)");
    // The same -> [B, h, w, types of rows, types of columns, O]; a type is 1 where the row before belongs to another
    // input row, plus 2 where the row behind does.
    m.def("nearest_conv_table(Tensor x, Tensor weight, Tensor? bias, int[] row_types, int[] column_types) -> Tensor");
    m.def(
        "nearest_conv_table_backward(Tensor grad_output, Tensor x, Tensor weight, int[] row_types, "
        "int[] column_types, bool[3] output_mask) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("nearest_conv", TORCH_BOX(&vinr::nearest_conv));
    m.impl("nearest_conv_backward", TORCH_BOX(&vinr::nearest_conv_backward));
    m.impl("nearest_conv_table", TORCH_BOX(&vinr::nearest_conv_table));
    m.impl("nearest_conv_table_backward", TORCH_BOX(&vinr::nearest_conv_table_backward));
}
