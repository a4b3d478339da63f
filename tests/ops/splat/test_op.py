import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.splat.samples import EMPTY, SAMPLES, Sample
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference
from vinr_engine.ops import splat, splat_sum

extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
every = pytest.mark.parametrize("sample", [*SAMPLES, *EMPTY], ids=lambda s: s.name)

# What a call is besides x, flow and metric.
QUOTIENTS = [("avg", "add"), *itertools.product(("linear", "soft"), ("add", "zero", "clip"))]


def sums(weighted=True):
    """splat_sum with everything that it gives, and of the reference."""

    def run(function, x, flow, metric):
        return function(x, flow, metric if weighted else None, count=True, maximum=True)

    return lambda *a: run(splat_sum, *a), lambda *a: run(reference.splat_sum, *a)


def quotient(mode, eps):
    def run(function, x, flow, metric):
        # Sums of weights near 0 have no relative bound.
        metric = None if mode in ("sum", "avg") else metric.abs() + 0.1 if mode == "linear" else metric
        return (function(x, flow, metric, mode, eps),)

    return lambda *a: run(splat, *a), lambda *a: run(reference.splat, *a)


FORMS = {"sum": sums(), "sum of ones": sums(False)} | {f"{m} {e}": quotient(m, e) for m, e in QUOTIENTS}
every_form = pytest.mark.parametrize("form", FORMS)


def gradients(function, arguments, wanted=(True, True, True)):
    """Of a random function of the differentiable results, of what is wanted."""
    leaves = [t.detach().requires_grad_(w) for t, w in zip(arguments, wanted, strict=True)]
    results = [r for r in function(*leaves) if r is not None and r.requires_grad]
    rng = torch.Generator().manual_seed(7)
    chosen = [torch.rand(r.shape, generator=rng, dtype=torch.float64).to(r) for r in results]
    return torch.autograd.grad(results, [t for t in leaves if t.requires_grad], chosen, materialize_grads=True)


def assert_like_the_reference(form, arguments, exact=None, wanted=(True, True, True)):
    function, definition = FORMS[form]
    exact = arguments if exact is None else exact
    bound = OP[arguments[0].dtype]
    for found, true in zip(function(*arguments), definition(*exact), strict=True):
        assert found.dtype == arguments[0].dtype
        assert relative_error(found.cpu(), true) <= bound
    true = gradients(definition, exact)
    # Terms cancel where a source is alone on a pixel: gradients of flow and metric are small against those of x then.
    size = max([float(d.abs().max()) for d in true if d.numel()], default=0)
    chosen = [d for d, w in zip(true, wanted, strict=True) if w]
    for actual, expected in zip(gradients(function, arguments, wanted), chosen, strict=True):
        assert actual.dtype == arguments[0].dtype
        assert actual.shape == expected.shape
        if actual.numel():
            assert (actual.cpu() - expected).abs().max() <= 4 * bound * size


def loop_oracle(x, flow, weight):
    """The definition, one multiplication at a time: numerator, denominator, count and max."""
    B, C, H, W = x.shape
    out = torch.zeros(B, C + 2, H, W, dtype=torch.float64)
    largest = torch.ones(B, 1, H, W, dtype=torch.float64)
    for b, i, j in itertools.product(range(B), range(H), range(W)):
        X, Y = j + float(flow[b, 0, i, j]), i + float(flow[b, 1, i, j])
        if not (math.isfinite(X) and math.isfinite(Y)):
            continue
        for row, column in itertools.product((math.floor(Y), math.floor(Y) + 1), (math.floor(X), math.floor(X) + 1)):
            if 0 <= row < H and 0 <= column < W:
                share = (1 - abs(Y - row)) * (1 - abs(X - column))
                w = float(weight[b, 0, i, j]) * share
                out[b, :C, row, column] += w * x[b, :, i, j]
                out[b, C, row, column] += w
                out[b, C + 1, row, column] += 1
                largest[b, 0, row, column] = max(float(largest[b, 0, row, column]), w)
    return out[:, :C], out[:, C : C + 1], out[:, C + 1 :], largest


@every
@pytest.mark.parametrize("function", [splat_sum, reference.splat_sum])
def test_matches_the_definition(function, sample):
    x, flow, metric = sample.arguments()
    found = function(x, flow, metric, count=True, maximum=True)
    for actual, true in zip(found, loop_oracle(x, flow, metric), strict=True):
        assert relative_error(actual, true) <= OP[torch.float64]


@every
@every_form
def test_float64(sample, form):
    assert_like_the_reference(form, sample.arguments())


@extension
@every
def test_float32_on_every_instruction_set(variant, sample):
    exact, single = sample.arguments(seed=3), sample.arguments(torch.float32, seed=3)
    for form in ("sum", "linear add", "soft zero"):
        assert_like_the_reference(form, single, exact)


