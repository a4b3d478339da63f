"""fourier_field, and v3_query, which is it with the layer before it."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.against_reference import assert_like_its_definition
from ops.fourier_field.samples import EMPTY, SAMPLES, Sample
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference
from vinr_engine.ops import fourier_field, v3_query

extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
every = pytest.mark.parametrize("sample", [*SAMPLES, *EMPTY], ids=lambda s: s.name)
BOTH = ((fourier_field, reference.fourier_field, Sample.arguments), (v3_query, reference.v3_query, Sample.query))
ops = pytest.mark.parametrize(("function", "definition", "draw"), BOTH, ids=["fourier_field", "v3_query"])


def flat(arguments):
    """Tensors of a call, one level deep."""
    for a in arguments:
        if torch.is_tensor(a):
            yield a
        elif isinstance(a, tuple):
            yield from (t for t in a if torch.is_tensor(t))


def with_leaves(arguments):
    """The call with floating-point tensors that want gradients, and these."""
    leaves = []

    def leaf(a):
        if isinstance(a, tuple):
            return tuple(map(leaf, a))
        if not torch.is_tensor(a) or not a.is_floating_point():
            return a
        leaves.append(a.detach().requires_grad_())
        return leaves[-1]

    return tuple(map(leaf, arguments)), leaves


def gradients(arguments, function):
    """Of a random function of the output, of every tensor; zeros where it has no part in it."""
    arguments, leaves = with_leaves(arguments)
    out = function(*arguments)
    chosen = torch.rand(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out)
    grads = torch.autograd.grad(out, leaves, chosen, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(leaves, grads, strict=True)]


def loop_oracle(amplitude, phase, frequencies, damping, size, times):
    """The definition, one output pixel at a time."""
    h, w = amplitude.shape[1:3]
    times = (
        [(b, 0.0) for b in range(len(amplitude))]
        if times is None
        else list(zip(*(t.tolist() for t in times), strict=True))
    )
    out = torch.zeros(len(times), *size, amplitude.shape[-1], dtype=torch.float64)
    for n, i, j in itertools.product(range(len(times)), *map(range, size)):
        y, x = (i + 0.5) * h / size[0], (j + 0.5) * w / size[1]
        frame, t = times[n]
        r = torch.tensor([y % 1 - 0.5, x % 1 - 0.5, t], dtype=torch.float64)[: len(frequencies)]
        pixel = frame, math.floor(y), math.floor(x)
        out[n, i, j] = (torch.sin(r @ frequencies + phase[pixel]) * damping) @ amplitude[pixel]
    return out


@every
@pytest.mark.parametrize("function", [fourier_field, reference.fourier_field], ids=["op", "definition"])
def test_matches_the_definition(function, sample):
    arguments = sample.arguments()
    assert relative_error(function(*arguments), loop_oracle(*arguments)) <= OP[torch.float64]


@every
def test_the_query_is_the_field_of_what_the_head_makes(sample):
    encoding, (weight, bias), frequencies, damping, size, times, base = sample.query()
    made, D = encoding @ weight.t() + bias, sample.functions
    field = fourier_field(made[..., :-D].unflatten(-1, (D, -1)), made[..., -D:], frequencies, damping, size, times)
    if base is not None:
        (ky, _), (kx, _) = (reference.nearest_pixels(n, m) for n, m in zip(sample.pixels, size, strict=True))
        frames = torch.arange(sample.batch) if times is None else times[0]
        field = field + base[frames][:, ky][:, :, kx]
    assert relative_error(v3_query(*sample.query()), field) <= OP[torch.float64]


@every
@ops
def test_float64(function, definition, draw, sample):
    assert_like_its_definition(function, definition, gradients, draw(sample))


@extension
@every
@ops
def test_float32_on_every_instruction_set(variant, function, definition, draw, sample):
    exact, single = draw(sample, seed=3), draw(sample, torch.float32, seed=3)
    assert_like_its_definition(function, definition, gradients, single, exact)


@extension
@settings(max_examples=25, deadline=None)
@given(
    sample=st.builds(
        Sample,
        name=st.just("drawn"),
        batch=st.integers(1, 3),
        pixels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
        functions=st.integers(1, 20),
        colours=st.integers(1, 4),
        axes=st.integers(2, 3),
        times=st.lists(st.tuples(st.just(0), st.floats(-0.5, 0.5, width=32)), max_size=3).map(tuple),
        channels=st.integers(1, 9),
        base=st.booleans(),
        sliced=st.booleans(),
    ),
    seed=st.integers(0, 99),
)
def test_any_shape(sample, seed):
    for function, definition, draw in BOTH:
        assert_like_its_definition(function, definition, gradients, draw(sample, seed=seed))


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.name in ("rational", "any_scale")], ids=lambda s: s.name)
@ops
def test_gradcheck(function, definition, draw, sample):
    arguments, leaves = with_leaves(draw(sample))

    def of(*tensors):
        given = iter(tensors)

        def place(a):
            if isinstance(a, tuple):
                return tuple(map(place, a))
            return next(given) if torch.is_tensor(a) and a.is_floating_point() else a

        return function(*map(place, arguments))

    assert torch.autograd.gradcheck(of, leaves, fast_mode=True)


@extension
@ops
def test_only_wanted_gradients(function, definition, draw):
    """Each tensor alone gets the gradient that it gets among all."""
    whole = draw(SAMPLES[0])
    expected = gradients(whole, function)
    for i, gradient in enumerate(expected):
        arguments, leaves = with_leaves(whole)
        for j, t in enumerate(leaves):
            t.requires_grad_(j == i)
        out = function(*arguments)
        chosen = torch.rand(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out)
        torch.testing.assert_close(torch.autograd.grad(out, leaves[i], chosen)[0], gradient)


@extension
@pytest.mark.parametrize("sample", [SAMPLES[0], SAMPLES[6]], ids=lambda s: s.name)
def test_bands_of_rows_are_parts_of_the_whole(sample):
    amplitude, phase, frequencies, damping, size, times = sample.arguments()
    whole, rows = fourier_field(amplitude, phase, frequencies, damping, size, times), sample.pixels[0]
    parts = [
        torch.ops.vinr.fourier_field(
            amplitude[:, a:b], phase[:, a:b], frequencies, damping, *times, size, (a, rows), "ieee"
        )
        for a, b in ((0, 1), (1, 3), (3, rows))
    ]
    torch.testing.assert_close(torch.cat(parts, 1), whole)


MASKS = [pytest.param([True] * 5, id="all"), pytest.param([False, True, False, True, False], marks=pytest.mark.slow)]


@extension
@pytest.mark.parametrize("mask", MASKS)
def test_opcheck(mask):
    amplitude, phase, frequencies, damping, size, (frames, offsets) = SAMPLES[0].arguments()
    tensors, rest = (amplitude, phase, frequencies, damping, frames, offsets), (size, (0, SAMPLES[0].pixels[0]))
    leaves = [t.detach().requires_grad_(m) for t, m in zip((*tensors[:4], offsets), mask, strict=True)]
    torch.library.opcheck(torch.ops.vinr.fourier_field.default, (*leaves[:4], frames, leaves[4], *rest, "ieee"))
    grad = torch.rand(len(frames), *size, SAMPLES[0].colours, dtype=torch.float64)
    torch.library.opcheck(torch.ops.vinr.fourier_field_backward.default, (grad, *tensors, *rest, mask))


@extension
def test_opcheck_of_the_query():
    encoding, head, frequencies, damping, size, times, base = SAMPLES[0].query()
    leaves = [t.detach().requires_grad_() for t in (encoding, *head, frequencies, damping)]
    torch.library.opcheck(torch.ops.vinr.v3_query.default, (*leaves, base, *times, size, "ieee"))


@extension
@ops
def test_compiles_as_one_graph(function, definition, draw):
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for size in ((8, 10), (7, 12)):
        arguments = draw(replace(SAMPLES[0], size=size), torch.float32)
        torch.testing.assert_close(compiled(*arguments), function(*arguments))
        torch.testing.assert_close(gradients(arguments, compiled), gradients(arguments, function))


@extension
@pytest.mark.parametrize("size", [(46, 34), (29, 31)], ids=["whole", "any_scale"])
def test_threads_do_not_change_anything(variant, size):
    sample = Sample("large", pixels=(23, 17), size=size, functions=19)
    for function, _, draw in BOTH:
        arguments = draw(sample, torch.float32)
        assert_threads_change_nothing(lambda a=arguments, f=function: [f(*a), *gradients(a, f)])


@extension
@ops
def test_under_autocast_products_are_rounded_and_angles_are_not(function, definition, draw):
    """Frequencies of 4000 turn a rounded angle into noise."""
    arguments = list(draw(SAMPLES[0], torch.float32))
    arguments[2] = arguments[2] * 100
    expected = function(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        found = function(*arguments)
    assert found.dtype == torch.float32
    assert relative_error(found, expected) <= OP[torch.bfloat16]


@ops
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_computed_in_float32(function, definition, draw, dtype):
    def to(a, dtype):
        if isinstance(a, tuple):
            return tuple(to(b, dtype) for b in a)
        return a.to(dtype) if torch.is_tensor(a) and a.is_floating_point() else a

    rounded = [to(a, dtype) for a in draw(SAMPLES[0])]
    out = function(*rounded)
    assert out.dtype == dtype
    expected = definition(*(to(a, torch.float64) for a in rounded))
    assert relative_error(out, expected) <= OP[torch.bfloat16]


def test_the_reference_backend():
    arguments = SAMPLES[0].arguments()
    with vinr.backend("reference"):
        torch.testing.assert_close(fourier_field(*arguments), loop_oracle(*arguments))
        torch.testing.assert_close(v3_query(*SAMPLES[0].query()), reference.v3_query(*SAMPLES[0].query()))


def changed(draw, **given):
    """A sample's call with some arguments replaced, by position."""
    arguments = list(draw(SAMPLES[0]))
    for place, value in given.items():
        arguments[int(place[1:])] = value
    return arguments


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


