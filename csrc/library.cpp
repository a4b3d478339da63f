// Every op of the C++ extension, one schema each: the list of what exists.
// Implementations register themselves for a dispatch key in cpu/<op>.cpp and cuda/<op>.cu.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(vinr, m) {
    m.def(
        "deform_conv2d(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, "
        "int[2] stride, int[2] padding, int[2] dilation) -> Tensor");
    // Gradients of input, offset, weight, bias, mask; an empty tensor where output_mask is false.
    m.def(
        "deform_conv2d_backward(Tensor grad_output, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
        "int[2] stride, int[2] padding, int[2] dilation, bool[5] output_mask) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}
