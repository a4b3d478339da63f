// deform_conv2d's CUDA kernels on NumPy arrays; 16-bit ones come as uint16.
#include <pybind11/stl.h>

#include "deform_conv2d/cuda.cuh"
#include "simt/arrays.h"

namespace {

namespace py = simt::py;
using namespace vinr::cuda;
using Pair = std::array<int64_t, 2>;

struct Strides {
    int64_t image, channel, pixel;

    // Of [B, channels, oh, ow], in elements.
    explicit Strides(const py::array& a) {
        const auto of = [&](int axis) { return int64_t(a.strides(axis) / a.itemsize()); };
        image = of(0), channel = of(1), pixel = of(a.shape(3) > 1 ? 3 : 2);
    }
};

template <typename T>
const void* read(simt::Arrays& arrays, const char* name, const py::object& array) {
    return arrays.input<T>(name, array);
}
const void* read(simt::Arrays& arrays, const char* name, const py::object& array, bool is_float) {
    return is_float ? read<float>(arrays, name, array) : read<uint16_t>(arrays, name, array);
}

deform::Planes planes(simt::Arrays& arrays, const char* name, const py::object& object) {
    if (object.is_none()) return {};
    const bool is_float = py::cast<py::array>(object).itemsize() == sizeof(float);
    const Strides strides{py::cast<py::array>(object)};
    const void* data = read(arrays, name, object, is_float);
    return {data, strides.image, strides.channel, strides.pixel, is_float};
}

// input [B, H, W, C], offset [B, 2*G*K, oh, ow], mask [B, G*K, oh, ow] or None, weight [O, kh, kw, C/groups], bias [O]
// or None, output [B, O, oh, ow].
py::dict run(int precision, py::array input, py::array offset, py::object mask, bool logits, py::array weight,
             py::object bias, py::array output, Pair stride, Pair padding, Pair dilation, int64_t most_blocks) {
    const auto chosen = deform::Precision(precision);
    const bool is_float = chosen == deform::Precision::kTf32 || chosen == deform::Precision::kFloat32;
    simt::Arrays arrays;
    deform::Parameters p{};
    auto& s = p.shape;
    s.batch = input.shape(0), s.height = input.shape(1), s.width = input.shape(2), s.channels = input.shape(3);
    s.out_channels = weight.shape(0), s.kernel_height = weight.shape(1), s.kernel_width = weight.shape(2);
    s.out_height = offset.shape(2), s.out_width = offset.shape(3);
    s.groups = s.channels / weight.shape(3), s.offset_groups = offset.shape(1) / (2 * s.taps());
    for (int axis = 0; axis < 2; ++axis) {
        s.stride[axis] = stride[axis], s.padding[axis] = padding[axis], s.dilation[axis] = dilation[axis];
    }
    p.input = read(arrays, "input", input, is_float);
    p.offset = planes(arrays, "offset", offset);
    p.mask = planes(arrays, "mask", mask);
    p.logits = logits;
    p.weight = read(arrays, "weight", weight, is_float);
    p.bias = read(arrays, "bias", bias, is_float);
    p.output = is_float ? static_cast<void*>(arrays.output<float>("output", output))
                        : arrays.output<uint16_t>("output", output);
    const Strides out(output);
    p.out_image = out.image, p.out_channel = out.channel, p.out_pixel = out.pixel;
    if (!deform::fits(s)) throw simt::Error("sizes are beyond what the kernels count");
    deform::run(p, chosen, arrays.stream(), most_blocks);
    return arrays.finish();
}

}  // namespace

PYBIND11_MODULE(deform_conv2d, m) {
    m.def("run", &run);
    m.def("quotient", [](int n, int divisor) { return deform::Divisor(divisor).quotient(n); });
}
