import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

from benchmarks.tolerances import OP, relative_error
from ops.fourier_field.samples import EMPTY, SAMPLES, Sample
from ops.fourier_field.test_op import gradients, ops
from vinr_engine.kernels.fourier_field import launch
from vinr_engine.ops import fourier_field

TINY = [
    Sample("tiny", pixels=(2, 3), size=(3, 4), functions=3, times=((0, 0.25), (1, -0.5))),
    Sample("tiny_thera", pixels=(2, 2), size=(4, 3), functions=3, axes=2, times=None, colours=2, base=False),
]
MORE = [Sample("more_than_a_block", pixels=(6, 5), size=(12, 11), functions=40)]
every = pytest.mark.parametrize(
    "sample",
    [pytest.param(s, marks=pytest.mark.slow if s in (*SAMPLES, *MORE) else (), id=s.name)
     for s in (*TINY, *SAMPLES, *MORE, *EMPTY)],
)  # fmt: skip


def on(device, a):
    if isinstance(a, tuple):
        return tuple(on(device, b) for b in a)
    return a.to(device) if torch.is_tensor(a) else a


@every
@ops
def test_float32(device, function, definition, draw, sample):
    single = on(device, draw(sample, torch.float32, seed=5))
    exact = draw(sample, seed=5)
    assert relative_error(function(*single).cpu(), definition(*exact)) <= OP[torch.float32]
    for actual, true in zip(gradients(single, function), gradients(exact, definition), strict=True):
        assert relative_error(actual.cpu(), true) <= OP[torch.float32]


def test_bands_of_rows_are_parts_of_the_whole(device):
    amplitude, phase, frequencies, damping, size, times = on(device, TINY[0].arguments(torch.float32))
    whole = fourier_field(amplitude, phase, frequencies, damping, size, times)
    parts = [
        torch.ops.vinr.fourier_field_triton(
            amplitude[:, i : i + 1], phase[:, i : i + 1], frequencies, damping, *times, size, (i, 2), "ieee"
        )
        for i in range(2)
    ]
    torch.testing.assert_close(torch.cat(parts, 1), whole)


@pytest.mark.slow
def test_64_bit_offsets_change_nothing(device, monkeypatch):
    arguments = on(device, TINY[0].arguments(torch.float32))
    expected = [fourier_field(*arguments), *gradients(arguments, fourier_field)]
    monkeypatch.setattr(launch, "passes_32_bits", lambda *tensors: True)
    assert all(map(torch.equal, [fourier_field(*arguments), *gradients(arguments, fourier_field)], expected))


@pytest.mark.slow
def test_opcheck(device):
    amplitude, phase, frequencies, damping, size, (frames, offsets) = on(device, TINY[0].arguments(torch.float32))
    tensors, rest = (amplitude, phase, frequencies, damping, frames, offsets), (size, (0, 2))
    leaves = [t.detach().requires_grad_() for t in tensors[:4]]
    torch.library.opcheck(torch.ops.vinr.fourier_field_triton.default, (*leaves, frames, offsets, *rest, "ieee"))
    grad = torch.rand(len(frames), *size, 3, device=device)
    backward = torch.ops.vinr.fourier_field_triton_backward.default
    torch.library.opcheck(backward, (grad, *tensors, *rest, [True] * 5))
