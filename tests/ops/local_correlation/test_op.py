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
from ops.local_correlation.samples import EMPTY, SAMPLES, Sample
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference
from vinr_engine.ops import local_correlation

extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
every = pytest.mark.parametrize("sample", [*SAMPLES, *EMPTY], ids=lambda s: s.name)


def gradients(arguments, function=local_correlation, wanted=(True, True)):
    """Of a random function of the output, of the maps that are wanted."""
    first, second, times, radius = arguments
    maps = [m.detach().requires_grad_(w) for m, w in zip((first, second), wanted, strict=True)]
    out = function(*maps, times, radius)
    chosen = torch.rand(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out)
    return torch.autograd.grad(out, [m for m in maps if m.requires_grad], chosen)


def loop_oracle(first, second, times, radius):
    """The definition, one multiplication at a time."""
    B, C, h, w = first.shape
    steps = range(-radius, radius + 1)
    out = torch.zeros(B, len(steps) ** 2, h, w, dtype=torch.float64)
    for b, y, x in itertools.product(range(B), range(h), range(w)):
        for k, (dy, dx) in enumerate(itertools.product(steps, steps)):
            ay, ax = (math.floor(float(times[b]) * d + 0.5) for d in (dy, dx))
            y0, x0, y1, x1 = y - ay, x - ax, y + dy - ay, x + dx - ax
            if 0 <= y0 < h and 0 <= x0 < w and 0 <= y1 < h and 0 <= x1 < w:
                out[b, k, y, x] = (first[b, :, y0, x0] * second[b, :, y1, x1]).sum() / C
    return out


@every
@pytest.mark.parametrize("function", [local_correlation, reference.local_correlation])
def test_matches_the_definition(function, sample):
    arguments = sample.arguments()
    assert relative_error(function(*arguments), loop_oracle(*arguments)) <= OP[torch.float64]


@every
def test_float64(sample):
    assert_like_its_definition(local_correlation, reference.local_correlation, gradients, sample.arguments())


@extension
@every
def test_float32_on_every_instruction_set(variant, sample):
    exact, single = sample.arguments(seed=3), sample.arguments(torch.float32, seed=3)
    assert_like_its_definition(local_correlation, reference.local_correlation, gradients, single, exact)


@extension
@settings(max_examples=60, deadline=None)
@given(
    sample=st.builds(
        Sample,
        name=st.just("drawn"),
        channels=st.integers(1, 40),
        size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        times=st.lists(st.floats(0, 1, width=32), min_size=0, max_size=3).map(tuple),
        radius=st.integers(0, 4),
        layout=st.sampled_from(("nchw", "nhwc", "sliced")),
    ),
    seed=st.integers(0, 99),
)
def test_any_shape(sample, seed):
    assert_like_its_definition(local_correlation, reference.local_correlation, gradients, sample.arguments(seed=seed))


@samples
def test_gradcheck(sample):
    first, second, times, radius = sample.arguments()
    leaves = [m.detach().requires_grad_() for m in (first, second)]
    assert torch.autograd.gradcheck(lambda a, b: local_correlation(a, b, times, radius), leaves, fast_mode=True)


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_only_wanted_gradients(wanted):
    arguments = SAMPLES[0].arguments()
    (actual,) = gradients(arguments, wanted=wanted)
    expected = gradients(arguments, reference.local_correlation)[wanted.index(True)]
    assert relative_error(actual, expected) <= OP[torch.float64]


def test_seen_from_the_other_end_it_is_the_other_way_round():
    first, second, _, radius = SAMPLES[0].arguments()
    start, end = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    there, back = local_correlation(first, second, start, radius), local_correlation(second, first, end, radius)
    torch.testing.assert_close(there, back.flip(1))


