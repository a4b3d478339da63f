import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

import vinr_engine as vinr
from benchmarks.tolerances import TRITON, relative_error
from ops.fourier_mlp.samples import (
    EMPTY,
    SAMPLES,
    Sample,
    call,
    flat,
    gradients,
    on_reference,
    op_arguments,
    with_tensors,
)

QUICK = ("plain", "cell_of_points", "outside", "no_rows")
every = pytest.mark.parametrize(
    "sample",
    [pytest.param(s, marks=() if s.name in QUICK else pytest.mark.slow, id=s.name) for s in SAMPLES + EMPTY],
)


@pytest.fixture
def triton(triton_device):
    with vinr.backend("triton"):
        yield triton_device


def on(device, arguments):
    moved = with_tensors(arguments, [t.to(device) for t in flat(arguments)])
    return moved | dict(index=arguments["index"].to(device))


@every
def test_float32(triton, sample):
    exact = on_reference(call, sample.arguments())
    assert relative_error(call(on(triton, sample.arguments(torch.float32))).cpu(), exact) <= TRITON[torch.float32]


@every
def test_gradients_float32(triton, sample):
    exact = on_reference(gradients, sample.arguments())
    found = gradients(on(triton, sample.arguments(torch.float32)))
    for i, (a, e) in enumerate(zip(found, exact, strict=True)):
        assert relative_error(a.cpu(), e) <= TRITON[torch.float32], i


@every
@pytest.mark.parametrize("dtype", [torch.float16, pytest.param(torch.bfloat16, marks=pytest.mark.slow)])
def test_low_precision(triton, sample, dtype):
    single = sample.arguments(torch.float32)
    rounded = [t.to(dtype) for t in flat(single)]
    low = with_tensors(single, rounded)
    for name in ("freq", "relative", "phase", "weights", "cell"):
        low[name] = single[name]
    exact = with_tensors(low, [t.double() for t in flat(low)])
    low = on(triton, low)
    actual = call(low)
    assert actual.dtype == dtype
    assert relative_error(actual.cpu(), on_reference(call, exact)) <= TRITON[dtype]
    for i, (a, t, e) in enumerate(zip(gradients(low), flat(low), on_reference(gradients, exact), strict=True)):
        assert a.dtype == t.dtype
        assert relative_error(a.cpu(), e) <= 3 * TRITON[dtype], i  # sums fall on the other side of a ReLU


@pytest.mark.parametrize("sample", [EMPTY[0], pytest.param(SAMPLES[2], marks=pytest.mark.slow)], ids=lambda s: s.name)
def test_opcheck(triton, sample):
    *tensors, layers, weights = op_arguments(on(triton, sample.arguments(torch.float32)))
    grad = torch.rand(sample.batch, sample.points, sample.layers[-1], device=triton)
    mask = [True, True, True, bool(sample.cell), True, sample.weights]
    backward = (grad, *tensors, layers, weights, mask, "ieee")
    torch.library.opcheck(torch.ops.vinr.fourier_mlp_triton_backward.default, backward)
    for t in (*tensors, *layers, weights):
        if t is not None and t.is_floating_point():
            t.requires_grad_()
    torch.library.opcheck(torch.ops.vinr.fourier_mlp_triton.default, (*tensors, layers, weights, "ieee"))


@pytest.mark.parametrize("wanted", [0, 2, 4, pytest.param(9, marks=pytest.mark.slow)])
def test_only_wanted_gradients(triton, wanted):
    sample = Sample("all", batch=1, points=5, cell="point")
    (expected,) = on_reference(gradients, sample.arguments(), [wanted])
    (actual,) = gradients(on(triton, sample.arguments(torch.float32)), [wanted])
    assert relative_error(actual.cpu(), expected) <= TRITON[torch.float32]


def test_deterministic_gradients(triton):
    sample = Sample("once", batch=1, points=9)
    expected = on_reference(gradients, sample.arguments())
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (gradients(on(triton, sample.arguments(torch.float32))) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b, e in zip(first, second, expected, strict=True):
        assert torch.equal(a, b)
        assert relative_error(a.cpu(), e) <= TRITON[torch.float32]


def test_a_layer_too_wide(triton):
    arguments = on(triton, Sample("wide", layers=(513, 3)).arguments(torch.float32))
    with pytest.raises(vinr.BackendError, match=r"it takes layers of up to 512 inputs and outputs, got \[513, 6\]"):
        call(arguments)
