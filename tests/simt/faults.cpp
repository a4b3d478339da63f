// Kernels that show what the shim sees: a matrix product, right or with one fault, and smaller kernels that go wrong.
#include "common/cuda/primitives.cuh"
#include "simt/arrays.h"

namespace vinr::cuda {
namespace {

enum Fault { kNone, kMissingBarrier, kSwappedLane, kMaskOffByOne, kUninitialisedShared, kWrongStride, kMissingWait };

struct Product {
    const Half *a, *b;  // [M, K], [8, K]
    float* d;           // [M, 8]
    int M, K;           // K in whole steps of 16
};

// d = a b^T: two warps, each 16 rows and 8 columns, 16 of K at a time.
template <Fault fault>
VINR_KERNEL(64, 1)
product(Product p) {
    constexpr int kRows = 32, kStride = 24;  // halves: 16 and 8 of padding
    const Shared<Half> a = dynamic_shared<Half>(0, kRows * kStride);
    const Shared<Half> b = dynamic_shared<Half>(kRows * kStride * sizeof(Half), 8 * kStride);
    const int first = int(block_x()) * kRows, t = thread_x();
    const int rows = fault == kMaskOffByOne ? p.M + 1 : p.M;
    float d[4] = {};
    for (int k = 0; k < p.K; k += 16) {
        const int row = t / 2, part = t % 2 * 8;
        cp_async16(a + row * kStride + part, p.a + (first + row) * p.K + k + part, first + row < rows);
        if (t < (fault == kUninitialisedShared ? 15 : 16)) {
            cp_async16(b + row * kStride + part, p.b + row * p.K + k + part);
        }
        cp_async_commit();
        if (fault != kMissingWait) cp_async_wait<0>();
        if (fault != kMissingBarrier) barrier();
        uint32_t fa[4], fb[2];
        const int source = fault == kSwappedLane ? lane() ^ 1 : lane();
        const int stride = fault == kWrongStride ? 16 : kStride;
        ldmatrix_x4(fa, a + (warp() * 16 + source % 16) * stride + source / 16 * 8);
        ldmatrix_x2(fb, b + lane() % 8 * kStride + lane() / 8 % 2 * 8);
        mma_m16n8k16(Half(), d, fa, fb);
        barrier();
    }
    for (int i = 0; i < 4; ++i) {
        const int row = first + warp() * 16 + lane() / 4 + (i < 2 ? 0 : 8), column = lane() % 4 * 2 + i % 2;
        if (row < rows) store(p.d + row * 8 + column, d[i]);
    }
}

struct Vectors {
    const float* x;
    float* y;
    int n;
};

VINR_KERNEL(64, 1) leaves_before_barrier(Vectors p) {
    if (thread_x() >= p.n) return;
    barrier();
    store(p.y + thread_x(), 1.0f);
}
VINR_KERNEL(64, 1) two_barriers(Vectors p) {
    if (thread_x() < 32) {
        barrier();
    } else {
        barrier();
    }
    store(p.y, 1.0f);
}
VINR_KERNEL(64, 1) divergent_shuffle(Vectors p) {
    float v = 1;
    if (lane() < 16) v = shuffle_xor(v, 1);
    barrier();
    store(p.y + thread_x(), v);
}
VINR_KERNEL(64, 1) divergent_operations(Vectors p) {
    float v = 1;
    if (lane() < 16) {
        v = shuffle_xor(v, 1);
    } else {
        v = shuffle_up(v, 1);
    }
    store(p.y + thread_x(), v);
}
VINR_KERNEL(64, 1) past_the_end_of_shared(Vectors p) {
    VINR_STATIC_SHARED(float, s, 64);
    VINR_STATIC_SHARED(float, other, 64);
    other[thread_x()] = 0.0f;
    s[thread_x() + 1] = load(p.x);
}
VINR_KERNEL(64, 1) past_the_end_of_global(Vectors p) { store(p.y + thread_x() + p.n, 1.0f); }
VINR_KERNEL(64, 1) around_the_primitives(Vectors p) { p.y[p.n] = 1.0f; }
VINR_KERNEL(64, 1) writes_its_input(Vectors p) { store(const_cast<float*>(p.x), 1.0f); }
VINR_KERNEL(64, 1) misaligned(Vectors p) { store(reinterpret_cast<Words4*>(p.y + 1), Words4{}); }
// Right only if the warp barrier orders the two accesses: another lane's word is read.
template <bool right>
VINR_KERNEL(64, 1)
within_a_warp(Vectors p) {
    VINR_STATIC_SHARED(float, s, 64);
    s[thread_x()] = float(thread_x());
    if (right) warp_barrier();
    store(p.y + thread_x(), float(s[thread_x() ^ 5]));
}
// The next round's copy starts while other warps still read: right only with a barrier after the reads.
template <bool right>
VINR_KERNEL(64, 1)
overwrites_what_is_read(Vectors p) {
    const Shared<float> s = dynamic_shared<float>(0, 256);
    float sum = 0;
    for (int round = 0; round < 2; ++round) {
        cp_async16(s + thread_x() * 4, p.x + thread_x() * 4);
        cp_async_commit();
        cp_async_wait<0>();
        barrier();
        sum += s[255 - thread_x()];
        if (right) barrier();
    }
    store(p.y + thread_x(), sum);
}

struct Row {
    const char* name;
    void (*kernel)(Vectors);
};
const Row kVectorKernels[] = {
    {"leaves_before_barrier", leaves_before_barrier},
    {"two_barriers", two_barriers},
    {"divergent_shuffle", divergent_shuffle},
    {"divergent_operations", divergent_operations},
    {"past_the_end_of_shared", past_the_end_of_shared},
    {"past_the_end_of_global", past_the_end_of_global},
    {"around_the_primitives", around_the_primitives},
    {"writes_its_input", writes_its_input},
    {"misaligned", misaligned},
    {"no_warp_barrier", within_a_warp<false>},
    {"warp_barrier", within_a_warp<true>},
    {"no_second_barrier", overwrites_what_is_read<false>},
    {"second_barrier", overwrites_what_is_read<true>},
};

simt::py::dict run_product(int fault, simt::py::array a, simt::py::array b, simt::py::array d) {
    void (*const kernels[])(Product) = {product<kNone>,         product<kMissingBarrier>,      product<kSwappedLane>,
                                        product<kMaskOffByOne>, product<kUninitialisedShared>, product<kWrongStride>,
                                        product<kMissingWait>};
    simt::Arrays arrays;
    const Product p{arrays.input<Half>("a", a), arrays.input<Half>("b", b), arrays.output<float>("d", d),
                    int(a.shape(0)), int(a.shape(1))};
    launch(kernels[fault], p, {unsigned(p.M + 31) / 32}, 64, 40 * 24 * sizeof(Half), arrays.stream());
    return arrays.finish();
}

simt::py::dict run_vectors(const std::string& name, simt::py::array x, simt::py::array y) {
    for (const Row& row : kVectorKernels) {
        if (name != row.name) continue;
        simt::Arrays arrays;
        const Vectors p{arrays.input<float>("x", x), arrays.output<float>("y", y), int(y.size())};
        launch(row.kernel, p, {}, 64, 1024, arrays.stream());
        return arrays.finish();
    }
    throw simt::Error("no kernel " + name);
}

}  // namespace
}  // namespace vinr::cuda

PYBIND11_MODULE(faults, m) {
    m.def("product", &vinr::cuda::run_product);
    m.def("run", &vinr::cuda::run_vectors);
}
