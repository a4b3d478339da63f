import itertools

import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

import vinr_engine as vinr
from benchmarks.tolerances import TRITON, relative_error
from ops.inr_query.samples import problem
from ops.sampled_mlp.samples import (
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
from vinr_engine.kernels.common.launch import scratch_columns
from vinr_engine.kernels.common.packing import Split, plan
from vinr_engine.kernels.inr_query.launch import layout

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


def plan_of(sample):
    shapes = tuple((b, a) for a, b in itertools.pairwise((sample.inputs, sample.width, *sample.layers)))
    return plan((shapes,), (Split((sample.inputs,)),))


def both_of(device, sample, dtype):
    """Arguments in `dtype`, with float32 positions and x, and in float64 with the same values."""
    single = sample.arguments(torch.float32)
    (maps, _, layers), options = with_tensors(single, [t.to(dtype) for t in flat(single)])
    low = (maps, single[0][1], layers), options
    return on(device, low), with_tensors(low, [t.double() for t in flat(low)])


@every
@pytest.mark.parametrize("precision", ["ieee", pytest.param("tf32x3", marks=pytest.mark.slow)])
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
@pytest.mark.parametrize("dtype", [torch.float16, pytest.param(torch.bfloat16, marks=pytest.mark.slow)])
def test_low_precision(triton, sample, dtype):
    low, exact = both_of(triton, sample, dtype)
    actual = call(low)
    assert actual.dtype == dtype
    assert relative_error(actual.cpu(), on_reference(call, exact)) <= TRITON[dtype]
    for i, (a, t, e) in enumerate(zip(gradients(low), flat(low), on_reference(gradients, exact), strict=True)):
        assert a.dtype == t.dtype
        assert relative_error(a.cpu(), e) <= TRITON[dtype], i


@pytest.mark.parametrize(
    "sample",
    [pytest.param(s, marks=() if s.name == "no_maps" else pytest.mark.slow, id=s.name) for s in SAMPLES + EMPTY],
)
def test_opcheck(triton, sample):
    arguments = on(triton, sample.arguments(torch.float32))
    for tensor in flat(arguments):
        tensor.requires_grad_()
    maps, *rest = op_arguments(arguments)
    maps = [m.detach().requires_grad_() for m in maps]
    torch.library.opcheck(torch.ops.vinr.sampled_mlp_triton.default, (maps, *rest, "ieee"))
    detached = op_arguments(with_tensors(arguments, [t.detach() for t in flat(arguments)]))
    grad = torch.rand(sample.batch, sample.points, (sample.width, *sample.layers)[-1], device=triton)
    mask = [True, True, sample.inputs is not None, sample.bias]
    torch.library.opcheck(torch.ops.vinr.sampled_mlp_triton_backward.default, (grad, *detached, mask, "ieee"))


@pytest.mark.parametrize("wanted", range(9))
def test_only_wanted_gradients(triton, wanted):
    arguments = SAMPLES[0].arguments()
    (expected,) = on_reference(gradients, arguments, [wanted])
    (actual,) = gradients(on(triton, SAMPLES[0].arguments(torch.float32)), [wanted])
    assert relative_error(actual.cpu(), expected) <= TRITON[torch.float32]


@pytest.mark.parametrize("dtype", TRITON)
@pytest.mark.parametrize("activation", ["sine", pytest.param("relu", marks=pytest.mark.slow)])
def test_activations_that_registers_do_not_hold(triton, activation, dtype):
    """LIIF's widths, which go through memory, and more tiles than programs."""
    sample = Sample("liif", batch=1, points=300, width=256, layers=(256, 256, 3), activation=activation)
    low, exact = both_of(triton, sample, dtype)
    assert scratch_columns(plan_of(sample).networks, str(dtype).removeprefix("torch.")) == 256
    assert relative_error(call(low).cpu(), on_reference(call, exact)) <= TRITON[dtype]


def test_the_query_holds_its_activations_in_registers():
    *_, feat, flow, encode, _ = problem(C=12, hidden=((64, 64, 256), (64, 64, 256), (64, 64, 256, 256)), features=64)
    networks = layout(*([t for layer in n for t in layer] for n in (feat, flow, encode)), True).networks
    assert [scratch_columns(networks, operands) for operands in ("float16", "bfloat16", "tf32")] == [0, 0, 256]


@pytest.mark.parametrize("sample", [Sample("bilinear"), Sample("nearest", modes=("nearest",))], ids=lambda s: s.name)
def test_deterministic_gradients(triton, sample):
    expected = on_reference(gradients, sample.arguments())
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (gradients(on(triton, sample.arguments(torch.float32))) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b, e in zip(first, second, expected, strict=True):
        assert torch.equal(a, b)
        assert relative_error(a.cpu(), e) <= TRITON[torch.float32]


def test_expanded_arguments(triton):
    arguments = on(triton, Sample("plain", batch=1, points=1).arguments(torch.float32))
    (maps, positions, layers), options = arguments
    positions, options["x"] = [p.expand(1, 5, 2) for p in positions], options["x"].expand(1, 5, 3)
    arguments = (maps, positions, layers), options
    torch.testing.assert_close(call(arguments), on_reference(call, arguments))
    for a, b in zip(gradients(arguments), on_reference(gradients, arguments), strict=True):
        assert relative_error(a, b) <= TRITON[torch.float32]


def test_wild_positions_read_zero(triton):
    arguments = on(triton, Sample("wild", layers=()).arguments(torch.float32))
    arguments[0][1][0].view(-1)[:6] = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 3e9])
    torch.testing.assert_close(call(arguments), on_reference(call, arguments))


@pytest.mark.slow
def test_compiles_as_one_graph(triton):
    compiled = torch.compile(call, fullgraph=True, dynamic=True, backend="aot_eager")
    arguments = on(triton, SAMPLES[0].arguments(torch.float32))
    leaves = [t.requires_grad_() for t in flat(arguments)]
    actual, expected = compiled(arguments), call(arguments)
    torch.testing.assert_close(actual, expected)
    pairs = [torch.autograd.grad(out.sum(), leaves) for out in (actual, expected)]
    torch.testing.assert_close(*pairs)


def test_a_layer_too_wide(triton):
    arguments = on(triton, Sample("wide", layers=(513, 3)).arguments(torch.float32))
    with pytest.raises(vinr.BackendError, match=r"it takes layers of up to 512 inputs and outputs, got \[513, 6\]"):
        call(arguments)
