// The list of all ops on the CPU, which is read twice. First, from isa.h: the parameters of their kernels, and the
// table of kernels that an instruction set has. Then, with VINR_COMPILE_KERNELS, from the file of each instruction set,
// inside its namespace and after its Vec and one of the dense kernels: the kernels themselves, and its table. A set
// that rounds operands to bfloat16 defines VINR_BFLOAT16 before: it has those ops alone that are faster for it. One of
// double defines VINR_FLOAT64: deform_conv2d has plain loops for that. One whose dense kernel has no dense_panel, and
// no operands for add_outer, defines VINR_AMX: it has forward passes alone.
#if !defined(VINR_COMPILE_KERNELS)
#include "bspline_head/cpu_parameters.h"
#include "conv3x3/cpu_parameters.h"
#include "conv_lstm/cpu_parameters.h"
#include "deform_attention/cpu_parameters.h"
#include "deform_conv2d/cpu_parameters.h"
#include "fourier_field/cpu_parameters.h"
#include "fourier_mlp/cpu_parameters.h"
#include "inr_query/cpu_parameters.h"
#include "local_correlation/cpu_parameters.h"
#include "nearest_conv/cpu_parameters.h"
#include "phase_linear/cpu_parameters.h"
#include "project_maps/cpu_parameters.h"
#include "sampled_mlp/cpu_parameters.h"
#include "splat/cpu_parameters.h"

namespace vinr {

// Null for a kernel that is not there.
template <typename scalar_t>
struct Kernels {
    template <typename... Parameters>
    using Kernel = void (*)(const Parameters&..., ParallelFor);

    Kernel<BsplineHeadParameters<scalar_t>> bspline_head;
    Kernel<BsplineHeadParameters<scalar_t>, BsplineHeadGradients<scalar_t>> bspline_head_backward;
    Kernel<Conv3x3Parameters<scalar_t>> conv3x3;
    Kernel<Conv3x3WeightGradient<scalar_t>> conv3x3_weight;
    Kernel<LstmGates<scalar_t>> lstm_gates;
    Kernel<DeformAttentionParameters<scalar_t>> deform_attention;
    Kernel<DeformAttentionParameters<scalar_t>, DeformAttentionGradients<scalar_t>> deform_attention_backward;
    Kernel<DeformForward<scalar_t>> deform_conv2d;
    Kernel<DeformBackward<scalar_t>> deform_conv2d_backward;
    Kernel<FourierMlpParameters<scalar_t>> fourier_mlp;
    Kernel<FourierMlpParameters<scalar_t>, FourierMlpGradients<scalar_t>> fourier_mlp_backward;
    Kernel<FourierFieldParameters<scalar_t>> fourier_field;
    Kernel<FourierFieldParameters<scalar_t>, FourierFieldGradients<scalar_t>> fourier_field_backward;
    Kernel<QueryParameters<scalar_t>> inr_query;
    Kernel<QueryParameters<scalar_t>, QueryGradients<scalar_t>> inr_query_backward;
    Kernel<LocalCorrelationParameters<scalar_t>> local_correlation;
    Kernel<LocalCorrelationParameters<scalar_t>, LocalCorrelationGradients<scalar_t>> local_correlation_backward;
    Kernel<NearestConvParameters<scalar_t>> nearest_conv;
    Kernel<NearestConvParameters<scalar_t>, NearestConvGradients<scalar_t>> nearest_conv_backward;
    Kernel<PhaseLinearParameters<scalar_t>> phase_linear;
    Kernel<PhaseLinearParameters<scalar_t>, PhaseLinearGradients<scalar_t>> phase_linear_backward;
    Kernel<SampledMlpParameters<scalar_t>> sampled_mlp;
    Kernel<SampledMlpParameters<scalar_t>, SampledMlpGradients<scalar_t>> sampled_mlp_backward;
    Kernel<ProjectMapsParameters<scalar_t>> project_maps;
    Kernel<ProjectMapsParameters<scalar_t>, ProjectMapsGradients<scalar_t>> project_maps_backward;
    Kernel<SplatParameters<scalar_t>> splat_forward;
    Kernel<SplatParameters<scalar_t>, SplatGradients<scalar_t>> splat_backward;
};

}  // namespace vinr

#else

#include "fourier_field/cpu_forward.h"
#include "fourier_mlp/cpu_forward.h"
#include "inr_query/cpu_forward.h"
#include "sampled_mlp/cpu_forward.h"

#if !defined(VINR_AMX)
#include "conv3x3/cpu_kernel.h"
#include "conv3x3/cpu_weight_gradient.h"
#include "fourier_mlp/cpu_backward.h"
#include "inr_query/cpu_backward.h"
#include "sampled_mlp/cpu_backward.h"
#endif

#if !defined(VINR_FLOAT64)
#include "deform_conv2d/cpu_forward.h"
#endif

#if !defined(VINR_BFLOAT16)
#include "bspline_head/cpu_kernel.h"
#include "deform_attention/cpu_backward.h"
#include "deform_attention/cpu_forward.h"
#include "fourier_field/cpu_backward.h"
#include "local_correlation/cpu_kernel.h"
#include "nearest_conv/cpu_kernel.h"
#include "phase_linear/cpu_kernel.h"
#include "project_maps/cpu_kernel.h"
#include "splat/cpu_backward.h"
#include "splat/cpu_forward.h"
#if !defined(VINR_FLOAT64)
#include "conv_lstm/cpu_kernel.h"
#include "deform_conv2d/cpu_backward.h"
#endif
#endif

// A constant: nothing of it runs before the machine is known to have these instructions.
constexpr Kernels<Scalar> kKernels = [] {
    Kernels<Scalar> kernels{};
    kernels.fourier_field = fourier_field;
    kernels.fourier_mlp = fourier_mlp;
    kernels.inr_query = inr_query;
    kernels.sampled_mlp = sampled_mlp;
#if !defined(VINR_AMX)
    kernels.conv3x3 = conv3x3;
    kernels.conv3x3_weight = conv3x3_weight;
    kernels.fourier_mlp_backward = fourier_mlp_backward;
    kernels.inr_query_backward = inr_query_backward;
    kernels.sampled_mlp_backward = sampled_mlp_backward;
#endif
#if !defined(VINR_FLOAT64)
    kernels.deform_conv2d = deform_conv2d;
#endif
#if !defined(VINR_BFLOAT16)
    kernels.bspline_head = bspline_head;
    kernels.bspline_head_backward = bspline_head_backward;
    kernels.deform_attention = deform_attention;
    kernels.deform_attention_backward = deform_attention_backward;
    kernels.fourier_field_backward = fourier_field_backward;
    kernels.local_correlation = local_correlation;
    kernels.local_correlation_backward = local_correlation_backward;
    kernels.nearest_conv = nearest_conv;
    kernels.nearest_conv_backward = nearest_conv_backward;
    kernels.phase_linear = phase_linear;
    kernels.phase_linear_backward = phase_linear_backward;
    kernels.project_maps = project_maps;
    kernels.project_maps_backward = project_maps_backward;
    kernels.splat_forward = splat_forward;
    kernels.splat_backward = splat_backward;
#if !defined(VINR_FLOAT64)
    kernels.lstm_gates = lstm_gates;
    kernels.deform_conv2d_backward = deform_conv2d_backward;
#endif
#endif
    return kernels;
}();

#endif
