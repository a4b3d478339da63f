// Binding of the Fourier field on the CPU, with and without the layer that makes its parameters: checks, which output
// pixels each input pixel holds, and which frames are looked at with the same offsets of time.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cmath>
#include <numeric>
#include <optional>
#include <tuple>

#include "common/cpu/binding.h"

namespace vinr {
namespace {

// Of `inputs` input pixels with `outputs` output pixels, those from `start` on, `count` of them.
FieldAxis axis_of(int64_t inputs, int64_t outputs, int64_t start, int64_t count) {
    const int64_t period = inputs / std::gcd(inputs, outputs);
    FieldAxis axis{count, 0, period, start % period, {}, {}};
    // Output o's centre lies (2 o + 1) inputs / (2 outputs) input pixels from the edge.
    const auto first = [&](int64_t i) {
        const int64_t o = (2 * outputs * i - inputs + 2 * inputs - 1) / (2 * inputs);
        return std::max<int64_t>(0, std::min(outputs, o));
    };
    const int64_t begin = first(start);
    for (int64_t i = start; i <= start + count; ++i) axis.first.push_back((i < inputs ? first(i) : outputs) - begin);
    axis.outputs = axis.first.back();
    for (int64_t i = 0; i < count; ++i) {
        for (int64_t o = begin + axis.first[i]; o < begin + axis.first[i + 1]; ++o) {
            const int64_t numerator = (2 * o + 1) * inputs - 2 * outputs * (start + i);
            axis.offset.push_back(double(numerator) / double(2 * outputs) - 0.5);
        }
    }
    return axis;
}

// What both ops have; each checks its own tensors.
struct Field {
    const char* op;
    Tensor frequencies, damping, index, offset;
    int64_t batch, height, width, functions, colours, axes;
    FieldAxis y, x;
    std::vector<FieldTimes> times;

    Field(const char* op, const std::vector<int64_t>& pixels, int64_t colours, const Tensor& like,
          const Tensor& given_frequencies, const Tensor& given_damping, const Tensor& given_index,
          const Tensor& given_offset, const std::vector<int64_t>& size, const std::vector<int64_t>& band)
        : op(op), batch(pixels[0]), height(pixels[1]), width(pixels[2]), colours(colours) {
        STD_TORCH_CHECK(height > 0 && width > 0, op, ": there must be pixels, got ", shape_string(pixels));
        check_rank(op, "frequencies", given_frequencies, "[2 or 3, D]", 2);
        axes = given_frequencies.size(0), functions = given_frequencies.size(1);
        STD_TORCH_CHECK((axes == 2 || axes == 3) && functions > 0, op, ": frequencies must be [2 or 3, D], got ",
                        shape_string(given_frequencies.sizes()));
        check_shape(op, "damping", given_damping, "[D]", {functions});
        for (const Tensor* t : {&given_frequencies, &given_damping, &given_offset}) {
            check_cpu(op, "frequencies, damping and offsets", *t);
            check_same_dtype(op, "frequencies, damping and offsets", *t, like);
        }
        check_cpu(op, "frames", given_index);
        STD_TORCH_CHECK(given_index.scalar_type() == torch::headeronly::ScalarType::Long, op,
                        ": frames must be 64-bit whole numbers");
        check_rank(op, "frames", given_index, "[N]", 1);
        check_shape(op, "offsets", given_offset, "[N]", {given_index.size(0)});
        STD_TORCH_CHECK(size.size() == 2 && size[0] > 0 && size[1] > 0, op,
                        ": size must be two numbers of at least 1, got ", shape_string(size));
        STD_TORCH_CHECK(band.size() == 2 && band[0] >= 0 && band[0] + height <= band[1], op,
                        ": band must be the first row and the number of rows that there are in all, got ",
                        shape_string(band));
        frequencies = torch::stable::contiguous(given_frequencies), damping = torch::stable::contiguous(given_damping);
        index = torch::stable::contiguous(given_index), offset = torch::stable::contiguous(given_offset);
        y = axis_of(band[1], size[0], band[0], height), x = axis_of(width, size[1], 0, width);
    }

    std::vector<int64_t> shape() const { return {index.size(0), y.outputs, x.outputs, colours}; }

    template <typename scalar_t>
    FourierFieldParameters<scalar_t> parameters() const {
        FourierFieldParameters<scalar_t> p{};
        p.frames = batch, p.functions = functions, p.colours = colours, p.axes = axes;
        p.y = y, p.x = x, p.times = times_of<scalar_t>();
        p.frequencies = numbers<const scalar_t>(frequencies), p.damping = numbers<const scalar_t>(damping);
        return p;
    }

