import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.against_reference import assert_like_its_definition
from ops.phase_linear.samples import EMPTY, SAMPLES, Sample
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference
from vinr_engine.ops import phase_linear
from vinr_engine.reference.phase_linear import phases

extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
every = pytest.mark.parametrize("sample", [*SAMPLES, *EMPTY], ids=lambda s: s.name)


def gradients(arguments, function=phase_linear, wanted=(True, True, True)):
    """Of a random function of the output, of the tensors that are wanted and given."""
    maps, weights, size, base = arguments
    leaves = [
        None if t is None else t.detach().requires_grad_(w) for t, w in zip((maps, weights, base), wanted, strict=True)
    ]
    out = function(*leaves[:2], size, leaves[2])
    chosen = torch.rand(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out)
    return torch.autograd.grad(out, [t for t in leaves if t is not None and t.requires_grad], chosen)


def loop_oracle(maps, weights, size, base=None):
    """The definition, one output at a time."""
    B, _, h, w = maps.shape
    Py, Px, C, _ = weights.shape
    out = torch.zeros(B, C, *size, dtype=torch.float64) if base is None else base.double().clone()
    for b, c, i, j in itertools.product(range(B), range(C), range(size[0]), range(size[1])):
        y, x = (2 * i + 1) * h // (2 * size[0]), (2 * j + 1) * w // (2 * size[1])
        out[b, c, i, j] += (maps[b, :, y, x] * weights[i % Py, j % Px, c]).sum()
    return out


@every
@pytest.mark.parametrize("function", [phase_linear, reference.phase_linear])
def test_matches_the_definition(function, sample):
    arguments = sample.arguments()
    assert relative_error(function(*arguments), loop_oracle(*arguments)) <= OP[torch.float64]


@every
def test_float64(sample):
    assert_like_its_definition(phase_linear, reference.phase_linear, gradients, sample.arguments())


@extension
@every
def test_float32_on_every_instruction_set(variant, sample):
    exact, single = sample.arguments(seed=3), sample.arguments(torch.float32, seed=3)
    assert_like_its_definition(phase_linear, reference.phase_linear, gradients, single, exact)


@extension
@settings(max_examples=60, deadline=None)
@given(
    sample=st.builds(
        Sample,
        name=st.just("drawn"),
        batch=st.integers(0, 3),
        channels=st.integers(1, 40),
        input=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
        outputs=st.integers(1, 4),
        layout=st.sampled_from(("nchw", "nhwc", "sliced", "part")),
        base=st.booleans(),
    ),
    seed=st.integers(0, 99),
)
def test_any_shape(sample, seed):
    assert_like_its_definition(phase_linear, reference.phase_linear, gradients, sample.arguments(seed=seed))


@samples
def test_gradcheck(sample):
    maps, weights, size, base = sample.arguments()
    leaves = [t.detach().requires_grad_() for t in (maps, weights)]
    function = lambda m, w: phase_linear(m, w, size, base)  # noqa: E731
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize("wanted", list(itertools.product((True, False), repeat=3))[:-1], ids=str)
def test_only_wanted_gradients(wanted):
    arguments = SAMPLES[1].arguments()
    expected = gradients(arguments, reference.phase_linear)
    actual = gradients(arguments, wanted=wanted)
    for one, true in zip(actual, [e for e, w in zip(expected, wanted, strict=True) if w], strict=True):
        assert relative_error(one, true) <= OP[torch.float64]


def test_at_a_whole_scale_it_is_a_convolution_and_a_pixel_shuffle():
    maps, weights, size, _ = Sample("three", size=(12, 15)).arguments()
    kernel = weights.permute(2, 0, 1, 3).reshape(27, 3, 1, 1)
    torch.testing.assert_close(phase_linear(maps, weights, size), F.pixel_shuffle(F.conv2d(maps, kernel), 3))


def test_reads_no_other_pixel():
    """What is not a number in one input pixel shows in its output pixels alone."""
    maps, weights, size, _ = Sample("five_halves", input=(6, 4), size=(15, 10)).arguments()
    maps[0, 1, 2, 3] = torch.nan
    inside = torch.zeros(2, 3, *size, dtype=torch.bool)
    inside[0, :, 5:7, 7:] = True
    assert (phase_linear(maps, weights, size).isnan() == inside).all()


def test_a_pixel_has_as_many_phases_as_differ():
    assert [phases(4, n) for n in (4, 8, 6, 7, 2)] == [1, 2, 3, 7, 1]


@extension
@samples
def test_opcheck(sample):
    maps, weights, size, base = sample.arguments()
    maps = maps.permute(0, 2, 3, 1)
    leaves = [None if t is None else t.detach().requires_grad_() for t in (maps, weights, base)]
    torch.library.opcheck(torch.ops.vinr.phase_linear.default, (*leaves, list(size)))
    grad = torch.rand(len(maps), weights.shape[2], *size, dtype=torch.float64)
    for mask in ([True, True], [True, False], [False, True]):
        torch.library.opcheck(torch.ops.vinr.phase_linear_backward.default, (grad, maps, weights, list(size), mask))


