// A step of a ConvLSTM on the CPU: a 3x3 convolution makes the gates, in bands of rows that are used while they are in
// the caches. As a whole they would be four times as large as a state.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "conv3x3/bands.h"

namespace vinr {
namespace {

constexpr const char* kOp = "conv_lstm";

std::tuple<Tensor, Tensor> conv_lstm(const std::vector<Tensor>& maps, const Tensor& weight, std::optional<Tensor> bias,
                                     std::optional<Tensor> add, const Tensor& given_cell) {
    const Conv3x3Arguments a(kOp, maps, weight, bias, add);
    const Tensor& like = a.maps.first();
    check_float32(kOp, "maps", like);
    STD_TORCH_CHECK(a.outputs % 4 == 0, kOp, ": weight must have 4 outputs a channel of the cell, got ",
                    shape_string(weight.sizes()));
    const int64_t channels = a.outputs / 4;
    check_rank(kOp, "cell", given_cell, "[B, C, h, w]", 4);
    check_map(kOp, "cell", given_cell, like, channels);
    const Tensor cell = torch::stable::contiguous(given_cell, MemoryFormat::ChannelsLast);
    const std::vector<int64_t> sizes = sizes_of(cell);
    Tensor hidden = new_result(cell, sizes, true), new_cell = new_result(cell, sizes, true);
    Conv3x3Bands gates(a);
    const int64_t width = sizes[3];
    for (int64_t image = 0; image < sizes[0]; ++image) {
        gates.of_image(image, [&](const float* sums, int64_t first, int64_t last) {
            const int64_t from = (image * sizes[2] + first) * width * channels;
            LstmGates<float> p{};
            p.pixels = (last - first) * width, p.channels = channels;
            p.gates = sums;
            p.cell = numbers<const float>(cell) + from;
            p.hidden = numbers<float>(hidden) + from, p.new_cell = numbers<float>(new_cell) + from;
            run_kernel(&Kernels<float>::lstm_gates, false, p);
        });
    }
    return {hidden, new_cell};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // conv3x3 of the maps, with 4 C outputs, i, f, o and g: the next hidden state and cell [B, C, h, w]. float32, no
    // gradients.
    m.def("conv_lstm(Tensor[] maps, Tensor weight, Tensor? bias, Tensor? add, Tensor cell) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) { m.impl("conv_lstm", TORCH_BOX(&vinr::conv_lstm)); }
