import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

import vinr_engine as vinr
from benchmarks.tolerances import OP, OP_GRADIENT, relative_error
from ops.against_reference import assert_like_its_definition, on
from ops.deform_attention.samples import EMPTY, SAMPLES, Sample
from ops.deform_attention.test_op import gradients
from vinr_engine import reference
from vinr_engine.kernels.deform_attention import launch
from vinr_engine.ops import deform_attention

TINY = [
    Sample("two_frames_wide", size=(2, 3), depth=3, kernel_size=(1, 3)),
    Sample("a_frame_of_one_group", frames=1, groups=1, size=(3, 3), heads=1, depth=4),
    Sample("one_pixel", size=(1, 1), depth=1, heads=1, groups=1),
]
CUT = ("groups_cut_heads", "a_group_of_keys_and_values")
LONG = [s for s in SAMPLES if s.name not in CUT]
every = pytest.mark.parametrize(
    "sample", [pytest.param(s, marks=pytest.mark.slow if s in LONG else (), id=s.name) for s in (*TINY, *EMPTY, *LONG)]
)


@every
def test_float32(device, sample):
    single = on(device, sample.arguments(torch.float32, seed=5))
    assert_like_its_definition(
        deform_attention, reference.deform_attention, gradients, single, sample.arguments(seed=5)
    )


@pytest.mark.parametrize("wanted", [(False, True, False), (False, False, True)])
def test_only_wanted_gradients(device, wanted):
    expected = gradients(TINY[0].arguments(), reference.deform_attention)[wanted.index(True)]
    (actual,) = gradients(on(device, TINY[0].arguments(torch.float32)), wanted=wanted)
    assert relative_error(actual.cpu(), expected) <= OP[torch.float32]


def test_gradients_of_the_extension_that_v3_was_trained_with(device):
    arguments = on(device, TINY[0].arguments(torch.float32))
    expected = gradients(TINY[0].arguments(), reference.deform_attention, keys_gradient_scaled_twice=True)
    for actual, true in zip(gradients(arguments, keys_gradient_scaled_twice=True), expected, strict=True):
        assert relative_error(actual.cpu(), true) <= OP[torch.float32]


def test_sums_without_an_order(device):
    arguments = on(device, TINY[0].arguments(torch.float32))
    expected = gradients(TINY[0].arguments(), reference.deform_attention)
    torch.use_deterministic_algorithms(True)
    try:
        found = gradients(arguments)
    finally:
        torch.use_deterministic_algorithms(False)
    for actual, true in zip(found, expected, strict=True):
        assert relative_error(actual.cpu(), true) <= OP_GRADIENT[torch.float32]


@pytest.mark.slow
def test_64_bit_offsets_change_nothing(device, monkeypatch):
    arguments = on(device, TINY[0].arguments(torch.float32))
    expected = [deform_attention(*arguments), *gradients(arguments)]
    seen = []
    monkeypatch.setattr(launch, "passes_32_bits", lambda *tensors: seen.append(len(tensors)) or True)
    for found, one in zip([deform_attention(*arguments), *gradients(arguments)], expected, strict=True):
        torch.testing.assert_close(found, one)
    assert len(seen) == 3


@pytest.mark.slow
def test_opcheck(device):
    q, kv, offset, *others = on(device, TINY[0].arguments(torch.float32))
    arguments = q.squeeze(1), kv.flatten(0, 1), offset, 2, *others, False
    leaves = [t.detach().requires_grad_() for t in arguments[:3]]
    torch.library.opcheck(torch.ops.vinr.deform_attention_triton.default, (*leaves, *arguments[3:]))
    backward = torch.ops.vinr.deform_attention_triton_backward.default
    grad = torch.rand_like(arguments[0])
    for mask in ([True, True, True], [True, False, True], [False, True, False]):
        torch.library.opcheck(backward, (grad, *arguments, mask))


@pytest.mark.slow
def test_compiles_as_one_graph(device):
    compiled = torch.compile(deform_attention, fullgraph=True, backend="aot_eager")
    for size in ((2, 3), (3, 2)):
        arguments = on(device, Sample("any", size=size).arguments(torch.float32))
        torch.testing.assert_close(compiled(*arguments), deform_attention(*arguments))
        torch.testing.assert_close(gradients(arguments, compiled), gradients(arguments))


@pytest.mark.parametrize("name", CUT)
def test_heads_that_groups_cut_are_refused(device, name):
    arguments = next(s for s in SAMPLES if s.name == name).arguments(torch.float32)
    with vinr.backend("triton"), pytest.raises(vinr.BackendError, match="its heads must each lie in one offset group"):
        deform_attention(*on(device, arguments))