@extension
@pytest.mark.parametrize("sample", SAMPLES[:3], ids=lambda s: s.name)
def test_compiles_as_one_graph(sample):
    torch.compiler.reset()
    compiled = torch.compile(phase_linear, fullgraph=True, backend="aot_eager")
    for input_, size in (((4, 5), (8, 10)), ((6, 4), (15, 10)), ((6, 4), (7, 12))):
        arguments = replace(sample, input=input_, size=size).arguments(torch.float32)
        torch.testing.assert_close(compiled(*arguments), phase_linear(*arguments))
        torch.testing.assert_close(gradients(arguments, compiled), gradients(arguments))


class Layer(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, maps, weights, base):
        return phase_linear(maps, weights, self.size, base)


@extension
def test_exports():
    maps, weights, size, base = SAMPLES[1].arguments()
    program = torch.export.export(Layer(size), (maps, weights, base))
    torch.testing.assert_close(program.module()(maps, weights, base), phase_linear(maps, weights, size, base))


@extension
@pytest.mark.parametrize("size", [(46, 51), (69, 34), (31, 20)], ids=str)
def test_threads_do_not_change_anything(variant, size):
    arguments = Sample("long", channels=19, input=(23, 17), size=size, base=True).arguments(torch.float32)
    assert_threads_change_nothing(lambda: [phase_linear(*arguments), *gradients(arguments)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_computed_in_float32(dtype):
    given_ = SAMPLES[1].arguments()
    maps, weights, size, base = (a.to(dtype) if torch.is_tensor(a) else a for a in given_)
    out = phase_linear(maps, weights, size, base)
    expected = reference.phase_linear(maps.float(), weights.float(), size, base.float())
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, rtol=1e-2, atol=1e-2)
    assert phase_linear(maps, weights.float(), size).dtype == dtype
    assert phase_linear(maps, weights, size, base.float()).dtype == torch.float32


def test_the_reference_backend():
    arguments = SAMPLES[1].arguments()
    with vinr.backend("reference"):
        torch.testing.assert_close(phase_linear(*arguments), loop_oracle(*arguments))


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


MAPS, WEIGHTS, SIZE = zeros(2, 3, 4, 5), zeros(2, 3, 1, 3), (8, 15)
BAD = {
    "rank": ((zeros(2, 3, 4), WEIGHTS, SIZE), r"maps must be \[B, K, h, w\], got \[2, 3, 4\]"),
    "pixels": ((zeros(2, 3, 0, 5), WEIGHTS, SIZE), r"maps must have pixels and channels, got \[2, 3, 0, 5\]"),
    "channels": ((zeros(2, 0, 4, 5), zeros(2, 3, 1, 0), SIZE), "maps must have pixels and channels"),
    "size": ((MAPS, WEIGHTS, (8, 0)), r"size must be at least 1, got \(8, 0\)"),
    "phases": ((MAPS, WEIGHTS, (8, 16)), r"weights must be \[Py, Px, C, K\] = \[2, 16, 1, 3\], got \[2, 3, 1, 3\]"),
    "inputs": ((MAPS, zeros(2, 3, 1, 4), SIZE), r"weights must be .* \[2, 3, 1, 3\], got \[2, 3, 1, 4\]"),
    "weights": ((MAPS, zeros(2, 3, 3), SIZE), r"weights must be \[Py, Px, C, K\], got \[2, 3, 3\]"),
    "base": ((MAPS, WEIGHTS, SIZE, zeros(2, 1, 8, 14)), r"base must be \[B, C, H, W\] = \[2, 1, 8, 15\]"),
    "whole": ((MAPS.long(), WEIGHTS, SIZE), "maps must hold floating-point"),
    "whole weights": ((MAPS, WEIGHTS.long(), SIZE), "weights must hold floating-point"),
    "device": ((MAPS, WEIGHTS.to("meta"), SIZE), "weights must be on cpu, got meta"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    arguments, message = BAD[what]
    with pytest.raises(ValueError, match="phase_linear: " + message):
        phase_linear(*arguments)


@extension
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((zeros(2, 4, 5, 3), zeros(2, 2, 1, 3), None, [8, 15]), r"weights must be .* = \[2, 3, 1, 3\]"),
        ((zeros(2, 0, 5, 3), WEIGHTS, None, [8, 15]), "maps must have pixels"),
        ((zeros(2, 4, 5, 3), WEIGHTS, None, [8, -1]), "size must be two numbers of at least 1"),
        ((zeros(2, 4, 5, 3), WEIGHTS, zeros(1, 1, 8, 15), [8, 15]), r"base must be \[B, C, H, W\] = \[2, 1, 8, 15\]"),
        ((zeros(2, 4, 5, 3), WEIGHTS.float(), None, [8, 15]), "weights must have the dtype"),
    ],
)
def test_the_torch_op_checks_too(arguments, message):
    with pytest.raises(RuntimeError, match="phase_linear: " + message):
        torch.ops.vinr.phase_linear(*arguments)
