import pytest
import torch
from vinr_engine.kernels import _runtime

if _runtime.unavailable():
    pytest.skip(_runtime.unavailable(), allow_module_level=True)

from vinr_engine.kernels._sine import half_turns

from tolerances import SINE
from triton_kernels import probe_kernels

DEVICE = "cpu" if _runtime.INTERPRETED else "cuda"


@pytest.mark.parametrize("approximate", [False, pytest.param(True, marks=pytest.mark.gpu)])
@pytest.mark.parametrize("omega", [30.0, 1.0, 7.3])
def test_sine_and_cosine(omega, approximate):
    if approximate and _runtime.INTERPRETED:
        pytest.skip("the interpreter has no inline assembly")
    n = 1 << 16
    rng = torch.Generator().manual_seed(3)
    z = (torch.rand(n, generator=rng) * 2 - 1) * torch.logspace(-6, 4, n) / omega
    z[:6] = torch.tensor([0.0, -0.0, 1.0, 333.333, torch.pi / omega, -1e4 / omega])
    outputs = [torch.full((n,), float("nan"), device=DEVICE) for _ in range(3)]
    probe_kernels.sines[(1,)](z.to(DEVICE), *outputs, n, *half_turns(omega), approximate)
    exact = omega * z.double()
    for out, expected in zip(outputs, (exact.sin(), exact.sin(), exact.cos()), strict=True):
        assert (out.double().cpu() - expected).abs().max() <= SINE
