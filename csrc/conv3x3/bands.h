// A 3x3 convolution whose sums are used at once, band of rows by band of rows: while they are in the caches. As a whole
// they are never held.
#pragma once

#include "conv3x3/cpu_arguments.h"

namespace vinr {

class Conv3x3Bands {
 public:
    // In float32, products of numbers as they are.
    explicit Conv3x3Bands(Conv3x3Arguments arguments);

    // use(sums, first, last) for the rows from first to last of an image, whose sums are [rows, w, O], band by band.
    template <typename Use>
    void of_image(int64_t image, const Use& use) {
        for (int64_t first = 0; first < whole.height; first += rows) {
            const int64_t last = std::min(first + rows, whole.height);
            use(fill(image, first, last), first, last);
        }
    }

 private:
    const float* fill(int64_t image, int64_t first, int64_t last);

    Conv3x3Arguments arguments;  // whose memory the parameters point into
    Conv3x3Parameters<float> whole, band;
    int64_t rows;  // of a band
    float* sums;
};

}  // namespace vinr
