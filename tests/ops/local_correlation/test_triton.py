import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.against_reference import assert_like_its_definition, on
from ops.local_correlation.samples import EMPTY, SAMPLES, Sample
from ops.local_correlation.test_op import gradients
from vinr_engine import reference
from vinr_engine.kernels.local_correlation import launch
from vinr_engine.ops import local_correlation

# Beside those of the op: several blocks of pixels, several chunks of channels, the widest search of FlowINR.
MORE = [
    Sample("whole_blocks_and_more", channels=24, size=(9, 15), times=(0.5,), radius=3, layout="nhwc"),
    Sample("the_coarsest_search", channels=64, size=(7, 6), times=(0.25, 0.75), radius=4, layout="nhwc"),
    Sample("more_than_a_chunk", channels=70, size=(3, 4), times=(0.5,), radius=1),
]
SLOW = ("eighths", "wider_than_the_map", "whole_blocks_and_more", "the_coarsest_search")
every = pytest.mark.parametrize(
    "sample",
    [pytest.param(s, marks=pytest.mark.slow if s.name in SLOW else (), id=s.name) for s in (*SAMPLES, *MORE, *EMPTY)],
)


@every
def test_float32(device, sample):
    single = on(device, sample.arguments(torch.float32, seed=5))
    assert_like_its_definition(
        local_correlation, reference.local_correlation, gradients, single, sample.arguments(seed=5)
    )


@pytest.mark.parametrize("wanted", [(True, False), (False, True)], ids=["first", "second"])
def test_only_wanted_gradients(device, wanted):
    expected = gradients(SAMPLES[0].arguments(), reference.local_correlation)[wanted.index(True)]
    (actual,) = gradients(on(device, SAMPLES[0].arguments(torch.float32)), wanted=wanted)
    assert relative_error(actual.cpu(), expected) <= OP[torch.float32]


@pytest.mark.parametrize("time", [0.5, 1 / 6, 0.25, 1 / 10])
def test_times_beside_those_at_which_a_displacement_goes_over(device, time):
    """Where t d + 1/2 is a whole number, the next float32 above and below give what they do without rounding."""
    middle = torch.tensor(time, dtype=torch.float32)
    times = torch.stack([torch.nextafter(middle, torch.tensor(end)) for end in (0.0, 1.0)])
    first, second, _, radius = Sample("two", times=(0, 0), channels=2, size=(3, 4), radius=5).arguments(torch.float32)
    exact = reference.local_correlation(first, second, times, radius)
    assert (
        relative_error(local_correlation(*on(device, (first, second, times, radius))).cpu(), exact) <= OP[exact.dtype]
    )


def test_64_bit_offsets_change_nothing(device, monkeypatch):
    arguments = on(device, SAMPLES[0].arguments(torch.float32))
    expected = [local_correlation(*arguments), *gradients(arguments)]
    seen = []
    monkeypatch.setattr(launch, "passes_32_bits", lambda *tensors: seen.append(len(tensors)) or True)
    assert all(map(torch.equal, [local_correlation(*arguments), *gradients(arguments)], expected))
    assert len(seen) == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_computed_in_float32(device, dtype):
    arguments = on(device, [a.to(dtype) if torch.is_tensor(a) else a for a in SAMPLES[0].arguments()])
    out = local_correlation(*arguments)
    expected = reference.local_correlation(*(a.float() for a in arguments[:3]), arguments[3])
    assert out.dtype == dtype
    assert relative_error(out, expected) <= OP[dtype]
    assert [d.dtype for d in gradients(arguments)] == [dtype] * 2


def test_opcheck(device):
    sample = Sample("small", size=(2, 3), radius=1, times=(0.5,))
    first, second, times, radius = on(device, sample.arguments(torch.float32))
    maps = [m.permute(0, 2, 3, 1) for m in (first, second)]
    leaves = [m.detach().requires_grad_() for m in maps]
    torch.library.opcheck(torch.ops.vinr.local_correlation_triton.default, (*leaves, times, radius))
    grad = torch.rand(*maps[0].shape[:3], (2 * radius + 1) ** 2, device=device)
    backward = torch.ops.vinr.local_correlation_triton_backward.default
    for mask in ([True, True], [True, False], [False, True]):
        torch.library.opcheck(backward, (grad, *maps, times, radius, mask))


@pytest.mark.slow
def test_compiles_as_one_graph(device):
    compiled = torch.compile(local_correlation, fullgraph=True, backend="aot_eager")
    for size in ((5, 7), (8, 6)):
        arguments = on(device, Sample("any", size=size).arguments(torch.float32))
        torch.testing.assert_close(compiled(*arguments), local_correlation(*arguments))
        torch.testing.assert_close(gradients(arguments, compiled), gradients(arguments))


def test_times_may_be_of_any_dtype(device):
    first, second, times, radius = on(device, SAMPLES[0].arguments(torch.float32))
    assert torch.equal(local_correlation(first, second, times.double(), radius),
                       local_correlation(first, second, times, radius))  # fmt: skip


def test_float64_is_refused(device):
    with pytest.raises(vinr.BackendError, match="it takes float32, float16 and bfloat16 tensors, got"):
        local_correlation(*on(device, SAMPLES[0].arguments()))
