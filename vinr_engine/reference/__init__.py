"""Every op in plain torch, float64-capable and differentiable: the specification that the fast backends are held to.

Nothing here is tuned for speed.
"""

from vinr_engine.reference.bf_stvsr import bf_query
from vinr_engine.reference.bspline_head import bspline_head
from vinr_engine.reference.conv3x3 import conv3x3
from vinr_engine.reference.deform_attention import deform_attention
from vinr_engine.reference.deform_conv2d import deform_conv2d, deform_conv2d_packed
from vinr_engine.reference.encoder import encoder
from vinr_engine.reference.fourier_field import every_frame, field_damping, fourier_field, nearest_pixels, v3_query
from vinr_engine.reference.fourier_mlp import fourier_mlp
from vinr_engine.reference.inr_query import inr_query
from vinr_engine.reference.liif import liif_query
from vinr_engine.reference.local_correlation import local_correlation
from vinr_engine.reference.lte import lte_fast_query, lte_query
from vinr_engine.reference.motif import motif_motion_features, motif_motion_input, motif_query
from vinr_engine.reference.nearest_conv import nearest_conv
from vinr_engine.reference.phase_linear import phase_linear
from vinr_engine.reference.project_maps import project_maps
from vinr_engine.reference.sampled_mlp import sampled_mlp
from vinr_engine.reference.splat import splat, splat_sum

__all__ = [
    "bf_query",
    "bspline_head",
    "conv3x3",
    "deform_attention",
    "deform_conv2d",
    "deform_conv2d_packed",
    "encoder",
    "every_frame",
    "field_damping",
    "fourier_field",
    "fourier_mlp",
    "inr_query",
    "liif_query",
    "local_correlation",
    "lte_fast_query",
    "lte_query",
    "motif_motion_features",
    "motif_motion_input",
    "motif_query",
    "nearest_conv",
    "nearest_pixels",
    "phase_linear",
    "project_maps",
    "sampled_mlp",
    "splat",
    "splat_sum",
    "v3_query",
]
