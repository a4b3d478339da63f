// Every op's kernels for one instruction set, and the table of them; included inside its namespace, after its Vec and
// one of the dense kernels. An instruction set that rounds operands to bfloat16 defines VINR_BFLOAT16 before: it has
// forward passes alone. One of double defines VINR_FLOAT64: deform_conv2d has plain loops for that.
#pragma once

#include "inr_query/cpu_forward.h"
#include "sampled_mlp/cpu_forward.h"

#if !defined(VINR_FLOAT64)
#include "deform_conv2d/cpu_forward.h"
#endif

#if !defined(VINR_BFLOAT16)
#include "inr_query/cpu_backward.h"
#include "project_maps/cpu_kernel.h"
#include "sampled_mlp/cpu_backward.h"
#if !defined(VINR_FLOAT64)
#include "deform_conv2d/cpu_backward.h"
#endif
#endif

// A constant: nothing of it runs before the machine is known to have these instructions.
constexpr Kernels<Scalar> kKernels = [] {
    Kernels<Scalar> kernels{};
    kernels.inr_query = inr_query;
    kernels.sampled_mlp = sampled_mlp;
#if !defined(VINR_FLOAT64)
    kernels.deform_conv2d = deform_conv2d;
#endif
#if !defined(VINR_BFLOAT16)
    kernels.inr_query_backward = inr_query_backward;
    kernels.sampled_mlp_backward = sampled_mlp_backward;
    kernels.project_maps = project_maps;
    kernels.project_maps_backward = project_maps_backward;
#if !defined(VINR_FLOAT64)
    kernels.deform_conv2d_backward = deform_conv2d_backward;
#endif
#endif
    return kernels;
}();
