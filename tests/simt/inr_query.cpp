// The query's kernels on the host, with what they touch.
#include <pybind11/stl.h>

#include "inr_query/cuda.cuh"
#include "simt/arrays.h"

namespace vinr::cuda {
namespace {

using simt::py::array;
using simt::py::object;

Network network(simt::Arrays& arrays, const std::vector<array>& tensors) {
    Network n{};
    for (size_t i = 0; i < tensors.size(); i += 2) {
        const array &weight = tensors[i], &bias = tensors[i + 1];
        n.layer[n.layers++] = {arrays.input<float>("weight", weight), arrays.input<float>("bias", bias),
                               int(weight.shape(1)), int(weight.shape(0))};
    }
    return n;
}

// Scratch memory that starts as NaN in every type.
void* scratch(simt::Arrays& arrays, const char* name, size_t bytes) {
    simt::py::array_t<uint32_t> memory(ptrdiff_t(bytes + 3) / 4);
    std::memset(memory.mutable_data(), 0xff, size_t(memory.nbytes()));
    return arrays.output<uint32_t>(name, memory);
}

// times [T, B]; the others as the op has them; image and flows are filled. Decodes `images` at once.
simt::py::dict inr_query(int precision, int multiprocessors, size_t shared_bytes, int images, array maps,
                         object colours, array times, std::pair<int, int> lr_size, std::pair<int, int> size,
                         int upsample, const std::vector<array>& feat, const std::vector<array>& flow,
                         const std::vector<array>& encode, float omega, array image, array flows) {
    simt::Arrays arrays;
    QueryArguments a{};
    a.batch = int(maps.shape(0)), a.times = int(times.shape(0));
    a.map_height = int(maps.shape(1)), a.map_width = int(maps.shape(2)), a.map_channels = int(maps.shape(3));
    a.lr_height = lr_size.first, a.lr_width = lr_size.second;
    a.height = size.first, a.width = size.second;
    a.upsample = upsample;
    a.omega = omega;
    a.maps = arrays.input<float>("maps", maps);
    a.colours = arrays.input<float>("colours", colours);
    a.time = arrays.input<float>("times", times);
    a.feat = network(arrays, feat), a.flow = network(arrays, flow), a.encode = network(arrays, encode);
    a.image = arrays.output<float>("image", image), a.flows = arrays.output<float>("flows", flows);
    const DeviceLimits device = {multiprocessors, shared_bytes};
    bool published = false;
    with_operand(Precision(precision), [&](auto operand) {
        const InrQuery<decltype(operand)> query(a);
        if (const char* reason = query.refusal(device)) throw simt::Error(reason);
        const WorkspaceBytes bytes = query.workspace();
        const Workspace w = {static_cast<unsigned char*>(scratch(arrays, "weights", bytes.weights)),
                             static_cast<float*>(scratch(arrays, "vectors", bytes.vectors)),
                             scratch(arrays, "hr", bytes.hr_image * size_t(images))};
        query.pack(w, arrays.stream());
        query.run(w, images, device, arrays.stream());
        published = query.published();
    });
    simt::py::dict report = arrays.finish();
    report["published"] = published;
    return report;
}

struct Sines {
    const float* x;
    float *approximate, *polynomial;
    int count;
};

VINR_KERNEL(kWarp, 1) sines_kernel(const Sines p) {
    for (int i = thread_x(); i < p.count; i += kWarp) {
        store(p.approximate + i, ApproximateSine::of(load(p.x + i)));
        store(p.polynomial + i, PolynomialSine::of(load(p.x + i)));
    }
}

// Both sines of phases x in their units. Returns the units.
std::pair<double, double> sines(array x, array approximate, array polynomial) {
    simt::Arrays arrays;
    const Sines p = {arrays.input<float>("x", x), arrays.output<float>("approximate", approximate),
                     arrays.output<float>("polynomial", polynomial), int(x.size())};
    launch(sines_kernel, p, {1}, kWarp, 0, arrays.stream());
    arrays.finish();
    return {ApproximateSine::kUnit, PolynomialSine::kUnit};
}

}  // namespace
}  // namespace vinr::cuda

PYBIND11_MODULE(inr_query, m) {
    m.def("inr_query", &vinr::cuda::inr_query);
    m.def("sines", &vinr::cuda::sines);
}
