// The published sizes: which 16 x 16 tile of which layer the weights' stream holds where, in the order in which the two
// passes of inr_query_published.cuh use them. HR features 64, feat and flow 64, 64, 256, encode 64, 64, 256, 256.
#pragma once

#include "inr_query/cuda_parameters.cuh"

namespace vinr::cuda {

constexpr int kFeatures = 64, kHidden = 64, kWide = 256;
constexpr int kChunk = 32;  // columns of a wide layer at a time
constexpr int kChunks = kWide / kChunk;

// Row k and column n of a tile's corner, in the order of fragments; a narrow tile is 32 x 8.
struct TileSource {
    int layer;  // feat from 0, flow from 10, encode from 20
    int k, n;
    bool narrow;
};
constexpr int kFeat = 0, kFlow = 10, kEncode = 20, kNoLayer = -1;

// Pass 1: feat 1; (feat 2, feat 3) by chunks; flow 0 on the HR feature, then on colours; flow 1; (flow 2, flow 3) by
// two chunks.
struct DecodeSchedule {
    static constexpr int kStages = 16, kStageTiles = 18;

    static VINR_HOST_DEVICE TileSource tile(int stage, int i) {
        if (stage == 0 || stage == 9 || stage == 11) {
            const int layer = stage == 0 ? kFeat + 1 : stage == 9 ? kFlow : kFlow + 1;
            return {i < 16 ? layer : kNoLayer, 16 * (i / 4), 16 * (i % 4), false};
        }
        if (stage <= kChunks) {
            const int first = kChunk * (stage - 1), j = i - 8;
            if (i < 8) return {kFeat + 2, 16 * (i / 2), first + 16 * (i % 2), false};
            return {i < 16 ? kFeat + 3 : kNoLayer, first + 16 * (j / 4), 16 * (j % 4), false};
        }
        if (stage == 10) return {i < 4 ? kFlow : kNoLayer, kFeatures, 16 * i, false};
        const int first = kChunk * (2 * (stage - 12) + i / 9), j = i % 9;
        if (j == 8) return {kFlow + 3, first, 0, true};
        return {kFlow + 2, 16 * (j / 2), first + 16 * (j % 2), false};
    }
};

// Pass 2: encode 0 on the HR feature at A, at B, on colours; encode 1; encode 2 by two chunks; encode 3 by chunks of
// columns and halves of rows, with encode 4.
struct ColourSchedule {
    static constexpr int kStages = 24, kStageTiles = 17;

    static VINR_HOST_DEVICE TileSource tile(int stage, int i) {
        if (stage < 2 || stage == 3) {
            const int layer = stage == 3 ? kEncode + 1 : kEncode;
            return {i < 16 ? layer : kNoLayer, (stage == 1 ? kFeatures : 0) + 16 * (i / 4), 16 * (i % 4), false};
        }
        if (stage == 2) return {i < 4 ? kEncode : kNoLayer, 2 * kFeatures, 16 * i, false};
        if (stage < 8) {
            const int first = kChunk * (2 * (stage - 4) + i / 8), j = i % 8;
            return {i < 16 ? kEncode + 2 : kNoLayer, 16 * (j / 2), first + 16 * (j % 2), false};
        }
        const int first = kChunk * ((stage - 8) / 2), half = stage % 2;
        if (i == 16) return {half ? kEncode + 4 : kNoLayer, first, 0, true};
        return {kEncode + 3, 128 * half + 16 * (i / 2), first + 16 * (i % 2), false};
    }
};

// Where the vectors stand, in floats. Those of a layer before a sine are times its unit.
struct DecodeVectors {
    static constexpr int kRelY = 0, kRelX = kRelY + kHidden, kFeatTime = kRelX + kHidden, kFeat0 = kFeatTime + kHidden,
                         kFeat1 = kFeat0 + kHidden, kFeat2 = kFeat1 + kHidden, kFeat3 = kFeat2 + kWide,
                         kFlowTime = kFeat3 + kFeatures, kFlow0 = kFlowTime + kHidden, kFlow1 = kFlow0 + kHidden,
                         kFlow2 = kFlow1 + kHidden, kFlow3 = kFlow2 + kWide, kCount = kFlow3 + 8;
};
struct ColourVectors {
    static constexpr int kTime = 0, kEncode0 = kTime + kHidden, kEncode1 = kEncode0 + kHidden,
                         kEncode2 = kEncode1 + kHidden, kEncode3 = kEncode2 + kWide, kEncode4 = kEncode3 + kWide,
                         kCount = kEncode4 + 8;
};

// Column f of a layer's fragments is this channel. Of every 32 channels a lane has eight, side by side, and its row's
// four lanes have them all.
VINR_HOST_DEVICE int channel_of(int f) { return f / 32 * 32 + 8 * (f % 8 / 2) + 2 * (f % 32 / 8) + f % 2; }

// The layer's output that column n of its tiles is.
VINR_HOST_DEVICE int output_of(const TileSource& tile, int n) { return tile.narrow ? n : channel_of(n); }

// The layer's input that row k of its tiles is; -1 for none.
VINR_HOST_DEVICE int input_of(const TileSource& tile, int k) {
    const int features = tile.layer == kFlow ? kFeatures : 2 * kFeatures;
    if ((tile.layer != kFlow && tile.layer != kEncode) || k < features) return channel_of(k);
    const int c = k - features;  // colours: six in eight, of A, then of B
    if (c % 8 >= 6 || (tile.layer == kFlow && c >= 8)) return -1;
    return features + c / 8 * 6 + c % 8;
}

}  // namespace vinr::cuda