@extension
@settings(max_examples=60, deadline=None)
@given(
    sample=st.builds(
        Sample,
        name=st.just("drawn"),
        channels=st.integers(1, 40),
        size=st.tuples(st.integers(1, 20), st.integers(1, 9)),
        batch=st.integers(0, 2),
        reach=st.sampled_from((0.0, 0.5, 3.0, 12.0)),
        flow=st.sampled_from(("any", "whole", "nonfinite", "point")),
        layout=st.sampled_from(("nchw", "nhwc", "sliced")),
    ),
    form=st.sampled_from(list(FORMS)),
    seed=st.integers(0, 99),
)
def test_any_shape(sample, form, seed):
    assert_like_the_reference(form, sample.arguments(seed=seed))


@pytest.mark.parametrize("form", ["sum", "linear clip", "soft add", "avg add"])
@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.flow == "any"], ids=lambda s: s.name)
def test_gradcheck(sample, form):
    leaves = [t.detach().requires_grad_() for t in sample.arguments()]
    assert torch.autograd.gradcheck(lambda *a: FORMS[form][0](*a)[:2], leaves, fast_mode=True)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_wanted_gradients(wanted, layout):
    for form in ("sum", "soft add"):
        assert_like_the_reference(form, Sample("any", layout=layout).arguments(), wanted=wanted)


@extension
@pytest.mark.parametrize("sample", SAMPLES[:2], ids=lambda s: s.name)
def test_opcheck(sample):
    x, flow, metric = sample.arguments()
    last = sample.layout == "nhwc"
    x = x.permute(0, 2, 3, 1) if last else x
    leaves = [t.detach().requires_grad_() for t in (x, flow, metric)]
    ops, of_weights, norm = torch.ops.vinr, torch.rand_like(metric), torch.rand(len(x), 3, *metric.shape[2:]).double()
    torch.library.opcheck(ops.splat_sum.default, (*leaves, last, not last, last))
    torch.library.opcheck(ops.splat.default, (*leaves[:2], leaves[2] if last else None, last, last, "zero"))
    for mask in ([True, True, True], [False, True, False]):
        arguments = x, flow, metric, last
        torch.library.opcheck(ops.splat_sum_backward.default, (x, of_weights, *arguments, mask))
        torch.library.opcheck(ops.splat_backward.default, (x, x, norm, *arguments, True, mask))


@extension
@pytest.mark.parametrize(("form", "sample"), [("sum", SAMPLES[0]), ("soft add", SAMPLES[1])], ids=["sum", "soft"])
def test_compiles_as_one_graph(sample, form):
    torch.compiler.reset()
    function = FORMS[form][0]
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for size in ((5, 7), (8, 6)):
        arguments = replace(sample, size=size).arguments(torch.float32)
        torch.testing.assert_close(compiled(*arguments), function(*arguments))
        torch.testing.assert_close(gradients(compiled, arguments), gradients(function, arguments))


@extension
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_threads_do_not_change_anything(variant, layout):
    arguments = Sample("long", channels=19, size=(37, 17), layout=layout).arguments(torch.float32)
    for form in ("sum", "soft add"):
        function = FORMS[form][0]
        assert_threads_change_nothing(lambda f=function: [*f(*arguments), *gradients(f, arguments)])


@extension
def test_channels_last_memory_stays():
    rows = torch.rand(2 * 5 * 7, 6).requires_grad_()
    flow = torch.rand(2, 2, 5, 7)
    numerator, *_ = splat_sum(rows.view(2, 5, 7, 6).permute(0, 3, 1, 2), flow)
    back = numerator.permute(0, 2, 3, 1).view(-1, 6)  # a view, or an error
    assert back.data_ptr() == numerator.data_ptr()
    assert splat(rows.view(2, 5, 7, 6).permute(0, 3, 1, 2), flow, mode="avg").stride() == numerator.stride()
    (d,) = torch.autograd.grad(back.square().sum(), rows)
    assert d.is_contiguous()


def test_only_what_is_asked_for():
    x, flow, metric = SAMPLES[0].arguments()
    for count, maximum in itertools.product((True, False), repeat=2):
        found = splat_sum(x, flow, metric, count=count, maximum=maximum)
        assert [m is not None for m in found] == [True, True, count, maximum]
        assert not any(m.requires_grad for m in found[2:] if m is not None)


