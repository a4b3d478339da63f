"""The Triton deform_conv2d against the reference."""

import dataclasses

import pytest
import torch

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.deform_conv2d.samples import Sample
from ops.deform_conv2d.triton_cases import (
    ARGUMENTS,
    SMALL,
    check,
    gradients,
    listed,
    moved,
    named,
    packed,
    unpacked,
)
from vinr_engine import reference
from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)


@pytest.mark.parametrize("sample", listed())
def test_matches_the_reference(sample, device):
    check(unpacked, sample.tensors(torch.float32, seed=1), sample.geometry, device)


@pytest.mark.parametrize("sample", listed(quick=("groups", "one_by_one")))
def test_packed_matches_the_reference(sample, device):
    layout = None if sample.sliced else torch.channels_last
    check(packed, moved(sample.packed(torch.float32, seed=2), device, layout), sample.geometry, device)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sample", listed(quick=("no_mask", "sliced")))
def test_low_precision(sample, dtype, device):
    check(unpacked, sample.tensors(dtype, seed=3), sample.geometry, device)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["one_by_one", pytest.param("published", marks=pytest.mark.slow)])
def test_packed_in_low_precision(name, dtype, device):
    """With coordinates in the features' precision and in float32, as under autocast."""
    sample = named(name)
    input, offset_mask, weight, bias = moved(sample.packed(dtype, seed=4), device, torch.channels_last)
    check(packed, (input, offset_mask.float(), weight, bias), sample.geometry, device)
    check(packed, (input, offset_mask, weight, bias), sample.geometry, device)


@pytest.mark.parametrize("sample", [Sample("two_runs", channels=16, offset_groups=2, mask=False), named("groups")])
def test_autocast_casts_features_alone(sample, device):
    tensors = moved(sample.tensors(torch.float32), device)
    tensors[1].add_(100.3).sub_(100.0)  # offsets that bfloat16 would round visibly
    with vinr.backend("reference"):
        expected = unpacked([None if t is None else t.double() for t in tensors], sample.geometry)
    with torch.autocast(device, torch.bfloat16):
        out = unpacked(tensors, sample.geometry)
    assert out.dtype == torch.bfloat16
    assert relative_error(out, expected) <= OP[torch.bfloat16]


def test_input_precision_reaches_forward_and_backward(device):
    sample = dataclasses.replace(SMALL, channels=16, out_channels=16)
    tensors = moved(sample.tensors(torch.float32, seed=5), device)
    grad_output = torch.rand(1, 16, *sample.out_size, device=device) - 0.5
    with vinr.backend("reference"):
        expected = [t.double() for t in gradients(unpacked, tensors, sample.geometry, grad_output)[1]]
        exact = unpacked([t.double() for t in tensors], sample.geometry)
    for precision in ("tf32", "tf32x3"):
        with vinr.input_precision(precision):
            leaves = [t.detach().requires_grad_() for t in tensors]
            out = unpacked(leaves, sample.geometry)
        grads = torch.autograd.grad(out, leaves, grad_output)  # outside the block
        errors = [relative_error(a, b) for a, b in zip((out, *grads), (exact, *expected), strict=True)]
        del errors[ARGUMENTS.index("weight") + 1 : ARGUMENTS.index("bias") + 2]  # three products, and a sum
        low, high = (3e-5, 3e-3) if precision == "tf32" else (0, OP[torch.float32])
        assert all(low <= e <= high for e in errors), (precision, errors)


@pytest.mark.parametrize("position", [float("nan"), float("inf"), -float("inf"), 1e30, 3e9])
def test_positions_far_outside_read_zero(position, device):
    sample = SMALL
    input, offset, weight, bias, mask = moved(sample.tensors(torch.float32), device)
    offset = torch.full_like(offset, position)
    ones = torch.ones(1, 4, *sample.out_size, device=device)
    out, grads = gradients(unpacked, (input, offset, weight, bias, mask), sample.geometry, ones)
    assert torch.equal(out, bias.reshape(1, -1, 1, 1).expand_as(out))
    for grad, name in zip(grads, ARGUMENTS, strict=True):
        assert torch.isfinite(grad).all(), name
        assert name == "bias" or not grad.any(), name


@pytest.mark.parametrize("logit", [float("inf"), -float("inf"), 200.0, -200.0])
def test_extreme_mask_logits(logit, device):
    sample = SMALL
    input, offset_mask, weight, bias = moved(sample.packed(torch.float32), device)
    offset_mask[:, 8:] = logit
    ones = torch.ones(1, 4, *sample.out_size, device=device)
    out, grads = gradients(packed, (input, offset_mask, weight, bias), sample.geometry, ones)
    expected = reference.deform_conv2d_packed(input, offset_mask, weight, bias, *sample.geometry)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert all(g.isfinite().all() for g in grads)


def test_infinite_pixels_show_where_they_are_read(device):
    """In every sample that has them for a corner, though its weight be zero; nowhere else."""
    sample = Sample("infinite", kernel=(1, 1), padding=(0, 0), mask=False)
    input, offset, weight, bias, _ = moved(sample.tensors(torch.float32), device)
    input[0, 1, 2, 3] = float("inf")
    input[0, 2, 0, 5] = float("nan")
    offset[:, :, ::2].round_()  # whole numbers in every second row
    with vinr.backend("reference"):
        expected = unpacked((input, offset, weight, bias, None), sample.geometry)
    out = unpacked((input, offset, weight, bias, None), sample.geometry)
    assert 0 < expected.isfinite().sum() < expected.numel()
    torch.testing.assert_close(out, expected, equal_nan=True)
