"""The fused operations as public functions. Each chooses a backend, see `vinr_engine.backends`."""

from vinr_engine.ops.bspline_head import bspline_head
from vinr_engine.ops.conv3x3 import conv3x3
from vinr_engine.ops.deform_attention import deform_attention
from vinr_engine.ops.deform_conv2d import deform_conv2d, deform_conv2d_packed
from vinr_engine.ops.fourier_field import fourier_field
from vinr_engine.ops.fourier_mlp import fourier_mlp
from vinr_engine.ops.inr_query import inr_query
from vinr_engine.ops.local_correlation import local_correlation
from vinr_engine.ops.nearest_conv import nearest_conv, nearest_conv_table
from vinr_engine.ops.phase_linear import phase_linear
from vinr_engine.ops.sampled_mlp import sampled_mlp
from vinr_engine.ops.splat import splat, splat_sum
from vinr_engine.ops.v3_query import v3_query

__all__ = [
    "bspline_head",
    "conv3x3",
    "deform_attention",
    "deform_conv2d",
    "deform_conv2d_packed",
    "fourier_field",
    "fourier_mlp",
    "inr_query",
    "local_correlation",
    "nearest_conv",
    "nearest_conv_table",
    "phase_linear",
    "sampled_mlp",
    "splat",
    "splat_sum",
    "v3_query",
]
