import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

from benchmarks.tolerances import SINE
from triton_kernels import probe_kernels
from vinr_engine.kernels.common.sine import half_turns


def phases(omega):
    """Arguments z of sin(omega z): phases of every size up to 1e4."""
    n = 1 << 16
    rng = torch.Generator().manual_seed(3)
    z = (torch.rand(n, generator=rng) * 2 - 1) * torch.logspace(-6, 4, n) / omega
    z[:6] = torch.tensor([0.0, -0.0, 1.0, 333.333, torch.pi / omega, -1e4 / omega])
    return z


@pytest.mark.parametrize("omega", [30.0, 1.0, 7.3])
def test_sine_and_cosine(triton_device, omega):
    z = phases(omega)
    outputs = [torch.full(z.shape, float("nan"), device=triton_device) for _ in range(3)]
    probe_kernels.sines[(1,)](z.to(triton_device), *outputs, len(z), *half_turns(omega))
    exact = omega * z.double()
    for out, expected in zip(outputs, (exact.sin(), exact.sin(), exact.cos()), strict=True):
        assert (out.double().cpu() - expected).abs().max() <= SINE


def test_approximate_sine(triton_device):
    """Its error grows with the phase, by less than rounding the phase itself to float32 costs."""
    phase = phases(1.0)
    out = torch.full(phase.shape, float("nan"), device=triton_device)
    probe_kernels.approximate_sines[(1,)](phase.to(triton_device), out, len(phase))
    error = (out.double().cpu() - phase.double().sin()).abs()
    assert (error <= SINE + phase.abs().double() * 2**-24).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_approximate_sine_of_what_is_not_finite(triton_device, bad):
    out = torch.zeros(16, device=triton_device)
    probe_kernels.approximate_sines[(1,)](torch.full((16,), bad, device=triton_device), out, 16)
    assert out.isnan().all()
