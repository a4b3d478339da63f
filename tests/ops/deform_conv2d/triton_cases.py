"""What the tests of the Triton deform_conv2d share."""

import pytest
import torch

import vinr_engine as vinr
from benchmarks.tolerances import OP, OP_GRADIENT, relative_error
from ops.deform_conv2d.samples import LARGER, SAMPLES, Sample

# The fewest programs that have groups of channels, several taps and a border.
SMALL = Sample("small", channels=8, size=(2, 3), kernel=(2, 1), padding=(1, 0), offset_groups=2)
ARGUMENTS = ("input", "offset", "weight", "bias", "mask")
# Many programs, of which each takes the interpreter a while.
SLOW = ("offset_groups_across_groups", "depthwise", "tile_edges", "far_offsets", "stride", "dilation", "even_kernel")


def listed(quick=None):
    """The op's whole list of samples; those that are not quick are slow."""
    quick = quick or {s.name for s in SAMPLES} - set(SLOW)
    return [pytest.param(s, id=s.name, marks=[] if s.name in quick else [pytest.mark.slow]) for s in SAMPLES + LARGER]


def named(name):
    return next(s for s in SAMPLES + LARGER if s.name == name)


def unpacked(tensors, geometry):
    input, offset, weight, bias, mask = tensors
    return vinr.ops.deform_conv2d(input, offset, weight, bias, *geometry, mask)


def packed(tensors, geometry):
    return vinr.ops.deform_conv2d_packed(*tensors, *geometry)


def gradients(function, tensors, geometry, grad_output):
    leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
    out = function(leaves, geometry)
    return out, torch.autograd.grad(out, [t for t in leaves if t is not None], grad_output)


def moved(tensors, device, layout=torch.contiguous_format):
    """On the device; the four-dimensional ones in a memory layout, or as they are where that is None."""
    on_device = [t if t is None else t.to(device) for t in tensors]
    if layout is None:
        return on_device
    return [t if t is None or t.dim() != 4 else t.contiguous(memory_format=layout) for t in on_device]


def check(function, tensors, geometry, device):
    """Output and every gradient against the reference in float64."""
    wide = [None if t is None else t.double() for t in tensors]
    shape = tensors[0].shape[0], tensors[2].shape[0], *tensors[1].shape[2:]
    grad_output = torch.rand(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64) - 0.5
    dtype = tensors[0].dtype
    with vinr.backend("reference"):
        expected, wanted = gradients(function, wide, geometry, grad_output.to(dtype).double())
    given = [None if t is None else t.to(device) for t in tensors]
    actual, grads = gradients(function, given, geometry, grad_output.to(device, dtype))
    assert actual.dtype == dtype
    assert relative_error(actual.cpu(), expected) <= OP[dtype]
    for grad, want, tensor in zip(grads, wanted, [t for t in given if t is not None], strict=True):
        assert grad.dtype == tensor.dtype
        assert relative_error(grad.cpu(), want) <= OP_GRADIENT[dtype]