    template <typename scalar_t>
    std::vector<FieldTimes> times_of() const {
        std::vector<std::vector<int64_t>> outputs(batch);
        for (int64_t n = 0; n < index.size(0); ++n) {
            const int64_t frame = numbers<const int64_t>(index)[n];
            STD_TORCH_CHECK(frame >= 0 && frame < batch, op, ": times must be of frames 0 to ", batch - 1, ", got ",
                            frame);
            STD_TORCH_CHECK(std::isfinite(numbers<const scalar_t>(offset)[n]), op, ": times must be finite, got ",
                            numbers<const scalar_t>(offset)[n]);
            outputs[frame].push_back(n);
        }
        std::vector<FieldTimes> sets;
        for (int64_t frame = 0; frame < batch; ++frame) {
            if (outputs[frame].empty()) continue;
            std::vector<double> offsets;
            for (const int64_t n : outputs[frame]) {
                offsets.push_back(axes > 2 ? double(numbers<const scalar_t>(offset)[n]) : 0.0);
            }
            auto same = std::find_if(sets.begin(), sets.end(), [&](const auto& s) { return s.offset == offsets; });
            if (same == sets.end()) same = sets.insert(same, {{}, offsets, {}});
            same->frames.push_back(frame);
            same->output.insert(same->output.end(), outputs[frame].begin(), outputs[frame].end());
        }
        return sets;
    }
};

constexpr const char* kField = "fourier_field";

// [B, h, w, ...] whose pixels lie evenly spaced, and each one's numbers side by side.
Tensor evenly_spaced(const Tensor& t) {
    int64_t inner = 1;
    bool good = true;
    for (int64_t d = t.dim() - 1; d >= 3; --d) good &= t.size(d) == 1 || t.stride(d) == inner, inner *= t.size(d);
    for (int64_t d = 0; d < 2; ++d) good &= t.size(d) == 1 || t.stride(d) == t.size(d + 1) * t.stride(d + 1);
    return good ? t : torch::stable::contiguous(t);
}

struct FieldArguments : Field {
    Tensor amplitude, phase;

    FieldArguments(const Tensor& given, const Tensor& given_phase, const Tensor& frequencies, const Tensor& damping,
                   const Tensor& index, const Tensor& offset, const std::vector<int64_t>& size,
                   const std::vector<int64_t>& band)
        : Field(kField, checked(given), given.size(4), given, frequencies, damping, index, offset, size, band) {
        check_shape(kField, "amplitude", given, "[B, h, w, D, out]", {batch, height, width, functions, given.size(4)});
        check_cpu(kField, "phase", given_phase);
        check_same_dtype(kField, "phase", given_phase, given);
        check_shape(kField, "phase", given_phase, "[B, h, w, D]", {batch, height, width, functions});
        amplitude = evenly_spaced(given), phase = evenly_spaced(given_phase);
    }

    static std::vector<int64_t> checked(const Tensor& amplitude) {
        check_float32_or_float64(kField, "amplitude", amplitude);
        check_cpu(kField, "amplitude", amplitude);
        check_rank(kField, "amplitude", amplitude, "[B, h, w, D, out]", 5);
        return sizes_of(amplitude);
    }

    template <typename scalar_t>
    FourierFieldParameters<scalar_t> parameters() const {
        auto p = Field::parameters<scalar_t>();
        p.amplitude = numbers<const scalar_t>(amplitude), p.phase = numbers<const scalar_t>(phase);
        p.amplitude_stride = stride_of(amplitude), p.phase_stride = stride_of(phase);
        return p;
    }

