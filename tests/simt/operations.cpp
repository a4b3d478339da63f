// Each primitive by itself, for comparison with NumPy.
#include "common/cuda/primitives.cuh"
#include "simt/arrays.h"

namespace vinr::cuda {
namespace {

struct Tf32Product {
    const float *a, *b;  // [16, 8], [8, 8]
    float* d;            // [16, 8]
};

// a by ldmatrix of its 32-bit elements seen as pairs of 16; b lane by lane.
VINR_KERNEL(32, 1) tf32_product(Tf32Product p) {
    VINR_STATIC_SHARED(float, a, 16 * 12);
    for (int i = lane(); i < 128; i += kWarp) a[i / 8 * 12 + i % 8] = as_float(to_tf32(load(p.a + i)));
    barrier();
    uint32_t fa[4], fb[2];
    ldmatrix_x4(fa, a + lane() % 16 * 12 + lane() / 16 * 4);
    for (int i = 0; i < 2; ++i) fb[i] = to_tf32(load(p.b + (lane() % 4 + 4 * i) * 8 + lane() / 4));
    float d[4] = {};
    mma_m16n8k8_tf32(d, fa, fb);
    for (int i = 0; i < 4; ++i) store(p.d + (lane() / 4 + i / 2 * 8) * 8 + lane() % 4 * 2 + i % 2, d[i]);
}

struct BFloat16Product {
    const BFloat16 *a, *b;  // a [16, 16] as its transpose, b [16, 8]: both with .trans
    float* d;
};

VINR_KERNEL(32, 1) bfloat16_product(BFloat16Product p) {
    VINR_STATIC_SHARED(BFloat16, a, 16 * 16);
    VINR_STATIC_SHARED(BFloat16, b, 16 * 8);
    cp_async16(a + lane() * 8, p.a + lane() * 8);
    cp_async_commit();
    if (lane() < 16) cp_async16(b + lane() * 8, p.b + lane() * 8);
    cp_async_commit();
    cp_async_wait<0>();
    barrier();
    uint32_t fa[4], fb[2];
    ldmatrix_x4_trans(fa, a + (lane() % 8 + lane() / 16 * 8) * 16 + lane() / 8 % 2 * 8);
    ldmatrix_x2_trans(fb, b + lane() % 16 * 8);
    float d[4] = {};
    mma_m16n8k16(BFloat16(), d, fa, fb);
    for (int i = 0; i < 4; ++i) store(p.d + (lane() / 4 + i / 2 * 8) * 8 + lane() % 4 * 2 + i % 2, d[i]);
}

struct Sums {
    const float* x;
    float* y;  // [5]: the sum, twice; lanes that are above 0 in warp 0; whether any is above 1, whether all are
};

VINR_KERNEL(64, 1) sums(Sums p) {
    VINR_STATIC_SHARED(float, total, 1);
    const float x = load(p.x + block_x() * 64 + thread_x());
    if (thread_x() == 0) total[0] = 0.0f;
    barrier();
    atomic_add(total, x);
    float sum = x;
    for (int i = kWarp / 2; i; i /= 2) sum += shuffle_down(sum, i);
    if (lane() == 0) atomic_add(p.y, sum);
    barrier();
    if (thread_x() == 63) atomic_add(p.y + 1, total[0]);
    const unsigned positive = ballot(x > 0);
    const bool some = any(x > 1), every = all(x > 1);
    const float last = shuffle(x, kWarp - 1), before = shuffle_up(last, 1);
    if (block_x() == 0 && thread_x() == 0) {
        store(p.y + 2, float(positive >> 8));
        store(p.y + 3, float(some));
        store(p.y + 4, float(every) + (before == last ? 0 : 100));
    }
}

template <typename T>
struct Conversion {
    const T* bits;
    const float* values;
    float* widened;
    T* rounded;
    int n;
};

template <typename T>
VINR_KERNEL(64, 1)
convert(Conversion<T> p) {
    for (int i = thread_x(); i < p.n; i += 64) {
        store(p.widened + i, to_float(load(p.bits + i)));
        store(p.rounded + i, from_float<T>(load(p.values + i)));
    }
}

struct Tf32Conversion {
    const float* values;
    uint32_t* rounded;
    int n;
};

VINR_KERNEL(64, 1) convert_tf32(Tf32Conversion p) {
    for (int i = thread_x(); i < p.n; i += 64) store(p.rounded + i, to_tf32(load(p.values + i)));
}

template <typename T>
void run_convert(simt::py::array bits, simt::py::array values, simt::py::array widened, simt::py::array rounded) {
    simt::Arrays arrays;
    const Conversion<T> p{arrays.input<T>("bits", bits), arrays.input<float>("values", values),
                          arrays.output<float>("widened", widened), arrays.output<T>("rounded", rounded),
                          int(bits.size())};
    launch(convert<T>, p, {}, 64, 0, arrays.stream());
    arrays.finish();
}

template <typename Parameters>
void run_product(void (*kernel)(Parameters), simt::py::array a, simt::py::array b, simt::py::array d) {
    using Element = std::remove_const_t<std::remove_pointer_t<decltype(Parameters::a)>>;
    simt::Arrays arrays;
    const Parameters p{arrays.input<Element>("a", a), arrays.input<Element>("b", b), arrays.output<float>("d", d)};
    launch(kernel, p, {}, 32, 0, arrays.stream());
    arrays.finish();
}

}  // namespace
}  // namespace vinr::cuda

PYBIND11_MODULE(operations, m) {
    namespace py = simt::py;
    using namespace vinr::cuda;
    m.def("tf32_product", [](py::array a, py::array b, py::array d) { run_product(tf32_product, a, b, d); });
    m.def("bfloat16_product", [](py::array a, py::array b, py::array d) { run_product(bfloat16_product, a, b, d); });
    m.def("convert_half", &run_convert<Half>);
    m.def("convert_bfloat16", &run_convert<BFloat16>);
    m.def("convert_tf32", [](py::array values, py::array rounded) {
        simt::Arrays arrays;
        const Tf32Conversion p{arrays.input<float>("values", values), arrays.output<uint32_t>("rounded", rounded),
                               int(values.size())};
        launch(convert_tf32, p, {}, 64, 0, arrays.stream());
        arrays.finish();
    });
    m.def("sums", [](py::array x, py::array y) {
        simt::Arrays arrays;
        const Sums p{arrays.input<float>("x", x), arrays.output<float>("y", y)};
        launch(sums, p, {unsigned(x.size() / 64)}, 64, 0, arrays.stream());
        return arrays.finish();
    });
}