def test_sum_and_average():
    x, flow, _ = SAMPLES[0].arguments()
    numerator, denominator, *_ = splat_sum(x, flow)
    assert torch.equal(splat(x, flow, mode="sum"), numerator)
    torch.testing.assert_close(splat(x, flow, mode="avg"), numerator / (denominator + 1e-7))
    still = torch.zeros_like(flow)
    torch.testing.assert_close(splat(x, still, mode="avg", eps="zero"), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shift", [-2000.0, -300.0, -20.0, 0.0, 90.0, 800.0, 2.0**20, 2.0**100])
@pytest.mark.parametrize("eps", ["add", "zero", "clip"])
def test_metrics_of_any_size(dtype, shift, eps):
    """Beyond the range of exponentials 1e-7 is nothing, or everything."""
    x, flow, metric = SAMPLES[0].arguments(dtype)
    metric = metric + shift
    numerator, D, *_ = reference.splat_sum(x.double(), flow.double(), (metric.double() - shift).exp())
    epsilon = 1e-7 * torch.tensor(-shift).double().exp()
    divisor = {"add": D + epsilon, "zero": torch.where(D == 0, 1, D), "clip": D.clamp(min=epsilon)}[eps]
    out = splat(x, flow, metric, eps=eps)
    assert (out - (numerator / divisor).nan_to_num(0)).abs().max() <= OP[dtype]
    for gradient in gradients(lambda *a: (splat(*a, eps=eps),), (x, flow, metric)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_computed_in_float32(dtype):
    x, flow, metric = SAMPLES[0].arguments(torch.float32)
    for arguments in ((x.to(dtype), flow, metric), tuple(t.to(dtype) for t in (x, flow, metric))):
        single = [t.float() for t in arguments]
        for found, exact in zip(FORMS["sum"][0](*arguments), FORMS["sum"][1](*single), strict=True):
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, exact)
        out = splat(*arguments)
        assert out.dtype == dtype
        torch.testing.assert_close(out.float(), reference.splat(*single), rtol=1e-2, atol=1e-2)
        leaves = [t.detach().requires_grad_() for t in arguments]
        grads = torch.autograd.grad(splat(*leaves).sum(), leaves)
        assert [d.dtype for d in grads] == [t.dtype for t in arguments]


def test_the_reference_backend():
    x, flow, metric = SAMPLES[1].arguments()
    expected = splat_sum(x, flow, metric)[:2], splat(x, flow, metric)
    with vinr.backend("reference"):
        torch.testing.assert_close((splat_sum(x, flow, metric)[:2], splat(x, flow, metric)), expected)
        flow.requires_grad_()
        (d,) = torch.autograd.grad(splat(x, flow, metric).square().sum(), flow, create_graph=True)
        assert torch.autograd.grad(d.square().sum(), flow)[0].any()


def test_not_finite_weights_stay_where_they_land():
    x, flow, metric = Sample("still", batch=1).arguments(torch.float32)
    flow = torch.full_like(flow, 0.5)
    for bad in (torch.nan, torch.inf):
        metric[0, 0, 2, 3] = bad
        out = splat(x, flow, metric)
        reached = torch.zeros(5, 7, dtype=torch.bool)
        reached[2:4, 3:5] = True
        assert torch.equal(out.isfinite()[0, 0], ~reached)
    metric[0, 0, 2, 3] = -torch.inf
    x[0, :, 2, 3] = 100
    assert splat(x, flow, metric, eps="zero").abs().max() <= 1


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


X, FLOW, METRIC = zeros(2, 3, 4, 5), zeros(2, 2, 4, 5), zeros(2, 1, 4, 5)
BAD = {
    "rank": ((zeros(3, 4, 5), FLOW, METRIC), r"x must be \[B, C, H, W\], got \[3, 4, 5\]"),
    "channels": ((zeros(2, 0, 4, 5), FLOW, METRIC), "x must have channels, got"),
    "flow": ((X, zeros(2, 2, 5, 4), METRIC), r"flow must be \[B, 2, H, W\] = \[2, 2, 4, 5\], got \[2, 2, 5, 4\]"),
    "flow of three": ((X, zeros(2, 3, 4, 5), METRIC), r"flow must be \[B, 2, H, W\] = .*, got \[2, 3, 4, 5\]"),
    "flow of whole numbers": ((X, FLOW.long(), METRIC), "flow must hold floating-point numbers, got torch.int64"),
    "dtype": ((X, FLOW.float(), METRIC), "flow must be torch.float64, got torch.float32"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("op", [splat, splat_sum])
def test_bad_arguments(op, what):
    arguments, message = BAD[what]
    with pytest.raises(ValueError, match=f"{op.__name__}: {message}"):
        op(*arguments)


def test_bad_weights_and_modes():
    with pytest.raises(ValueError, match=r"splat_sum: weight must be \[B, 1, H, W\] = \[2, 1, 4, 5\], got \[2, 4, 5\]"):
        splat_sum(X, FLOW, METRIC[:, 0])
    with pytest.raises(ValueError, match=r"splat: metric must be \[B, 1, H, W\] = \[2, 1, 4, 5\], got \[2, 2, 4, 5\]"):
        splat(X, FLOW, FLOW)
    with pytest.raises(ValueError, match=r"splat: mode must be one of \('sum', .* got 'softmax'"):
        splat(X, FLOW, METRIC, "softmax")
    with pytest.raises(ValueError, match=r"splat: eps must be one of \('add', 'zero', 'clip'\), got 'addeps'"):
        splat(X, FLOW, METRIC, "soft", "addeps")
    with pytest.raises(ValueError, match=r"splat: mode 'avg' takes no metric, got one"):
        splat(X, FLOW, METRIC, "avg")
    with pytest.raises(ValueError, match=r"splat: mode 'linear' needs a metric \[B, 1, H, W\]"):
        splat(X, FLOW, None, "linear")
