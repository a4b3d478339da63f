from itertools import product, starmap

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from golden_cases import sibling_cases, sibling_parameters
from ops.against_reference import assert_like_its_definition
from ops.bspline_head.samples import EMPTY, SAMPLES, Sample
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference
from vinr_engine.ops import bspline_head
from vinr_engine.ops.bspline_head import BSPLINE_HEAD, Arguments
from vinr_engine.reference.nearest import nearest_index, relative_position

extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
every = pytest.mark.parametrize("sample", [*SAMPLES, *EMPTY], ids=lambda s: s.name)
GOLDEN = {name: case for name, case in sibling_cases("bf_stvsr").items() if "motion" in case}


def gradients(arguments, function=bspline_head, wanted=(True,) * 6):
    """Of a random function of the output, of the tensors that are wanted and there."""
    leaves = [None if t is None else t.detach().requires_grad_(w) for t, w in zip(arguments, wanted, strict=True)]
    out = function(*leaves)
    chosen = torch.rand(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out)
    return torch.autograd.grad(out, [t for t in leaves if t is not None and t.requires_grad], chosen)


def loop_oracle(coef, knot, dilation, t, weight, bias):
    """The definition, one spline at a time."""

    def beta(x):
        u = abs(x)
        if u <= 1:
            return (4 - 6 * u**2 + 3 * u**3) / 6
        return (2 - u) ** 3 / 6 if u <= 2 else 0.0

    out = torch.zeros(t.shape[0], *coef.shape[:-1], weight.shape[0], dtype=torch.float64)
    for pixel in product(*map(range, out.shape[:-1])):
        time, *place = pixel
        now = t[time] if t.dim() == 1 else t[time, place[0]]
        x = (dilation * (now - knot[tuple(place)])).tolist()
        out[pixel] = weight @ (coef[tuple(place)] * torch.tensor([beta(v) for v in x], dtype=torch.float64))
    return out if bias is None else out + bias


@every
@pytest.mark.parametrize("function", [bspline_head, reference.bspline_head])
def test_matches_the_definition(function, sample):
    arguments = sample.arguments()
    assert relative_error(function(*arguments), loop_oracle(*arguments)) <= OP[torch.float64]


def golden_motion(case, function, dtype=torch.float64):
    """BF-STVSR's motion by the published steps: a SIREN at output size, then the head, once for each direction."""
    parameters = sibling_parameters("bf_stvsr", case["seed"], dtype)
    parameters |= {name.removeprefix("override:"): a.to(dtype) for name, a in case.items() if "override:" in name}
    size = tuple(int(n) for n in case["size"])
    features, times = case["features"].to(dtype), case["times"].to(dtype)
    rows, columns = starmap(nearest_index, zip(size, features.shape[3:], strict=True))
    places = [p.to(dtype) for p in starmap(relative_position, zip(size, features.shape[3:], strict=True))]
    places = torch.stack(torch.meshgrid(*places, indexing="ij"), -1).expand(len(features), *size, 2)
    found = []
    for frame, t in ((0, times), (2, 1 - times)):
        read = features[:, frame][:, :, rows][..., columns].permute(0, 2, 3, 1)
        x = torch.cat([read, places], -1)
        for i in range(3):
            x = torch.sin(30 * (x @ parameters[f"flow_imnet.net.{i}.linear.weight"].T
                                + parameters[f"flow_imnet.net.{i}.linear.bias"]))  # fmt: skip
        x = x @ parameters["flow_imnet.net.3.weight"].T + parameters["flow_imnet.net.3.bias"]
        dilation = parameters["flow_imnet.t_dilation.weight"][:, 0] * 0.125
        head = [parameters[f"flow_imnet.final_linear.{name}"] for name in ("weight", "bias")]
        found.append(function(*x.split(64, -1), dilation, t, *head).transpose(0, 1))
    return torch.stack(found)


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("function", [bspline_head, reference.bspline_head])
def test_golden_motion(function, name):
    case = GOLDEN[name]
    for dtype, bound in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        assert (golden_motion(case, function, dtype).double() - case["motion"]).abs().max() <= bound


@every
def test_float64(sample):
    assert_like_its_definition(bspline_head, reference.bspline_head, gradients, sample.arguments())


@extension
@every
def test_float32_on_every_instruction_set(variant, sample):
    exact, single = sample.arguments(seed=3), sample.arguments(torch.float32, seed=3)
    assert_like_its_definition(bspline_head, reference.bspline_head, gradients, single, exact)


@extension
@settings(max_examples=60, deadline=None)
@given(
    sample=st.builds(
        Sample,
        name=st.just("drawn"),
        shape=st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple),
        splines=st.integers(1, 70),
        outputs=st.integers(1, 9),
        times=st.integers(0, 3),
        each=st.booleans(),
        biased=st.booleans(),
        layout=st.sampled_from(("halves", "whole", "strided")),
    ),
    seed=st.integers(0, 99),
)
def test_any_shape(sample, seed):
    assert_like_its_definition(bspline_head, reference.bspline_head, gradients, sample.arguments(seed=seed))


