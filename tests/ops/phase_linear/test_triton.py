import itertools

import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.against_reference import assert_like_its_definition, on
from ops.phase_linear.samples import EMPTY, SAMPLES, Sample
from ops.phase_linear.test_op import gradients
from vinr_engine import reference
from vinr_engine.kernels.phase_linear import launch
from vinr_engine.ops import phase_linear

# Beside those of the op: several blocks of cells, outputs and channels, and several slabs.
MORE = [
    Sample("several_blocks", batch=3, input=(5, 6), size=(20, 30), channels=70, outputs=4, base=True),
    Sample("several_slabs", batch=1, input=(24, 32), size=(24, 32), channels=4),
]
every = pytest.mark.parametrize("sample", [*SAMPLES, *MORE, *EMPTY], ids=lambda s: s.name)


@every
def test_float32(device, sample):
    single, exact = on(device, sample.arguments(torch.float32, seed=5)), sample.arguments(seed=5)
    assert_like_its_definition(phase_linear, reference.phase_linear, gradients, single, exact)


@pytest.mark.parametrize("wanted", list(itertools.product((True, False), repeat=3))[:-1], ids=str)
def test_only_wanted_gradients(device, wanted):
    exact = gradients(SAMPLES[1].arguments(), reference.phase_linear)
    actual = gradients(on(device, SAMPLES[1].arguments(torch.float32)), wanted=wanted)
    for one, true in zip(actual, [e for e, w in zip(exact, wanted, strict=True) if w], strict=True):
        assert relative_error(one.cpu(), true) <= OP[torch.float32]


def test_64_bit_offsets_change_nothing(device, monkeypatch):
    arguments = on(device, Sample("any", input=(4, 8), size=(6, 12), base=True).arguments(torch.float32))
    expected = [phase_linear(*arguments), *gradients(arguments)]
    seen = []
    monkeypatch.setattr(launch, "passes_32_bits", lambda *tensors: seen.append(len(tensors)) or True)
    assert all(map(torch.equal, [phase_linear(*arguments), *gradients(arguments)], expected))
    assert seen == [3] * 3


def test_reads_no_other_pixel(device):
    """What is not a number in one input pixel shows in its output pixels alone."""
    maps, weights, size, _ = on(device, Sample("five_halves", input=(6, 4), size=(15, 10)).arguments(torch.float32))
    maps[0, 1, 2, 3] = torch.nan
    inside = torch.zeros(2, 3, *size, dtype=torch.bool, device=device)
    inside[0, :, 5:7, 7:] = True
    assert (phase_linear(maps, weights, size).isnan() == inside).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_computed_in_float32(device, dtype):
    maps, weights, size, base = on(device, SAMPLES[1].arguments())
    low = [t.to(dtype) for t in (maps, weights, base)]
    out = phase_linear(*low[:2], size, low[2])
    assert out.dtype == dtype
    assert relative_error(out, reference.phase_linear(*(t.float() for t in low[:2]), size, low[2].float())) <= OP[dtype]
    assert [d.dtype for d in gradients((*low[:2], size, low[2]))] == [dtype] * 3
    assert phase_linear(low[0], weights, size, base).dtype == torch.float64


def test_opcheck(device):
    maps, weights, size, base = on(
        device, Sample("small", input=(1, 2), size=(2, 3), base=True).arguments(torch.float32)
    )
    maps = maps.permute(0, 2, 3, 1)
    leaves = [t.detach().requires_grad_() for t in (maps, weights, base)]
    torch.library.opcheck(torch.ops.vinr.phase_linear_triton.default, (*leaves, list(size)))
    grad = torch.rand(len(maps), weights.shape[2], *size, device=device)
    backward = torch.ops.vinr.phase_linear_triton_backward.default
    for mask in ([True, True], [True, False], [False, True]):
        torch.library.opcheck(backward, (grad, maps, weights, list(size), mask))


@pytest.mark.slow
def test_compiles_as_one_graph(device):
    compiled = torch.compile(phase_linear, fullgraph=True, backend="aot_eager")
    for input_, size in (((4, 5), (8, 10)), ((6, 4), (15, 10)), ((6, 4), (7, 12))):
        arguments = on(device, Sample("any", input=input_, size=size, base=True).arguments(torch.float32))
        torch.testing.assert_close(compiled(*arguments), phase_linear(*arguments))
        torch.testing.assert_close(gradients(arguments, compiled), gradients(arguments))


def test_float64_is_refused(device):
    with pytest.raises(vinr.BackendError, match="it takes float32, float16 and bfloat16 tensors, got"):
        phase_linear(*on(device, SAMPLES[0].arguments()))
