import pytest
import torch

import golden_cases
from vinr_engine import reference
from vinr_engine.ops import splat

CASES = golden_cases.sibling_cases("softsplat")
GRAD = CASES.pop("")["grad"]
RUNS = [(case, key.removesuffix("/out")) for case, arrays in CASES.items() for key in arrays if key.endswith("/out")]
every = pytest.mark.parametrize(("case", "mode"), RUNS, ids=map("-".join, RUNS))
# Of float32; of `negative` numerators nearly cancel their denominators.
FLOAT32 = {"negative": 5e-5}


def results(function, case, mode, dtype=torch.float64):
    """The output, and gradients of x, flow and metric where it has one."""
    x, flow, metric = (CASES[case][name].to(dtype, copy=True).requires_grad_() for name in ("x", "flow", "metric"))
    kind, _, ending = mode.partition("-")
    inputs = {"x": x, "flow": flow} | ({} if kind in ("sum", "avg") else {"metric": metric})
    out = function(x, flow, inputs.get("metric"), kind, ending.removesuffix("eps") or "add")
    gradients = torch.autograd.grad(out, list(inputs.values()), GRAD.to(dtype))
    return out.detach(), dict(zip(inputs, gradients, strict=True))


@every
@pytest.mark.parametrize("function", [reference.splat, splat], ids=["reference", "op"])
def test_float64(function, case, mode):
    out, gradients = results(function, case, mode)
    expected = CASES[case][f"{mode}/out"]
    known = ~expected.isnan()
    torch.testing.assert_close(out[known], expected[known], rtol=1e-9, atol=1e-9)
    if function is splat:
        assert out.isfinite().all()
    else:
        assert torch.equal(out.isnan(), ~known)
    for name, gradient in gradients.items():
        if (exact := CASES[case].get(f"{mode}/grad_{name}")) is not None:
            torch.testing.assert_close(gradient, exact, rtol=1e-9, atol=1e-9 * float(exact.abs().max()))


@every
def test_float32(case, mode):
    out, _ = results(splat, case, mode, torch.float32)
    exact = CASES[case][f"{mode}/out"]
    error = (out - exact).abs() / exact.abs().clamp(min=1)
    assert out.isfinite().all()
    assert error[~exact.isnan()].max() <= FLOAT32.get(case, 4e-6)