    static int64_t stride_of(const Tensor& t) { return t.stride(t.size(2) > 1 ? 2 : t.size(1) > 1 ? 1 : 0); }
};

Tensor fourier_field(const Tensor& amplitude, const Tensor& phase, const Tensor& frequencies, const Tensor& damping,
                     const Tensor& frames, const Tensor& offsets, std::vector<int64_t> size, std::vector<int64_t> band,
                     std::string operands) {
    const FieldArguments a(amplitude, phase, frequencies, damping, frames, offsets, size, band);
    Tensor out = new_result(amplitude, a.shape());
    with_dtype(amplitude, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        p.out = numbers<scalar_t>(out);
        run_kernel(&Kernels<scalar_t>::fourier_field, rounds_to_bfloat16(kField, operands), p);
    });
    return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> fourier_field_backward(
    const Tensor& grad_output, const Tensor& amplitude, const Tensor& phase, const Tensor& frequencies,
    const Tensor& damping, const Tensor& frames, const Tensor& offsets, std::vector<int64_t> size,
    std::vector<int64_t> band, std::vector<bool> output_mask) {
    const FieldArguments a(amplitude, phase, frequencies, damping, frames, offsets, size, band);
    check_cpu(kField, "grad_output", grad_output);
    check_same_dtype(kField, "grad_output", grad_output, amplitude);
    check_shape(kField, "grad_output", grad_output, "[N, HH, WW, out]", a.shape());
    STD_TORCH_CHECK(output_mask.size() == 5, kField, ": output_mask must have 5 entries, got ", output_mask.size());
    const Tensor grad = torch::stable::contiguous(grad_output);
    const Tensor* like[5] = {&amplitude, &phase, &frequencies, &damping, &offsets};
    std::vector<Tensor> results;
    for (int i = 0; i < 5; ++i) {
        results.push_back(new_result(amplitude, output_mask[i] ? sizes_of(*like[i]) : std::vector<int64_t>{0}));
    }
    with_dtype(amplitude, [&](auto zero) {
        using scalar_t = decltype(zero);
        const auto p = a.parameters<scalar_t>();
        FourierFieldGradients<scalar_t> g{};
        g.grad_output = numbers<const scalar_t>(grad);
        scalar_t** const to[5] = {&g.amplitude, &g.phase, &g.frequencies, &g.damping, &g.offset};
        for (int i = 0; i < 5; ++i) *to[i] = output_mask[i] ? numbers<scalar_t>(results[i]) : nullptr;
        run_kernel(&Kernels<scalar_t>::fourier_field_backward, false, p, g);
    });
    return {results[0], results[1], results[2], results[3], results[4]};
}

constexpr const char* kQuery = "v3_query";

std::vector<int64_t> checked_encoding(const Tensor& encoding) {
    check_float32_or_float64(kQuery, "encoding", encoding);
    check_cpu(kQuery, "encoding", encoding);
    check_rank(kQuery, "encoding", encoding, "[B, h, w, C]", 4);
    return sizes_of(encoding);
}

int64_t colours_of(const Tensor& weight, const Tensor& frequencies) {
    check_rank(kQuery, "weight", weight, "[(out + 1) D, C]", 2);
    check_rank(kQuery, "frequencies", frequencies, "[2 or 3, D]", 2);
    const int64_t functions = std::max<int64_t>(1, frequencies.size(1)), colours = weight.size(0) / functions - 1;
    STD_TORCH_CHECK(colours > 0 && weight.size(0) % functions == 0, kQuery,
                    ": weight must be [(out + 1) D, C] with D = ", frequencies.size(1), ", got ",
                    shape_string(weight.sizes()));
    return colours;
}

Tensor v3_query(const Tensor& encoding, const Tensor& weight, const Tensor& bias, const Tensor& frequencies,
                const Tensor& damping, std::optional<Tensor> base, const Tensor& frames, const Tensor& offsets,
                std::vector<int64_t> size, std::string operands) {
    const std::vector<int64_t> pixels = checked_encoding(encoding);
    const int64_t colours = colours_of(weight, frequencies), channels = pixels[3];
    const Field f(kQuery, pixels, colours, encoding, frequencies, damping, frames, offsets, size, {0, pixels[1]});
    check_shape(kQuery, "weight", weight, "[(out + 1) D, C]", {(colours + 1) * f.functions, channels});
    check_shape(kQuery, "bias", bias, "[(out + 1) D]", {(colours + 1) * f.functions});
    for (const Tensor* t : {&weight, &bias}) {
        check_cpu(kQuery, "weight and bias", *t);
        check_same_dtype(kQuery, "weight and bias", *t, encoding);
    }
    if (base) {
        check_cpu(kQuery, "base", *base);
        check_same_dtype(kQuery, "base", *base, encoding);
        check_shape(kQuery, "base", *base, "[B, h, w, out]", {pixels[0], pixels[1], pixels[2], colours});
        base = torch::stable::contiguous(*base);
    }
    const Tensor e = torch::stable::contiguous(encoding), w = torch::stable::contiguous(weight);
    const Tensor b = torch::stable::contiguous(bias);
    Tensor out = new_result(encoding, f.shape());
    with_dtype(encoding, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = f.parameters<scalar_t>();
        p.channels = channels;
        p.encoding = numbers<const scalar_t>(e), p.weight = numbers<const scalar_t>(w);
        p.bias = numbers<const scalar_t>(b), p.base = numbers<const scalar_t>(base);
        p.out = numbers<scalar_t>(out);
        run_kernel(&Kernels<scalar_t>::fourier_field, rounds_to_bfloat16(kQuery, operands), p);
    });
    return out;
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // Amplitude [B, h, w, D, out], phase [B, h, w, D], frequencies [2 or 3, D], damping [D], frames and offsets [N],
    // band: (first row, rows of the whole picture) -> [N, rows of size in the band, columns of size, out].
    m.def(
        "fourier_field(Tensor amplitude, Tensor phase, Tensor frequencies, Tensor damping, Tensor frames, "
        "Tensor offsets, int[2] size, int[2] band, str operands) -> Tensor");
    // Gradients of all but frames; empty tensors where output_mask is false.
    m.def(
        "fourier_field_backward(Tensor grad_output, Tensor amplitude, Tensor phase, Tensor frequencies, "
        "Tensor damping, Tensor frames, Tensor offsets, int[2] size, int[2] band, bool[5] output_mask) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
    // The same of an encoding [B, h, w, C] and the layer that makes amplitude and phase, plus base [B, h, w, out].
    m.def(
        "v3_query(Tensor encoding, Tensor weight, Tensor bias, Tensor frequencies, Tensor damping, Tensor? base, "
        "Tensor frames, Tensor offsets, int[2] size, str operands) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("fourier_field", TORCH_BOX(&vinr::fourier_field));
    m.impl("fourier_field_backward", TORCH_BOX(&vinr::fourier_field_backward));
    m.impl("v3_query", TORCH_BOX(&vinr::v3_query));
}
