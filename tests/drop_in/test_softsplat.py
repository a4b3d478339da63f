import pytest
import torch

import golden_cases
from vinr_engine import reference
from vinr_engine.drop_in.softsplat import softsplat

CASES = golden_cases.sibling_cases("softsplat")
GRAD = CASES.pop("")["grad"]
RUNS = [(case, key.removesuffix("/out")) for case, arrays in CASES.items() for key in arrays if key.endswith("/out")]


@pytest.mark.parametrize(("case", "mode"), RUNS, ids=map("-".join, RUNS))
def test_golden(backend, case, mode):
    arrays = CASES[case]
    inputs = {name: arrays[name].clone().requires_grad_() for name in ("x", "flow", "metric")}
    if mode.partition("-")[0] in ("sum", "avg"):
        out = softsplat(inputs["x"], inputs["flow"], None, mode)
    else:
        out = softsplat(**dict(zip(("tenIn", "tenFlow", "tenMetric"), inputs.values(), strict=True)), strMode=mode)
    known = ~arrays[f"{mode}/out"].isnan()
    torch.testing.assert_close(out[known], arrays[f"{mode}/out"][known], rtol=1e-9, atol=1e-9)
    wanted = {name: t for name, t in inputs.items() if f"{mode}/grad_{name}" in arrays}
    if wanted:
        for (name, _), d in zip(wanted.items(), torch.autograd.grad(out, list(wanted.values()), GRAD), strict=True):
            exact = arrays[f"{mode}/grad_{name}"]
            torch.testing.assert_close(d, exact, rtol=1e-9, atol=1e-9 * float(exact.abs().max()))


def draw(dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    return [(torch.rand(1, C, 4, 5, generator=rng) * 2 - 1).to(dtype) for C in (3, 2, 1)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(backend, dtype):
    x, flow, metric = draw(dtype)
    out = softsplat(x, flow, metric, "soft")
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, reference.splat(x.float(), flow.float(), metric.float()))
    assert softsplat(x, flow.float(), metric.double(), "linear").dtype == torch.float32


@pytest.mark.parametrize("ending", ["", "-addeps", "-zeroeps", "-clipeps"])
def test_averages_take_endings(ending):
    x, flow, _ = draw()
    numerator, D, *_ = reference.splat_sum(x, flow)
    divisor = {"-zeroeps": torch.where(D == 0, 1, D), "-clipeps": D.clamp(min=1e-7)}.get(ending, D + 1e-7)
    torch.testing.assert_close(softsplat(x, flow, None, "avg" + ending), numerator / divisor)


@pytest.mark.parametrize("mode", ["softmax", "soft-eps", "soft-", "soft-add", "-addeps", ""])
def test_unknown_modes(mode):
    message = "softsplat: strMode must be sum, avg, linear or soft, and may end in .*, got "
    with pytest.raises(ValueError, match=message + repr(mode)):
        softsplat(*draw(), mode)


def test_bad_metrics_and_shapes():
    x, flow, metric = draw()
    with pytest.raises(ValueError, match="softsplat: tenMetric must be None for strMode 'avg-addeps'"):
        softsplat(x, flow, metric, "avg-addeps")
    with pytest.raises(ValueError, match=r"softsplat: strMode 'soft' needs tenMetric \[B, 1, H, W\], got None"):
        softsplat(x, flow, None, "soft")
    with pytest.raises(ValueError, match=r"flow must be \[B, 2, H, W\] = \[1, 2, 4, 5\], got \[1, 2, 4, 4\]"):
        softsplat(x, flow[..., :4], metric, "soft")
    with pytest.raises(ValueError, match=r"metric must be \[B, 1, H, W\] = \[1, 1, 4, 5\], got \[1, 3, 4, 5\]"):
        softsplat(x, flow, x, "linear")