def test_finds_a_shift_from_any_time():
    """Content that moves by (2, -1) between the maps is most alike at that displacement, wherever one looks from."""
    world = torch.randn(1, 64, 40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    for t in (0.0, 0.5, 1.0):
        ay, ax = (math.floor(t * d + 0.5) for d in (2, -1))
        first, second = (world[..., 10 + y : 30 + y, 10 + x : 30 + x] for y, x in ((ay, ax), (ay - 2, ax + 1)))
        found = local_correlation(first, second, torch.tensor([t], dtype=torch.float64), 3)
        best = found[0, :, 4:-4, 4:-4].flatten(1).argmax(0)
        assert (best == (2 + 3) * 7 + (-1 + 3)).all()


@extension
@samples
def test_opcheck(sample):
    first, second, times, radius = sample.arguments()
    maps = [m.permute(0, 2, 3, 1) for m in (first, second)]
    leaves = [m.detach().requires_grad_() for m in maps]
    torch.library.opcheck(torch.ops.vinr.local_correlation.default, (*leaves, times, radius))
    grad = torch.rand(*maps[0].shape[:3], (2 * radius + 1) ** 2, dtype=torch.float64)
    for mask in ([True, True], [True, False], [False, True]):
        torch.library.opcheck(torch.ops.vinr.local_correlation_backward.default, (grad, *maps, times, radius, mask))


@extension
@pytest.mark.parametrize("sample", SAMPLES[:3], ids=lambda s: s.name)
def test_compiles_as_one_graph(sample):
    torch.compiler.reset()
    compiled = torch.compile(local_correlation, fullgraph=True, backend="aot_eager")
    for size in ((5, 7), (8, 6)):
        arguments = replace(sample, size=size).arguments(torch.float32)
        torch.testing.assert_close(compiled(*arguments), local_correlation(*arguments))
        torch.testing.assert_close(gradients(arguments, compiled), gradients(arguments))


@extension
def test_threads_do_not_change_anything(variant):
    arguments = Sample("long", channels=19, size=(23, 17), times=(0.25, 0.75)).arguments(torch.float32)
    assert_threads_change_nothing(lambda: [local_correlation(*arguments), *gradients(arguments)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_computed_in_float32(dtype):
    first, second, times, radius = (a.to(dtype) if torch.is_tensor(a) else a for a in SAMPLES[0].arguments())
    out = local_correlation(first, second, times, radius)
    expected = reference.local_correlation(first.float(), second.float(), times.float(), radius)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, rtol=1e-2, atol=1e-2)


def test_the_reference_backend():
    arguments = SAMPLES[0].arguments()
    with vinr.backend("reference"):
        torch.testing.assert_close(local_correlation(*arguments), loop_oracle(*arguments))


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


BAD = {
    "rank": ((zeros(2, 3, 4), zeros(2, 3, 4), zeros(2), 1), r"first must be \[B, C, h, w\], got \[2, 3, 4\]"),
    "second": ((zeros(2, 3, 4, 4), zeros(2, 3, 4, 5), zeros(2), 1), r"second must be .* \[2, 3, 4, 4\]"),
    "times": ((zeros(2, 3, 4, 4), zeros(2, 3, 4, 4), zeros(3), 1), r"times must be \[B\] = \[2\], got \[3\]"),
    "radius": ((zeros(2, 3, 4, 4), zeros(2, 3, 4, 4), zeros(2), -1), "radius must be at least 0, got -1"),
    "channels": ((zeros(2, 0, 4, 4), zeros(2, 0, 4, 4), zeros(2), 1), "maps must have channels"),
    "dtype": ((zeros(2, 3, 4, 4), zeros(2, 3, 4, 4).float(), zeros(2), 1), "second must be torch.float64"),
    "whole": ((zeros(2, 3, 4, 4).long(), zeros(2, 3, 4, 4).long(), zeros(2), 1), "first must hold floating-point"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    arguments, message = BAD[what]
    with pytest.raises(ValueError, match="local_correlation: " + message):
        local_correlation(*arguments)


@extension
@pytest.mark.parametrize("time", [-0.5, 1.5, math.nan])
def test_times_outside(time):
    with pytest.raises(RuntimeError, match=r"local_correlation: times must lie in \[0, 1\]"):
        local_correlation(zeros(1, 3, 4, 4), zeros(1, 3, 4, 4), zeros(1) + time, 1)
