import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import vinr_engine as vinr
from benchmarks.tolerances import OP, WINOGRAD_BFLOAT16, relative_error
from ops.against_reference import assert_like_its_definition
from ops.conv3x3.samples import EMPTY, PUBLISHED, SAMPLES, WIDE, Sample
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference
from vinr_engine.ops import conv3x3
from vinr_engine.ops.conv3x3 import CONV3X3_WEIGHT, WeightArguments, conv3x3_into

extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
every = pytest.mark.parametrize("sample", [*SAMPLES, PUBLISHED, WIDE, *EMPTY], ids=lambda s: s.name)


@pytest.fixture(autouse=True)
def poisoned():
    """What torch.empty gives, which is what the ops fill, holds NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def tensors(arguments):
    """Those of a call, and what makes its arguments of as many others."""
    maps, weight, bias, add, slope = arguments
    given = [*maps, weight, *(t for t in (bias, add) if t is not None)]

    def rebuilt(*others):
        rest = list(others[len(maps) + 1 :])
        return (
            list(others[: len(maps)]), others[len(maps)], None if bias is None else rest.pop(0),
            None if add is None else rest.pop(0), slope,
        )  # fmt: skip

    return given, rebuilt


def gradients(arguments, function=conv3x3, wanted=None):
    """Of a random function of the output, of every tensor or of those numbered in `wanted`."""
    given, rebuilt = tensors(arguments)
    leaves = [t.detach().requires_grad_(wanted is None or i in wanted) for i, t in enumerate(given)]
    out = function(*rebuilt(*leaves))
    chosen = torch.rand(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out)
    return torch.autograd.grad(out, [t for t in leaves if t.requires_grad], chosen)


def assert_close(arguments, exact):
    if backends.extension().path is not None:
        assert conv3x3(*arguments).is_contiguous(memory_format=torch.channels_last)
    assert_like_its_definition(conv3x3, reference.conv3x3, gradients, arguments, exact)


def loop_oracle(maps, weight, bias, add, slope):
    """The definition, one output at a time."""
    x = F.pad(torch.cat(maps, 1), (1, 1, 1, 1))
    (B, _, h, w), O = maps[0].shape, len(weight)
    out = torch.zeros(B, O, h, w, dtype=torch.float64)
    for b, o, i, j in itertools.product(range(B), range(O), range(h), range(w)):
        value = (x[b, :, i : i + 3, j : j + 3] * weight[o]).sum()
        value = value + (0 if bias is None else bias[o]) + (0 if add is None else add[b, o, i, j])
        out[b, o, i, j] = value if value > 0 else slope * value
    return out


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.outputs <= 16], ids=lambda s: s.name)
@pytest.mark.parametrize("function", [conv3x3, reference.conv3x3])
def test_matches_the_definition(function, sample):
    arguments = sample.arguments()
    assert relative_error(function(*arguments), loop_oracle(*arguments)) <= OP[torch.float64]


@every
def test_float64(sample):
    assert_close(sample.arguments(), sample.arguments())


@extension
@every
def test_float32_on_every_instruction_set(variant, sample):
    assert_close(sample.arguments(torch.float32, seed=3), sample.arguments(seed=3))


@extension
def test_rounding_is_at_most_five_times_that_of_the_definition(variant):
    """Where the points are those of the paper, it is ten times."""
    sample = Sample("large", size=(40, 40), channels=(64,), outputs=64)
    exact = reference.conv3x3(*sample.arguments())
    maps, *rest = sample.arguments(torch.float32)
    error, plain = ((f([maps[0]], *rest) - exact).square().mean().sqrt() for f in (conv3x3, reference.conv3x3))
    assert error <= 5 * plain


@extension
@settings(max_examples=80, deadline=None)
@given(
    sample=st.builds(
        Sample,
        name=st.just("drawn"),
        batch=st.integers(0, 3),
        size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
        channels=st.lists(st.integers(0, 40), min_size=1, max_size=3).filter(any).map(tuple),
        outputs=st.integers(1, 90),
        bias=st.booleans(),
        add=st.booleans(),
        slope=st.sampled_from((0.0, 0.1, 1.0)),
        layout=st.sampled_from(("nchw", "nhwc", "sliced", "broadcast")),
        weight=st.sampled_from(("whole", "half", "turned")),
    ),
    seed=st.integers(0, 99),
)
def test_any_shape(sample, seed):
    maps, *rest = sample.arguments(torch.float32, seed)
    exact = reference.conv3x3(*sample.arguments(seed=seed))
    assert relative_error(conv3x3(maps, *rest), exact) <= OP[torch.float32]


@pytest.mark.parametrize("sample", [s for s in SAMPLES if all(s.channels)], ids=lambda s: s.name)
def test_gradcheck(sample):
    given, rebuilt = tensors(sample.arguments())
    leaves = [t.detach().contiguous().requires_grad_() for t in given]
    assert torch.autograd.gradcheck(lambda *t: conv3x3(*rebuilt(*t)), leaves, fast_mode=True)


def test_second_derivatives():
    given, rebuilt = tensors(Sample("second", channels=(3, 2), outputs=3, slope=0.1, add=True).arguments())
    leaves = [t.detach().contiguous().requires_grad_() for t in given]
    assert torch.autograd.gradgradcheck(lambda *t: conv3x3(*rebuilt(*t)), leaves, fast_mode=True)


@pytest.mark.parametrize("wanted", [w for n in (1, 2) for w in itertools.combinations(range(5), n)])
def test_only_wanted_gradients(wanted):
    arguments = Sample("wanted", channels=(5, 18), add=True, slope=0.1).arguments()
    expected = gradients(arguments, reference.conv3x3)
    for i, actual in zip(wanted, gradients(arguments, wanted=wanted), strict=True):
        assert relative_error(actual, expected[i]) <= OP[torch.float64]


@extension
@pytest.mark.parametrize("sample", [SAMPLES[-1], PUBLISHED, WIDE], ids=lambda s: s.name)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_threads_do_not_change_anything(variant, sample, bfloat16):
    arguments = sample.arguments(torch.float32)

    def compute():
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return [conv3x3(*arguments), *gradients(arguments, wanted=range(len(sample.channels) + 1))]

    assert_threads_change_nothing(compute)


@extension
@every
def test_under_autocast(variant, sample):
    """Results of float32, from products of numbers that are rounded where the machine has them."""
    exact = reference.conv3x3(*sample.arguments(seed=5))
    (first, *others), *rest = sample.arguments(torch.float32, seed=5)
    with torch.autocast("cpu", torch.bfloat16):
        out = conv3x3([first, *others], *rest)
    assert out.dtype == torch.float32
    assert relative_error(out, exact) <= WINOGRAD_BFLOAT16
    maps = [first.bfloat16(), *others]
    with torch.autocast("cpu", torch.bfloat16):
        assert relative_error(conv3x3(maps, *rest), exact) <= WINOGRAD_BFLOAT16


@extension
def test_gradients_under_autocast(variant):
    """In float32, from products of numbers that are rounded where the machine has them."""
    sample = replace(PUBLISHED, slope=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(sample.arguments(torch.float32))
    exact = gradients(sample.arguments(), reference.conv3x3)
    for actual, true in zip(found, exact, strict=True):
        assert actual.dtype == torch.float32
        assert relative_error(actual, true) <= WINOGRAD_BFLOAT16
    # Of two maps, the weight, the bias and add: what is made of products was rounded, or was not.
    errors = [relative_error(a, t) for a, t in zip(found, exact, strict=True)]
    assert all((e > 1e-4) == (variant == "avx512_bf16") for e in errors[: len(sample.channels) + 1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits(dtype):
    maps, *rest = PUBLISHED.arguments()
    arguments = [m.to(dtype) for m in maps], *(t.to(dtype) for t in rest[:3]), rest[3]
    out = conv3x3(*arguments)
    assert out.dtype == dtype
    assert relative_error(out, reference.conv3x3(maps, *rest)) <= WINOGRAD_BFLOAT16


@extension
@every
def test_into_memory_that_is_there(sample):
    maps, weight, bias, add, slope = sample.arguments(torch.float32)
    expected = conv3x3(maps, weight, bias, add, slope)
    wide = torch.full((sample.batch, *sample.size, sample.outputs + 3), torch.nan).permute(0, 3, 1, 2)
    conv3x3_into(wide[:, 1:-2], maps, weight, bias, add, slope)
    assert torch.equal(wide[:, 1:-2], expected)
    assert wide[:, 0].isnan().all()
    assert wide[:, -2:].isnan().all()
    if add is not None:
        out = add.clone(memory_format=torch.channels_last)
        conv3x3_into(out, maps, weight, bias, out, slope)
        assert torch.equal(out, expected)


@extension
@pytest.mark.parametrize(("first", "last"), [(0, 5), (3, 21), (7, 8), (4, 4)])
def test_rows_into_memory_that_is_there(first, last):
    """Others are neither read from `add` nor written."""
    maps, weight, bias, _, slope = PUBLISHED.arguments(torch.float32)
    add = torch.rand(1, 64, 21, 19).contiguous(memory_format=torch.channels_last)
    expected = conv3x3(maps, weight, bias, add, slope)[:, :, first:last]
    out = torch.full_like(add, torch.nan)
    out[:, :, first:last] = add[:, :, first:last]
    own = out[:, :, first:last]
    conv3x3_into(own, maps, weight, bias, own, slope, first)
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)  # tiles lie elsewhere
    assert out[:, :, :first].isnan().all()
    assert out[:, :, last:].isnan().all()
    with pytest.raises(RuntimeError, match=r"rows 18 to 23 must lie in the maps' 21"):
        conv3x3_into(out[:, :, :5], maps, weight, bias, None, slope, 18)


@extension
def test_into_memory_that_does_not_fit():
    maps, weight, *rest = PUBLISHED.arguments(torch.float32)
    with pytest.raises(RuntimeError, match="out must be"):
        conv3x3_into(torch.empty(1, 63, 21, 19), maps, weight, *rest)
    with pytest.raises(RuntimeError, match="the channels of out must lie side by side"):
        conv3x3_into(torch.empty(1, 64, 21, 19), maps, weight, *rest)


@extension
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_near(variant, value):
    """In its tile, and in the ones that read it; not in another picture, and not in the next tile but one."""
    maps, *rest = Sample("nan", batch=2, size=(16, 16), channels=(20,)).arguments(torch.float32)
    expected = conv3x3(maps, *rest)
    maps[0][0, 3, 5, 6] = value
    out = conv3x3(maps, *rest)
    reached = torch.zeros(2, 16, 16, dtype=torch.bool)
    reached[0, 4:7, 5:8] = True
    assert not out.isfinite().all(1)[reached].any()
    reached[0, :12, :12] = True
    assert torch.equal(out.permute(0, 2, 3, 1)[~reached], expected.permute(0, 2, 3, 1)[~reached])


@every
def test_opcheck(sample):
    if backends.extension().path is None:
        pytest.skip(backends.extension().error)
    given, rebuilt = tensors(sample.arguments())
    leaves = [t.detach().requires_grad_() for t in given]
    torch.library.opcheck(torch.ops.vinr.conv3x3.default, (*rebuilt(*leaves), "ieee"))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("sample", [SAMPLES[0], SAMPLES[4], PUBLISHED], ids=lambda s: s.name)
def test_compiles_as_one_graph(sample, dynamic):
    torch.compiler.reset()
    compiled = torch.compile(conv3x3, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for size in ((5, 7), (8, 6)):
        given, rebuilt = tensors(replace(sample, size=size).arguments(torch.float32))
        leaves = [t.detach().requires_grad_() for t in given]
        actual, expected = (f(*rebuilt(*leaves)) for f in (compiled, conv3x3))
        torch.testing.assert_close(actual, expected)
        torch.testing.assert_close(*(torch.autograd.grad(out.sum(), leaves) for out in (actual, expected)))


@every
def test_the_weights_gradient_is_an_op(sample):
    if backends.extension().path is None:
        pytest.skip(backends.extension().error)
    maps, *_ = sample.arguments()
    grad = torch.rand(sample.batch, sample.outputs, *sample.size, dtype=torch.float64)
    arguments = WeightArguments(grad, maps)
    assert relative_error(CONV3X3_WEIGHT(arguments), CONV3X3_WEIGHT.reference(arguments)) <= OP[torch.float64]
    leaves = [t.detach().requires_grad_() for t in (grad, *maps)]
    torch.library.opcheck(torch.ops.vinr.conv3x3_weight.default, (leaves[0], leaves[1:], "ieee"))


def test_on_the_reference():
    with vinr.backend("reference"):
        arguments = PUBLISHED.arguments(torch.float32)
        assert torch.equal(conv3x3(*arguments), reference.conv3x3(*arguments))


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


MAP = zeros(2, 5, 4, 3)
BAD = {
    "no map": ([], zeros(4, 0, 3, 3), None, None, 1.0, "a map is needed"),
    "rank": ([zeros(2, 3, 4)], zeros(4, 3, 3, 3), None, None, 1.0, r"maps.* must be \[B, C, h, w\], got \[2, 3, 4\]"),
    "sizes": (
        [MAP, zeros(2, 4, 4, 4)], zeros(4, 9, 3, 3), None, None, 1.0,
        r"maps.* must be \[B, C, h, w\] = \[2, 4, 4, 3\], got \[2, 4, 4, 4\]",
    ),
    "weight": ([MAP], zeros(4, 6, 3, 3), None, None, 1.0, r"weight must be \[O, C, 3, 3\] = \[4, 5, 3, 3\], got"),
    "kernel": ([MAP], zeros(4, 5, 1, 1), None, None, 1.0, r"weight must be \[O, C, 3, 3\] = \[4, 5, 3, 3\], got"),
    "bias": ([MAP], zeros(4, 5, 3, 3), zeros(5), None, 1.0, r"bias must be \[O\] = \[4\], got \[5\]"),
    "add": ([MAP], zeros(4, 5, 3, 3), None, MAP, 1.0, r"add must be .* = \[2, 4, 4, 3\], got \[2, 5, 4, 3\]"),
    "dtype": ([MAP], zeros(4, 5, 3, 3).float(), None, None, 1.0, "weight must (be torch.float64|have the dtype)"),
    "no rows": ([zeros(2, 5, 0, 3)], zeros(4, 5, 3, 3), None, None, 1.0, "there must be pixels and channels, got maps"),
    "no outputs": ([MAP], zeros(0, 5, 3, 3), None, None, 1.0, "there must be pixels and channels, got maps"),
    "slope": ([MAP], zeros(4, 5, 3, 3), None, None, -0.1, "slope must be at least 0, got -0.1"),
    "whole numbers": ([MAP.long()], zeros(4, 5, 3, 3).long(), None, None, 1.0, "maps.* must (hold floating|be float)"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    *arguments, message = BAD[what]
    with pytest.raises(ValueError, match="conv3x3: " + message):
        conv3x3(*arguments)
    if backends.extension().path is not None:
        with pytest.raises(RuntimeError, match="conv3x3: " + message):
            torch.ops.vinr.conv3x3(*arguments, "ieee")
