// The gradients of the convolution of an enlarged picture; included by its kernel. The products' gradients are added up
// first; then those of the input are products of their differences, and those of the weight of the input's.
#pragma once

class NearestConvBackward : NearestConv {
 public:
    NearestConvBackward(const NearestConvParameters<Scalar>& p, const NearestConvGradients<Scalar>& g)
        : NearestConv(p), g(g) {
        const int64_t matrix = p.outputs * p.inputs;
        if (g.x) {
            const std::vector<Scalar> zeros(p.inputs, Scalar(0));
            std::vector<Scalar> turned(matrix);
            for (int k = 0; k < kProducts; ++k) {
                transpose(p.weight + k * matrix, p.inputs, p.outputs, p.inputs, turned.data(), p.outputs);
                layers.push_back(pack_layer({p.outputs, p.inputs, turned.data(), zeros.data()}, 0, p.outputs));
            }
        }
        if (g.weight || g.bias) sums.resize(kProducts * product_size() + out_width);
    }

    void run(ParallelFor parallel_for) {
        parallel_for(pixels, &ranges_of<&NearestConvBackward::add_places>, this);
        if (g.x) parallel_for(tiles, &ranges_of<&NearestConvBackward::grad_x>, this);
        if (!g.weight && !g.bias) return;
        parallel_for(kSlabs, &ranges_of<&NearestConvBackward::grad_weight>, this);
        const Scalar* sum = sums.add(parallel_for);
        for (int k = 0; k < kProducts && g.weight; ++k) {
            transpose(sum + k * product_size(), out_width, p.inputs, p.outputs, g.weight + k * p.outputs * p.inputs,
                      p.inputs);
        }
        if (g.bias) std::copy_n(sum + kProducts * product_size(), p.outputs, g.bias);
    }

 private:
    template <void (NearestConvBackward::*kRange)(int64_t, int64_t)>
    static void ranges_of(int64_t begin, int64_t end, void* context) {
        (static_cast<NearestConvBackward*>(context)->*kRange)(begin, end);
    }

    // Numbers of a slab's sums of a product's weight, [inputs, out_width] with room for the last block of rows.
    int64_t product_size() const { return (p.inputs + kBlockRows) * out_width; }

    // The gradients of the pixels' nine products, with zeros behind the last output.
    void add_places(int64_t begin, int64_t end) {
        for (int64_t index = begin; index < end; ++index) {
            const auto [image, y, x] = pixel(index);
            const NearestPlace* const rows_end = p.rows.data() + p.first_row[y + 1];
            const NearestPlace* const columns_end = p.columns.data() + p.first_column[x + 1];
            const Scalar* const grad = g.grad_output + image * p.image_stride;
            Scalar* const to = g.products + index * kProducts * out_width;
            for (int64_t c = 0; c < out_width; c += Vec::width) {
                Vec sum[3][3];
#pragma GCC unroll 9
                for (int k = 0; k < kProducts; ++k) sum[k / 3][k % 3] = Vec::zero();
                for (const NearestPlace* row = p.rows.data() + p.first_row[y]; row < rows_end; ++row) {
                    Vec along_row[3] = {Vec::zero(), Vec::zero(), Vec::zero()};
                    for (const auto* column = p.columns.data() + p.first_column[x]; column < columns_end; ++column) {
                        const Scalar* from = grad + row->offset + column->offset + c;
                        const Vec value = c < p.outputs ? load_part(from, p.outputs - c) : Vec::zero();
                        along_row[kItself] = along_row[kItself] + value;
                        if (column->type & kFirst) along_row[kBefore] = along_row[kBefore] + value;
                        if (column->type & kLast) along_row[kBehind] = along_row[kBehind] + value;
                    }
#pragma GCC unroll 3
                    for (int k = 0; k < 3; ++k) {
                        sum[kItself][k] = sum[kItself][k] + along_row[k];
                        if (row->type & kFirst) sum[kBefore][k] = sum[kBefore][k] + along_row[k];
                        if (row->type & kLast) sum[kBehind][k] = sum[kBehind][k] + along_row[k];
                    }
                }
#pragma GCC unroll 9
                for (int k = 0; k < kProducts; ++k) sum[k / 3][k % 3].store(to + k * out_width + c);
            }
        }
    }

    void grad_x(int64_t begin, int64_t end) {
        static thread_local Kept<Scalar> kept_d, kept_sums;
        const int64_t d_stride = apart(out_width), stride = apart(in_width), products = kProducts * out_width;
        Scalar* const d = kept_d.room(kTile * d_stride);
        Scalar* const dx = kept_sums.room(kTile * stride);
        for (int64_t tile = begin; tile < end; ++tile) {
            const int64_t first = tile * kTile, count = std::min(kTile, pixels - first);
            for (int k = 0; k < kProducts; ++k) {
                differences(g.products + k * out_width, products, out_width, kAdjoint[k / 3], kAdjoint[k % 3], first,
                            count, d, d_stride);
                const Scalar* const start = k ? dx : layers[k].bias.data();
                dense<Activation::kNone>(layers[k], count, d, d_stride, start, k ? stride : 0, dx, stride, Scalar(0));
            }
            for (int64_t i = 0; i < count; ++i) {
                std::copy_n(dx + i * stride, p.inputs, g.x + (first + i) * p.inputs);
            }
        }
    }

    void grad_weight(int64_t begin, int64_t end) {
        static thread_local Kept<Scalar> kept_x;
        const int64_t stride = apart(padded_width(p.inputs + kBlockRows)), products = kProducts * out_width;
        Scalar* const x = kept_x.room(kTile * stride);
        for (int64_t slab = begin; slab < end; ++slab) {
            Scalar* const sum = sums.of(slab);
            for (int64_t tile = slab * tiles / kSlabs; tile < (slab + 1) * tiles / kSlabs; ++tile) {
                const int64_t first = tile * kTile, count = std::min(kTile, pixels - first);
                const Scalar* const d = g.products + first * products;
                for (int k = 0; k < kProducts && g.weight; ++k) {
                    differences(p.x, p.inputs, p.inputs, k / 3, k % 3, first, count, x, stride);
                    add_outer(x, stride, p.inputs, d + k * out_width, products, out_width, count,
                              sum + k * product_size());
                }
                if (g.bias) add_rows(d, products, count, sum + kProducts * product_size());
            }
        }
    }

    void add_rows(const Scalar* rows, int64_t stride, int64_t count, Scalar* sum) const {
        for (int64_t c = 0; c < out_width; c += Vec::width) {
            Vec total = Vec::load(sum + c);
            for (int64_t i = 0; i < count; ++i) total = total + Vec::load(rows + i * stride + c);
            total.store(sum + c);
        }
    }

    const NearestConvGradients<Scalar>& g;
    std::vector<PackedLayer> layers;  // from outputs to inputs
    SlabSums sums;                    // of the weight of each product, and of the bias
};
