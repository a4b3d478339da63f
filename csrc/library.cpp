// Every op of the C++ extension, one schema each: the list of what exists.
// Implementations register themselves for a dispatch key in <op>/cpu.cpp and <op>/cuda.cu.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(vinr, m) {
    // operands, of every op, names what products multiply: operands.h. input, weight and bias may be bfloat16
    // themselves, with float32 offsets and masks; CUDA takes float16 as well, and either with offsets and masks in its
    // own dtype. The backward ops take neither, and CUDA has none.
    m.def(
        "deform_conv2d(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, "
        "int[2] stride, int[2] padding, int[2] dilation, str operands) -> Tensor");
    // Gradients of input, offset, weight, bias, mask; an empty tensor where output_mask is false.
    m.def(
        "deform_conv2d_backward(Tensor grad_output, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
        "int[2] stride, int[2] padding, int[2] dilation, bool[5] output_mask, str operands) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
    // The same with offsets and mask logits in one tensor, [B, 3*G*K, H, W]; gradients of input, offset_mask, weight,
    // bias.
    m.def(
        "deform_conv2d_packed(Tensor input, Tensor offset_mask, Tensor weight, Tensor? bias, "
        "int[2] stride, int[2] padding, int[2] dilation, str operands) -> Tensor");
    m.def(
        "deform_conv2d_packed_backward(Tensor grad_output, Tensor input, Tensor offset_mask, Tensor weight, "
        "int[2] stride, int[2] padding, int[2] dilation, bool[4] output_mask, str operands) "
        "-> (Tensor, Tensor, Tensor, Tensor)");
    // Maps [B, h, w, C_i], joined in mind, times the weight [O, sum C_i]: [B, h, w, O].
    m.def("project_maps(Tensor[] maps, Tensor weight) -> Tensor");
    // Gradients of the maps, and of the weight; empty tensors where output_mask, which has an entry for each map and
    // one for the weight, is false.
    m.def(
        "project_maps_backward(Tensor grad_output, Tensor[] maps, Tensor weight, bool[] output_mask) "
        "-> (Tensor[], Tensor)");
    // The query on hoisted maps: colour [B, T, 3, H, W] and flow [B, T, 4, H, W]. feat, flow and encode hold weight and
    // bias of each layer in turn, the first layer's columns without those that were hoisted. Sums, phases and flow are
    // of the dtype of the maps, whatever the operands.
    m.def(
        "inr_query(Tensor maps, Tensor? colours, Tensor times, int[2] lr_size, int[2] size, int frame_upsample, "
        "Tensor[] feat, Tensor[] flow, Tensor[] encode, float omega, str operands) "
        "-> (Tensor, Tensor)");
    // Gradients of maps, of colours (empty where not wanted or not given), and of all weights and biases, flat, in the
    // order of feat, flow, encode.
    m.def(
        "inr_query_backward(Tensor grad_image, Tensor grad_flow, Tensor maps, Tensor? colours, Tensor times, "
        "int[2] lr_size, int[2] size, int frame_upsample, Tensor[] feat, Tensor[] flow, Tensor[] encode, float omega, "
        "bool wants_colours, str operands) -> (Tensor, Tensor, Tensor)");
    // Maps [B, H, W, D] channels-last, positions [B, N, 2] (y, x) in pixels of their maps; layers holds weight and bias
    // of each layer after the first in turn.
    m.def(
        "sampled_mlp(Tensor[] maps, Tensor[] positions, bool[] nearest, Tensor? x, Tensor? x_weight, Tensor? bias, "
        "Tensor[] layers, str activation, float omega, str operands) -> Tensor");
    // Gradients of maps, of positions, of x, and of x_weight, bias and layers, flat, in this order; empty lists and
    // tensors where output_mask is false. A bias that is not given has a gradient of D numbers all the same.
    m.def(
        "sampled_mlp_backward(Tensor grad_output, Tensor[] maps, Tensor[] positions, bool[] nearest, Tensor? x, "
        "Tensor? x_weight, Tensor? bias, Tensor[] layers, str activation, float omega, bool[4] output_mask, str "
        "operands) "
        "-> (Tensor[], Tensor[], Tensor, Tensor)");
    // Instruction sets that the CPU kernels can use here, comma-separated, the best last; and the one in use.
    m.def("cpu_variants() -> str");
    m.def("cpu_variant() -> str");
}