@samples
def test_gradcheck(sample):
    leaves = [t.detach().requires_grad_() for t in sample.arguments() if t is not None]
    assert torch.autograd.gradcheck(bspline_head, leaves, fast_mode=True)


@pytest.mark.parametrize("wanted", [tuple(i == j for j in range(6)) for i in range(6)])
def test_only_wanted_gradients(wanted):
    arguments = SAMPLES[1].arguments()
    (actual,) = gradients(arguments, wanted=wanted)
    expected = gradients(arguments, reference.bspline_head)[wanted.index(True)]
    assert relative_error(actual, expected) <= OP[torch.float64]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_shows_where_it_is(dtype):
    coef, knot, *others = Sample("two", shape=(1, 3), splines=17, layout="whole").arguments(dtype)
    knot[0, 1, 16] = torch.nan
    out = bspline_head(coef, knot, *others)
    assert out[:, 0, 1].isnan().all()
    assert out[:, 0, [0, 2]].isfinite().all()


@extension
@pytest.mark.parametrize("sample", SAMPLES[1:2], ids=lambda s: s.name)
def test_opcheck(sample):
    arguments = BSPLINE_HEAD.prepare("cpu", Arguments(*sample.arguments()))
    leaves = [None if t is None else t.detach().requires_grad_() for t in arguments]
    torch.library.opcheck(torch.ops.vinr.bspline_head.default, tuple(leaves))
    coef, t, weight = arguments[0], arguments[3], arguments[4]
    grad = torch.rand(len(t), *coef.shape[:2], len(weight), dtype=torch.float64)
    for mask in ([True] * 6, [False, True, True, False, False, True]):
        torch.library.opcheck(torch.ops.vinr.bspline_head_backward.default, (grad, *arguments[:5], mask))


@extension
def test_compiles_as_one_graph():
    torch.compiler.reset()
    compiled = torch.compile(bspline_head, fullgraph=True, backend="aot_eager")
    for shape in ((2, 3, 5), (3, 4, 6)):
        arguments = Sample("any", shape=shape, each=True).arguments(torch.float32)
        torch.testing.assert_close(compiled(*arguments), bspline_head(*arguments))
        torch.testing.assert_close(gradients(arguments, compiled), gradients(arguments))


@extension
def test_threads_do_not_change_anything(variant):
    arguments = Sample("long", shape=(2, 300), splines=21, times=3, each=True).arguments(torch.float32)
    assert_threads_change_nothing(lambda: [bspline_head(*arguments), *gradients(arguments)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_give_float32(dtype):
    arguments = [t.to(dtype) for t in SAMPLES[0].arguments()]
    arguments[3] = arguments[3].float() + 1e-4  # times may be finer
    out = bspline_head(*arguments)
    assert out.dtype == torch.float32
    assert relative_error(out, reference.bspline_head(*(t.double() for t in arguments))) <= OP[torch.float32]
    assert [d.dtype for d in gradients(arguments)] == [t.dtype for t in arguments]


def test_the_reference_backend():
    arguments = SAMPLES[0].arguments()
    with vinr.backend("reference"):
        torch.testing.assert_close(bspline_head(*arguments), loop_oracle(*arguments))


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


GOOD = zeros(2, 5, 4), zeros(2, 5, 4), zeros(4), zeros(3, 2), zeros(3, 4), zeros(3)
BAD = {
    "coef": (0, zeros(2, 5, 0), r"coef must be \[..., K\], got \[2, 5, 0\]"),
    "knot": (1, zeros(2, 5, 3), r"knot must be \[..., K\] = \[2, 5, 4\], got \[2, 5, 3\]"),
    "dilation": (2, zeros(4, 1), r"dilation must be \[K\] = \[4\], got \[4, 1\]"),
    "time": (3, zeros(), r"t must be \[T\] or \[T, B\], got \[\]"),
    "times": (3, zeros(3, 5), r"t must be \[T, B\] = \[3, 2\], got \[3, 5\]"),
    "weight": (4, zeros(3, 5), r"weight must be \[out, K\] = \[3, 4\], got \[3, 5\]"),
    "rank": (4, zeros(3), r"weight must be \[out, K\], got \[3\]"),
    "outputs": (4, zeros(0, 4), r"weight must have outputs, got \[0, 4\]"),
    "bias": (5, zeros(4), r"bias must be \[out\] = \[3\], got \[4\]"),
    "whole": (0, zeros(2, 5, 4).long(), "coef must hold floating-point numbers, got torch.int64"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    place, value, message = BAD[what]
    with pytest.raises(ValueError, match="bspline_head: " + message):
        bspline_head(*GOOD[:place], value, *GOOD[place + 1 :])