FRAMES = torch.tensor([0, 1])
BAD_FIELD = {
    "rank": ({"_0": zeros(2, 4, 5, 7)}, r"amplitude must be \[B, h, w, D, out\], got \[2, 4, 5, 7\]"),
    "functions": ({"_0": zeros(2, 4, 5, 6, 3)}, r"amplitude must be \[B, h, w, D, out\] = \[2, 4, 5, 7, 3\]"),
    "pixels": ({"_0": zeros(2, 0, 5, 7, 3), "_1": zeros(2, 0, 5, 7)}, "there must be pixels"),
    "phase": ({"_1": zeros(2, 4, 5, 8)}, r"phase must be \[B, h, w, D\] = \[2, 4, 5, 7\]"),
    "whole": ({"_1": zeros(2, 4, 5, 7).long()}, "phase must hold floating-point"),
}
BAD_QUERY = {
    "rank": ({"_0": zeros(4, 5, 6)}, r"encoding must be \[B, h, w, C\]"),
    "pair": ({"_1": zeros(28, 6)}, r"head must be \(weight, bias\)"),
    "head": ({"_1": (zeros(27, 6), zeros(27))}, r"head weight must be \[\(out \+ 1\) D, C\] with D = 7, got \[27, 6\]"),
    "channels": ({"_1": (zeros(28, 5), zeros(28))}, r"head weight must be .* = \[28, 6\], got \[28, 5\]"),
    "bias": ({"_1": (zeros(28, 6), zeros(27))}, r"head bias must be .* = \[28\]"),
    "base": ({"_6": zeros(2, 4, 5, 2)}, r"base must be \[B, h, w, out\] = \[2, 4, 5, 3\]"),
}
BAD = {
    "axes": ({"_2": zeros(4, 7)}, r"frequencies must be \[2 or 3, D\], got \[4, 7\]"),
    "flat": ({"_2": zeros(7)}, r"frequencies must be \[2 or 3, D\], got \[7\]"),
    "damping": ({"_3": zeros(6)}, r"damping must be \[D\] = \[7\], got \[6\]"),
    "size": ({"_4": (8, 0)}, r"size must be \(HH, WW\), two whole numbers of at least 1, got \(8, 0\)"),
    "fraction": ({"_4": (8.5, 8)}, "size must be"),
    "nan": ({"_4": (math.nan, 8)}, "size must be"),
    "bool": ({"_4": (True, 8)}, "size must be"),
    "one_number": ({"_4": 8}, "size must be"),
    "times": ({"_5": FRAMES}, r"times must be \(frames \[N\], offsets \[N\]\)"),
    "lengths": ({"_5": (FRAMES, zeros(3))}, r"times\[1\] must be \[N\] = \[2\], got \[3\]"),
    "fractional_frames": ({"_5": (zeros(2), zeros(2))}, r"times\[0\] must hold whole numbers"),
    "whole_offsets": ({"_5": (FRAMES, FRAMES)}, r"times\[1\] must hold floating-point"),
}


@pytest.mark.parametrize(
    ("function", "draw", "given", "message"),
    [
        pytest.param(f, draw, *bad, id=f"{f.__name__}-{name}")
        for f, draw, cases in ((fourier_field, Sample.arguments, BAD_FIELD), (v3_query, Sample.query, BAD_QUERY))
        for name, bad in {**BAD, **cases}.items()
    ],
)
def test_bad_arguments(function, draw, given, message):
    with pytest.raises(ValueError, match=f"{function.__name__}: {message}"):
        function(*changed(draw, **given))


@extension
@ops
def test_times_that_are_not_there(function, definition, draw):
    for frames, offset, message in (
        ([0, 2], 0.0, "of frames 0 to 1, got 2"), ([-1, 0], 0.0, "of frames 0 to 1, got -1"),
        ([0, 1], math.nan, "must be finite, got nan"), ([0, 1], math.inf, "must be finite, got inf"),
    ):  # fmt: skip
        times = torch.tensor(frames), torch.full((2,), offset, dtype=torch.float64)
        with pytest.raises(RuntimeError, match=f"{function.__name__}: times {message}|times must be {message}"):
            function(*changed(draw, _5=times))
