#include "conv3x3/bands.h"

namespace vinr {
namespace {

#include "common/cpu/kept.h"

constexpr int64_t kBandBytes = 8 << 20;  // about
constexpr int64_t kBandRows = 4;         // rows of a band are a multiple of it: the kernel works in tiles of 4 x 4

}  // namespace

Conv3x3Bands::Conv3x3Bands(Conv3x3Arguments given)
    : arguments(std::move(given)), whole(arguments.parameters<float>()), band(whole) {
    const int64_t row = whole.width * whole.outputs;
    const int64_t fitting = kBandBytes / (row * int64_t(sizeof(float))) / kBandRows * kBandRows;
    const int64_t all = (whole.height + kBandRows - 1) / kBandRows * kBandRows;
    rows = std::min(all, std::max(kBandRows, fitting));
    static thread_local Kept<float> kept;
    sums = kept.room(rows * row);
    band.batch = 1;
}

const float* Conv3x3Bands::fill(int64_t image, int64_t first, int64_t last) {
    for (size_t m = 0; m < whole.maps.size(); ++m) band.maps[m].data = whole.maps[m].at(image, 0, 0);
    if (whole.add.data) band.add.data = whole.add.at(image, 0, 0);
    const int64_t row = whole.width * whole.outputs;
    band.first_row = first, band.last_row = last;
    band.out = {sums - first * row, whole.outputs, 0, row, whole.outputs};  // from where row 0 would lie
    run_kernel(&Kernels<float>::conv3x3, false, band);
    return sums;
}

}  // namespace vinr
