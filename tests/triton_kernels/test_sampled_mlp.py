import pytest
import torch
from vinr_engine.kernels import _runtime

if _runtime.unavailable():
    pytest.skip(_runtime.unavailable(), allow_module_level=True)

import vinr_engine as vinr
from ops.sampled_mlp_samples import EMPTY, SAMPLES
from ops.test_sampled_mlp import call, flat, gradients, on_reference, with_tensors
from tolerances import TRITON, relative_error

SLOW = ("deep", "whole_vectors", "wide", "several_maps", "many_inputs")
every = pytest.mark.parametrize(
    "sample",
    [pytest.param(s, marks=pytest.mark.slow if s.name in SLOW else (), id=s.name) for s in SAMPLES + EMPTY],
)


@pytest.fixture
def triton(triton_device):
    with vinr.backend("triton"):
        yield triton_device


def on(device, arguments):
    return with_tensors(arguments, [t.to(device) for t in flat(arguments)])


def both_of(device, sample, dtype):
    """Arguments in `dtype`, with float32 positions and x, and in float64 with the same values."""
    single = sample.arguments(torch.float32)
    (maps, _, layers), options = with_tensors(single, [t.to(dtype) for t in flat(single)])
    low = (maps, single[0][1], layers), options
    return on(device, low), with_tensors(low, [t.double() for t in flat(low)])


@every
@pytest.mark.parametrize("precision", ["ieee", "tf32x3"])
def test_float32(triton, sample, precision):
    exact = on_reference(call, sample.arguments())
    with vinr.input_precision(precision):
        actual = call(on(triton, sample.arguments(torch.float32)))
    assert relative_error(actual.cpu(), exact) <= TRITON[torch.float32]


@every
def test_gradients_float32(triton, sample):
    exact = on_reference(gradients, sample.arguments())
    for i, (a, e) in enumerate(zip(gradients(on(triton, sample.arguments(torch.float32))), exact, strict=True)):
        assert relative_error(a.cpu(), e) <= TRITON[torch.float32], i


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision(triton, sample, dtype):
    low, exact = both_of(triton, sample, dtype)
    actual = call(low)
    assert actual.dtype == dtype
    assert relative_error(actual.cpu(), on_reference(call, exact)) <= TRITON[dtype]
    for i, (a, t, e) in enumerate(zip(gradients(low), flat(low), on_reference(gradients, exact), strict=True)):
        assert a.dtype == t.dtype
        assert relative_error(a.cpu(), e) <= TRITON[dtype], i
