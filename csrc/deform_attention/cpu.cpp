// Binding of deformable attention on the CPU: checks, memory formats, and room for copies of keys and values.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cmath>
#include <tuple>

#include "common/cpu/binding.h"
#include "deform_conv2d/arguments.h"

namespace vinr {
namespace {

constexpr const char* kOp = "deform_attention";

// A tensor, or a copy of it, of which either the pixels or the channels lie side by side.
Tensor readable(const Tensor& t) {
    const Tensor even = evenly_spaced(t);
    return even.stride(1) == 1 || pixel_stride(even) == 1 ? even : torch::stable::contiguous(even);
}

template <typename scalar_t>
Planes<scalar_t> planes(const Tensor& t) {
    return {numbers<scalar_t>(t), t.stride(0), t.stride(1), pixel_stride(t)};
}

// An op's arguments, checked.
class Arguments {
 public:
    Arguments(const Tensor& given_q, const Tensor& given_kv, const Tensor& given_offset, int64_t frames, int64_t heads,
              int64_t groups, const Pair& kernel_size, const Pair& padding) {
        check_float32_or_float64(kOp, "q", given_q);
        check_rank(kOp, "q", given_q, "[N, C, h, w]", 4);
        const int64_t N = given_q.size(0), C = given_q.size(1), h = given_q.size(2), w = given_q.size(3);
        STD_TORCH_CHECK(frames > 0 && N % frames == 0, kOp, ": q must have a multiple of ", frames,
                        " images, the frames of a clip, got ", shape_string(given_q.sizes()));
        STD_TORCH_CHECK(heads > 0 && C > 0 && C % heads == 0, kOp, ": heads must divide the channels of q, got ", heads,
                        " and ", shape_string(given_q.sizes()));
        STD_TORCH_CHECK(groups > 0 && 2 * C % groups == 0, kOp, ": groups must divide the channels of kv, got ", groups,
                        " and ", 2 * C);
        STD_TORCH_CHECK(kernel_size.size() == 2 && padding.size() == 2 && kernel_size[0] > 0 && kernel_size[1] > 0, kOp,
                        ": kernel_size and padding must be (y, x) pairs, the first positive");
        STD_TORCH_CHECK(h < (1 << 24) && w < (1 << 24) && (h + 2) * (w + 1) < (int64_t(1) << 31), kOp,
                        ": an image must have fewer than 2^31 pixels, got ", shape_string(given_q.sizes()));
        shape = {N, frames, heads, C / heads, groups, h, w, kernel_size[0], kernel_size[1], padding[0], padding[1]};
        for (const auto& [name, tensor] : {std::pair("kv", &given_kv), std::pair("offset", &given_offset)}) {
            check_cpu(kOp, name, *tensor);
            check_same_dtype(kOp, name, *tensor, given_q);
        }
        check_shape(kOp, "kv", given_kv, "[N, 2 C, h, w]", {N, 2 * C, h, w});
        check_shape(kOp, "offset", given_offset, "[N, c 2 G K, h, w]", {N, frames * 2 * groups * shape.taps(), h, w});
        q = readable(given_q), kv = readable(given_kv), offset = evenly_spaced(given_offset);
    }

    bool empty() const { return q.numel() == 0; }

    Tensor room() const {
        const int64_t line = is_double() ? 8 : 16;
        return new_result(q, {shape.images * shape.bordered() * shape.packed_width(line)});
    }

    template <typename scalar_t>
    DeformAttentionParameters<scalar_t> parameters(const Tensor& packed) const {
        DeformAttentionParameters<scalar_t> p{};
        p.shape = shape;
        p.q = planes<const scalar_t>(q), p.kv = planes<const scalar_t>(kv), p.offset = planes<const scalar_t>(offset);
        p.packed = numbers<scalar_t>(packed);
        return p;
    }

    DeformAttentionShape shape{};
    Tensor q, kv, offset;

