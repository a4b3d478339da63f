"""The field and its query held to what the published code of V3 and of Thera gives."""

import pytest
import torch

import golden_cases
from benchmarks.tolerances import FIELD, FIELD_GRADIENT, relative_error
from vinr_engine import reference
from vinr_engine.ops import fourier_field, v3_query

QUERIES = pytest.mark.parametrize("query", [v3_query, reference.v3_query], ids=["op", "definition"])
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def v3_case(name, dtype):
    """The arrays of a case, and its parameters: kernel, bias, frequencies, k."""
    case = golden_cases.sibling_cases("v3", dtype)[name]
    parameters = golden_cases.sibling_parameters("v3", case["seed"], dtype)
    return case, [parameters[n] for n in ("out_conv.kernel", "out_conv.bias", "freqs", "k")]


def field(query, case, parameters, times):
    kernel, bias, frequencies, k = parameters
    size = tuple(case["size"].tolist())
    damping = reference.field_damping(frequencies, k, (case["encoding"].shape[1] / size[0]) ** 2)
    out = query(case["encoding"], (kernel.t(), bias), frequencies, damping, size, times)
    return out * out.new_tensor(STD) + out.new_tensor(MEAN)


def own_times(case):
    return torch.arange(len(case["z"])), case["z"]


@QUERIES
def test_v3_at_four_times_the_size_and_the_rate(dtype, query):
    case, parameters = v3_case("scale4", dtype)
    times = case["nearest_frame"] if torch.is_tensor(case["nearest_frame"]) else torch.tensor(case["nearest_frame"])
    found = field(query, case, parameters, (times.long(), case["z"]))
    assert (found - case["field"]).abs().max() <= FIELD[dtype]


@QUERIES
def test_v3_at_its_own_size(dtype, query):
    case, parameters = v3_case("scale1", dtype)
    assert (field(query, case, parameters, own_times(case)) - case["field"]).abs().max() <= FIELD[dtype]


@QUERIES
def test_v3_at_any_scale_with_gradients(dtype, query):
    case, parameters = v3_case("fraction", dtype)
    leaves = {
        "encoding": case["encoding"], "z": case["z"],
        **dict(zip(("out_conv.kernel", "out_conv.bias", "freqs", "k"), parameters, strict=True)),
    }  # fmt: skip
    leaves = {name: t.detach().requires_grad_() for name, t in leaves.items()}
    found = field(query, {**case, **leaves}, list(leaves.values())[2:], (torch.arange(2), leaves["z"]))
    assert (found - case["field"]).abs().max() <= FIELD[dtype]
    grads = dict(zip(leaves, torch.autograd.grad(found, list(leaves.values()), case["grad"]), strict=True))
    norm = grads["out_conv.kernel"].norm()
    assert abs(norm / float(case["grad_norm:out_conv.kernel"]) - 1) <= FIELD_GRADIENT[dtype]
    grads["out_conv.kernel"] = grads["out_conv.kernel"][:, :4]
    for name, grad in grads.items():
        expected = torch.as_tensor(case[f"grad:{name}"])
        assert relative_error(grad, expected) <= FIELD_GRADIENT[dtype], name


def test_v3s_amplitudes_and_phases(dtype):
    case, (kernel, bias, *_) = v3_case("scale4", dtype)
    made = case["encoding"][0, 0, 4] @ kernel + bias
    assert (made[:-512].view(512, 3) - case["amplitude0"]).abs().max() <= FIELD[dtype]
    assert (made[-512:] - case["phase0"]).abs().max() <= FIELD[dtype]


@pytest.mark.parametrize("function", [fourier_field, reference.fourier_field], ids=["op", "definition"])
@pytest.mark.parametrize(("name", "functions"), [("air", 32), ("plus", 512)])
def test_thera(dtype, name, functions, function):
    """Each sample has a t of its own, which damps."""
    case = golden_cases.sibling_cases("thera", dtype)[name]
    p = golden_cases.sibling_parameters("v3", case["seed"], dtype, encoding=64, basis=functions, dims=2)
    for encoding, t, expected in zip(case["encoding"], case["t"], case["field"], strict=True):
        made = encoding[None] @ p["out_conv.kernel"] + p["out_conv.bias"]
        amplitude, phase = made[..., :-functions].unflatten(-1, (functions, 3)), made[..., -functions:]
        damping = reference.field_damping(p["freqs"], p["k"], t)
        found = function(amplitude, phase, p["freqs"], damping, tuple(case["size"].tolist()))
        assert (found[0] - expected).abs().max() <= FIELD[dtype]
