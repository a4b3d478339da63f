import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.inr_query.samples import SHAPES, SHAPES_WITH_PIXELS, cast, gradients, problem, query
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends
from vinr_engine.ops.hoisting import hoist

pytestmark = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)


@pytest.mark.parametrize("name", SHAPES)
def test_float32_on_every_instruction_set(variant, name):
    arguments = problem(**SHAPES[name])
    expected = query(arguments, "reference")
    single = cast(arguments, torch.float32)
    # A rounding of a phase grows with every layer: what the reference loses in float32 is the measure.
    for actual, same, exact in zip(query(single, "cpu"), query(single, "reference"), expected, strict=True):
        assert relative_error(actual, exact) <= 3 * relative_error(same, exact) + OP[torch.float32]


@pytest.mark.parametrize("name", SHAPES)
def test_float64(name):
    arguments = problem(**SHAPES[name])
    for a, b in zip(query(arguments, "cpu"), query(arguments, "reference"), strict=True):
        assert relative_error(a, b) <= 1e-11


@settings(max_examples=40, deadline=None)
@given(
    B=st.integers(0, 2),
    T=st.integers(0, 2),
    lr=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    u=st.sampled_from((1, 2, 3, 4)),
    features=st.integers(1, 20),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_any_shape(B, T, lr, size, u, features, width, seed):
    hidden = ((width,), (width, 3), (7, width))
    arguments = problem(seed, B=B, T=T, lr_size=lr, size=size, u=u, features=features, hidden=hidden)
    for a, b in zip(query(arguments, "cpu"), query(arguments, "reference"), strict=True):
        assert relative_error(a, b) <= 1e-11


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_wild_flow_reads_outside(variant, bad):
    """NaN and infinite flow: no crash, and the reference's result."""
    arguments = problem()
    weight, bias = arguments[6][-1]
    arguments[6][-1] = (weight, torch.full_like(bias, bad))
    if math.isnan(bad):  # nowhere at all: then what the maps hold does not matter
        for maps in arguments[:2]:
            maps[..., 0, 0] = torch.nan
    expected, _ = query(arguments, "reference")
    actual, flow = query(cast(arguments, torch.float32), "cpu")
    assert torch.equal(flow.isnan(), torch.full_like(flow, bad).isnan())
    assert torch.isfinite(actual).all()
    assert relative_error(actual, expected) <= 10 * OP[torch.float32]


@pytest.mark.parametrize("name", ["published widths", "odd widths", "no upsampling", "several tiles"])
def test_autocast_rounds_operands_only(variant, name):
    arguments = problem(**SHAPES[name])
    expected = query(arguments, "reference")
    single = cast(arguments, torch.float32)
    # What rounding features, frames and weights, but no phase, does to the reference is the measure.
    rounded = query(
        [
            v if i in (2, 3, 4, 8) else x
            for i, (v, x) in enumerate(
                zip(arguments, cast(cast(arguments, torch.bfloat16), torch.float64), strict=True)
            )
        ],
        "reference",
    )
    with torch.autocast("cpu", torch.bfloat16):
        actual = query(single, "cpu")
        same = query(single, "reference")
    for a, b, r, e in zip(actual, same, rounded, expected, strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert relative_error(b, query(single, "reference")[0 if a.shape[2] == 3 else 1]) == 0
        difference = relative_error(a, e)
        assert difference <= 3 * relative_error(r, e)
        if variant in ("avx512_bf16", "amx_bf16"):
            assert difference > 1e-4  # it did round


@pytest.mark.parametrize("name", ["published widths", "odd widths", "no upsampling", "several tiles"])
def test_gradients_of_rounded_operands(variant, name):
    """Of the backward pass products are rounded too, where that is faster; its sums are not."""
    arguments = problem(**SHAPES[name], calm=4)
    exact = gradients(arguments, "reference")
    single = cast(arguments, torch.float32)
    rounded = gradients(cast(cast(arguments, torch.bfloat16), torch.float64), "reference")
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(single, "cpu")
    # What rounding all arguments does to the reference is the measure.
    difference = max(relative_error(a, e) for a, e in zip(found, exact, strict=True))
    assert difference <= max(relative_error(r, e) for r, e in zip(rounded, exact, strict=True))
    same = all(map(torch.equal, found, gradients(single, "cpu")))
    assert same == (variant != "avx512_bf16")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rounding_spreads_nothing_that_is_not_finite(variant, bad):
    """The padding of odd widths keeps out what infinite colours and features make of it."""
    arguments = cast(problem(**SHAPES["odd widths"], calm=4), torch.float32)
    for maps, at in zip(arguments[:2], ((3, 1, 2), (1, -1, 0)), strict=True):
        maps[0][at] = bad
    with torch.autocast("cpu", torch.bfloat16):
        actual = query(arguments, "cpu")
    for a, b in zip(actual, query(arguments, "cpu"), strict=True):
        assert torch.equal(a.isfinite(), b.isfinite())


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_features_as_the_encoder_gives_them(backend):
    joined, *rest = problem(B=2, T=1)
    stacked = joined.unflatten(1, (3, 4)).transpose(0, 1).contiguous().transpose(0, 1)
    for a, b in zip(query([stacked, *rest], backend), query([joined, *rest], backend), strict=True):
        assert relative_error(a, b) <= OP[torch.float64]


def test_autocast_takes_low_precision_features():
    arguments = cast(problem(), torch.float32)
    arguments[0] = arguments[0].bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        image, _ = query(arguments, "auto")
    assert image.dtype == torch.float32


def test_sine_is_exact_at_large_phases(variant):
    """A network that is one sine: the phase reaches thousands of turns."""
    C, F = 3, 16
    zero = [(torch.zeros(F, C + 9), torch.zeros(F)), (torch.eye(F), torch.zeros(F))]
    slope = torch.linspace(-300, 300, F)
    zero[0][0][:, -1] = slope  # phase = 30 * slope * t
    flow = [(torch.zeros(2, F + C + 7), torch.zeros(2)), (torch.zeros(4, 2), torch.zeros(4))]
    # Colour = HR feature at A through a sine small enough to be linear.
    encode = [(torch.zeros(F, 2 * (F + C + 6) + 1), torch.zeros(F)), (torch.eye(F)[:3] * 1e3 / 30, torch.zeros(3))]
    encode[0][0][:, :F] = torch.eye(F) * 1e-3
    times = torch.linspace(0, 1, 101)[:, None]
    arguments = (torch.zeros(1, C, 4, 4), torch.zeros(1, 6, 4, 4), times, (4, 4), (4, 4), zero, flow, encode, 4)
    out, _ = query(arguments, "cpu")
    phase = torch.tensor(30.0).double() * (slope[:3] * times).double()  # the product as the kernel rounds it
    expected = torch.sin(1e-3 * 30 * torch.sin(phase)) * 1e3 / 30
    # float32 holds a phase of 9000 to 5e-4; at the middle pixels no border dims the sample.
    assert (out[0, :, :, 1, 1].double() - expected).abs().max() <= 1.2e-3
    small = (phase.abs() < 10).all(1)
    assert small.sum() >= 1
    assert (out[0, small, :, 1, 1].double() - expected[small]).abs().max() <= 2e-6 * 10


def test_environment_variable_names_what_there_is(monkeypatch):
    monkeypatch.setenv("VINR_CPU", "avx9000")
    with pytest.raises(RuntimeError, match="VINR_CPU=avx9000: this machine and build run portable"):
        query(cast(problem(), torch.float32), "cpu")


@pytest.mark.parametrize("name", SHAPES_WITH_PIXELS)
def test_gradients_float64(name):
    arguments = problem(**SHAPES[name])
    expected = gradients(arguments, "reference")
    for i, (a, b) in enumerate(zip(gradients(arguments, "cpu"), expected, strict=True)):
        assert relative_error(a, b) <= 1e-10, i


@pytest.mark.parametrize("name", ["some", "published widths", "odd widths", "several tiles", "no upsampling"])
def test_gradients_float32_on_every_instruction_set(variant, name):
    arguments = problem(**SHAPES[name])
    expected = gradients(arguments, "reference")
    single = cast(arguments, torch.float32)
    both = zip(gradients(single, "cpu"), gradients(single, "reference"), expected, strict=True)
    for i, (actual, same, exact) in enumerate(both):
        assert relative_error(actual, exact) <= 5 * relative_error(same, exact) + 5 * OP[torch.float32], i


def test_gradcheck_across_a_tile_edge():
    features, frames, times, lr_size, size, *networks, u = problem(
        T=1, size=(5, 11), hidden=((5,), (4,), (6,)), features=3
    )
    leaves = [t.requires_grad_() for t in (features, frames, *(t for n in networks for pair in n for t in pair))]

    def call(features, frames, *flat):
        nets = [[flat[4 * n : 4 * n + 2], flat[4 * n + 2 : 4 * n + 4]] for n in range(3)]
        return vinr.ops.inr_query(features, frames, times, lr_size, size, *nets, u)

    with vinr.backend("cpu"):
        assert torch.autograd.gradcheck(call, leaves, fast_mode=True)


@pytest.mark.parametrize("wants", [(True, False, False), (False, False, True), (False, True, False)])
def test_only_wanted_gradients(wants):
    arguments = problem()
    both = zip(gradients(arguments, "cpu", wants), gradients(arguments, "reference", wants), strict=True)
    assert all(relative_error(a, b) <= 1e-10 for a, b in both)


def test_no_pixels_give_zero_gradients():
    for shape in ("no times", "empty batch"):
        for gradient in gradients(problem(**SHAPES[shape]), "cpu"):
            assert not gradient.any()


THREADED = {
    "odd widths": SHAPES["odd widths"] | dict(B=2, padded=(24, 28), lr_size=(21, 27), size=(41, 39)),
    "no upsampling": dict(u=1, padded=(24, 28), lr_size=(23, 25), size=(37, 43)),
    "published widths": SHAPES["published widths"] | dict(T=1, padded=(12, 16), lr_size=(11, 13), size=(23, 29)),
}
threaded = pytest.mark.parametrize("name", THREADED)


@threaded
def test_threads_do_not_change_anything(variant, name):
    arguments = cast(problem(**THREADED[name]), torch.float32)

    def results():
        with torch.autocast("cpu", torch.bfloat16):
            rounded = [*query(arguments, "cpu"), *gradients(arguments, "cpu")]
        return [*query(arguments, "cpu"), *gradients(arguments, "cpu"), *rounded]

    assert_threads_change_nothing(results)


@threaded
def test_threads_do_not_change_anything_in_float64(name):
    arguments = problem(**THREADED[name])
    assert_threads_change_nothing(lambda: [*query(arguments, "cpu"), *gradients(arguments, "cpu")])


@pytest.mark.parametrize("name", SHAPES_WITH_PIXELS)
def test_no_product_of_torch_is_left_on_the_cpu_backend(name):
    """Torch's products may split their sums by the number of threads, on machines other than the one at hand."""
    arguments = cast(problem(**SHAPES[name]), torch.float32)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        gradients(arguments, "cpu")
    ran = {event.name for event in profile.events()}
    assert {"vinr::project_maps", "vinr::project_maps_backward"} <= ran
    products = (
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "baddbmm_",
        "mv",
        "addmv",
        "dot",
        "convolution",
        "convolution_backward",
    )
    assert not ran & {f"aten::{product}" for product in products}


def test_the_gradient_of_times_needs_the_reference():
    arguments = problem()
    arguments[2].requires_grad_()
    with vinr.backend("cpu"), pytest.raises(vinr.BackendError, match="no gradient of times"):
        vinr.ops.inr_query(*arguments)
    vinr.ops.inr_query(*arguments)[0].sum().backward()
    assert arguments[2].grad.any()


def test_second_backward_says_what_to_do():
    arguments = problem()
    arguments[0].requires_grad_()
    with vinr.backend("cpu"):
        out, _ = vinr.ops.inr_query(*arguments)
        (grad,) = torch.autograd.grad(out.sum(), arguments[0], create_graph=True)
        with pytest.raises(NotImplementedError, match="no second derivative"):
            grad.sum().backward()


BAD = {
    "features": (0, torch.zeros(1, 12, 8), r"features must be \[B, C, h', w'\]"),
    "frames": (
        1,
        torch.zeros(1, 6, 8, 7).double(),
        r"frames must be \[B, 6, h', w'\] = \[1, 6, 8, 8\], got \[1, 6, 8, 7\]",
    ),
    "times": (2, torch.zeros(2, 3).double(), r"times must be \[T, B\] = \[2, 1\], got \[2, 3\]"),
    "dtype": (2, torch.zeros(2, 1), r"times must be torch.float64 like features, got torch.float32"),
    "lr_size": (3, (9, 8), r"lr_size must lie within the features"),
    "size": (4, (0, 8), r"size must be positive, got \(0, 8\)"),
    "layers": (5, [(torch.zeros(4, 20), torch.zeros(4))], r"feat_layers\[0\] weight must be \[out, in\] = \[4, 21\]"),
    "upsample": (8, 0, r"frame_upsample must be a whole number from 1 up, got 0"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(backend, what):
    position, value, message = BAD[what]
    arguments = list(problem())
    arguments[position] = value
    with torch.inference_mode(), pytest.raises(ValueError, match="inr_query: " + message):
        vinr.ops.inr_query(*arguments)


@pytest.mark.parametrize("name", ["some", "no upsampling", "batch", "no times", "empty batch"])
def test_opcheck(name):
    maps, frames, times, lr_size, size, *networks, u = problem(**SHAPES[name])
    (projected, colours), layers = hoist(maps, frames, *networks, u)
    differentiable = (projected, *(() if colours is None else (colours,)), *(t for n in layers for t in n))
    for tensor in differentiable:
        tensor.requires_grad_()
    common = (projected, colours, times, list(lr_size), list(size), u, *layers, 30.0)
    torch.library.opcheck(torch.ops.vinr.inr_query.default, (*common, "ieee"))
    with torch.no_grad():
        image, flow = torch.ops.vinr.inr_query(*common, "ieee")
        detached = [[t.detach() for t in n] for n in layers]
        plain = (projected.detach(), None if colours is None else colours.detach(), *common[2:6], *detached, 30.0)
        torch.library.opcheck(
            torch.ops.vinr.inr_query_backward.default, (image, flow, *plain, colours is not None, "ieee")
        )


@pytest.mark.parametrize("dynamic", [False, True])
def test_gradients_compile_as_one_graph(dynamic):
    def call(features, *rest):
        return torch.autograd.grad(vinr.ops.inr_query(features, *rest)[0].sum(), features)[0]

    compiled = torch.compile(
        lambda *a: vinr.ops.inr_query(*a)[0].sum(), fullgraph=True, dynamic=dynamic, backend="aot_eager"
    )
    for size in ((9, 11), (12, 7)):
        arguments = cast(problem(size=size), torch.float32)
        arguments[0].requires_grad_()
        with vinr.backend("cpu"):
            (actual,) = torch.autograd.grad(compiled(*arguments), arguments[0])
            # The compiler takes apart the enlargement of colours, whose roundings the gradient of the flow amplifies.
            assert relative_error(actual, call(*arguments)) <= OP[torch.float32]


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_as_one_graph(dynamic):
    compiled = torch.compile(vinr.ops.inr_query, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for size in ((9, 11), (12, 7)):
        arguments = cast(problem(size=size), torch.float32)
        with torch.inference_mode(), vinr.backend("cpu"):
            for a, b in zip(compiled(*arguments), vinr.ops.inr_query(*arguments), strict=True):
                torch.testing.assert_close(a, b)


def test_the_compiled_op_checks_for_itself():
    maps, frames, times, lr_size, size, *networks, u = cast(problem(), torch.float32)
    (projected, colours), layers = hoist(maps, frames, *networks, u)
    with pytest.raises(RuntimeError, match=r"maps must have 96 channels, got \[1, 8, 8, 95\]"):
        torch.ops.vinr.inr_query(projected[..., 1:], colours, times, lr_size, size, u, *layers, 30.0, "ieee")
    with pytest.raises(RuntimeError, match=r"colours must be \[B, u h, u w, 8\] = \[1, 16, 16, 8\]"):
        torch.ops.vinr.inr_query(projected, colours, times, lr_size, size, 2, *layers, 30.0, "ieee")