 private:
    bool is_double() const { return q.scalar_type() == torch::headeronly::ScalarType::Double; }
};

Tensor result_like(const Tensor& like) { return new_result(like, sizes_of(like), is_channels_last(like)); }

Tensor deform_attention(const Tensor& q, const Tensor& kv, const Tensor& offset, int64_t frames, int64_t heads,
                        int64_t groups, Pair kernel_size, Pair padding, bool) {
    const Arguments a(q, kv, offset, frames, heads, groups, kernel_size, padding);
    Tensor out = result_like(q);
    if (a.empty()) return out;
    const Tensor packed = a.room();
    with_dtype(q, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>(packed);
        p.out = planes<scalar_t>(out);
        run_kernel(&Kernels<scalar_t>::deform_attention, false, p);
    });
    return out;
}

Tensor result_or_empty(const Tensor& like, bool wanted) { return wanted ? result_like(like) : new_result(like, {0}); }

std::tuple<Tensor, Tensor, Tensor> deform_attention_backward(const Tensor& grad_output, const Tensor& q,
                                                             const Tensor& kv, const Tensor& offset, int64_t frames,
                                                             int64_t heads, int64_t groups, Pair kernel_size,
                                                             Pair padding, bool keys_gradient_scaled_twice,
                                                             std::vector<bool> output_mask) {
    const Arguments a(q, kv, offset, frames, heads, groups, kernel_size, padding);
    check_cpu(kOp, "grad_output", grad_output);
    check_same_dtype(kOp, "grad_output", grad_output, q);
    check_shape(kOp, "grad_output", grad_output, "[N, C, h, w]", sizes_of(q));
    STD_TORCH_CHECK(output_mask.size() == 3, kOp, ": output_mask must have 3 entries, got ", output_mask.size());
    const Tensor grad = readable(grad_output);
    Tensor d_q = result_or_empty(q, output_mask[0]);
    Tensor d_kv = result_or_empty(kv, output_mask[1]);
    Tensor d_offset = result_or_empty(offset, output_mask[2]);
    if (a.empty()) return {d_q, d_kv, d_offset};
    const Tensor packed = a.room(), d_packed = output_mask[1] ? a.room() : d_kv;
    with_dtype(q, [&](auto zero) {
        using scalar_t = decltype(zero);
        const auto p = a.parameters<scalar_t>(packed);
        DeformAttentionGradients<scalar_t> g{};
        g.grad_output = planes<const scalar_t>(grad);
        g.keys_factor = keys_gradient_scaled_twice ? scalar_t(1 / std::sqrt(double(a.shape.depth))) : scalar_t(1);
        if (output_mask[0]) g.q = planes<scalar_t>(d_q);
        if (output_mask[1]) g.kv = planes<scalar_t>(d_kv), g.packed = numbers<scalar_t>(d_packed);
        if (output_mask[2]) g.offset = planes<scalar_t>(d_offset);
        run_kernel(&Kernels<scalar_t>::deform_attention_backward, false, p, g);
    });
    return {d_q, d_kv, d_offset};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // Images [N, C, h, w] and [N, 2 C, h, w] of clips of `frames`, offset [N, frames 2 G K, h, w] -> [N, C, h, w].
    m.def(
        "deform_attention(Tensor q, Tensor kv, Tensor offset, int frames, int heads, int groups, int[2] kernel_size, "
        "int[2] padding, bool keys_gradient_scaled_twice) -> Tensor");
    // Gradients of q, kv and offset; empty tensors where output_mask is false.
    m.def(
        "deform_attention_backward(Tensor grad_output, Tensor q, Tensor kv, Tensor offset, int frames, int heads, "
        "int groups, int[2] kernel_size, int[2] padding, bool keys_gradient_scaled_twice, bool[3] output_mask) "
        "-> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("deform_attention", TORCH_BOX(&vinr::deform_attention));
    m.impl("deform_attention_backward", TORCH_BOX(&vinr::deform_attention_backward));
}
