import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.against_reference import assert_like_its_definition
from ops.nearest_conv.samples import EMPTY, ENLARGED, RESIZED, Sample
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference
from vinr_engine.ops import nearest_conv, nearest_conv_table
from vinr_engine.reference.nearest import nearest_index, relative_position

extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", ENLARGED, ids=lambda s: s.name)
every = pytest.mark.parametrize("sample", [*ENLARGED, *RESIZED, *EMPTY], ids=lambda s: s.name)


def from_table(*arguments):
    table, index = nearest_conv_table(*arguments)
    return table[:, index].permute(0, 3, 1, 2)


forms = pytest.mark.parametrize("function", [nearest_conv, from_table])


def gradients(arguments, function=nearest_conv, wanted=(True, True, True)):
    """Of a random function of the output, of the tensors that are wanted and there."""
    *tensors, size = arguments
    leaves = [None if t is None else t.detach().requires_grad_(w) for t, w in zip(tensors, wanted, strict=True)]
    out = function(*leaves, size)
    chosen = torch.rand(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out)
    return torch.autograd.grad(out, [t for t in leaves if t is not None and t.requires_grad], chosen)


def loop_oracle(x, weight, bias, size):
    """The definition, pixel by pixel."""
    B, O, (h, w), (H, W) = x.shape[0], weight.shape[0], x.shape[2:], size

    def nearest(i, n, out):
        c = (2 * i + 1) / out - 1
        return math.floor((min(c + 1e-6, 1 - 1e-6) + 1) * n / 2)

    out = torch.zeros(B, O, H, W, dtype=torch.float64) + (0 if bias is None else bias[:, None, None])
    for i, j, di, dj in itertools.product(range(H), range(W), (0, 1, 2), (0, 1, 2)):
        y, z = i + di - 1, j + dj - 1
        if 0 <= y < H and 0 <= z < W:
            out[:, :, i, j] += x[:, :, nearest(y, h, H), nearest(z, w, W)] @ weight[:, :, di, dj].T
    return out


@pytest.mark.parametrize(
    "sample", [s for s in (*ENLARGED, *RESIZED, *EMPTY) if math.prod(s.enlarged) < 400], ids=lambda s: s.name
)
def test_matches_the_definition(sample):
    arguments = sample.arguments()
    expected = loop_oracle(*arguments)
    for function in (nearest_conv, from_table, reference.nearest_conv):
        assert relative_error(function(*arguments), expected) <= OP[torch.float64]


@every
@forms
def test_float64(sample, function):
    assert_like_its_definition(function, reference.nearest_conv, gradients, sample.arguments())


@extension
@every
@forms
def test_float32_on_every_instruction_set(variant, sample, function):
    exact, single = sample.arguments(seed=3), sample.arguments(torch.float32, seed=3)
    assert_like_its_definition(function, reference.nearest_conv, gradients, single, exact)


sides = st.integers(1, 9)


@extension
@settings(max_examples=60, deadline=None)
@given(
    sample=st.builds(
        Sample,
        name=st.just("drawn"),
        batch=st.integers(0, 2),
        channels=st.tuples(st.integers(1, 20), st.integers(1, 40)),
        size=st.tuples(sides, sides),
        enlarged=st.tuples(st.integers(1, 30), st.integers(1, 30)),
        layout=st.sampled_from(("nchw", "nhwc", "sliced")),
        biased=st.booleans(),
    ),
    seed=st.integers(0, 99),
)
def test_any_shape(sample, seed):
    for function in (nearest_conv, from_table):
        assert_like_its_definition(function, reference.nearest_conv, gradients, sample.arguments(seed=seed))


@settings(deadline=None)
@given(n=st.integers(1, 300), out=st.integers(1, 1500))
def test_an_index_goes_up_through_all_pixels_of_an_enlarged_axis(n, out):
    index, relative = nearest_index(out, n), relative_position(out, n)
    assert index.min() >= 0
    assert index.max() < n
    assert relative.min() >= -1 - 1e-9
    assert relative.max() < 1
    if out >= n:
        assert index[[0, -1]].tolist() == [0, n - 1]
        assert set(index.diff().tolist()) <= {0, 1}


def test_ties_go_to_the_second_pixel():
    assert nearest_index(3, 2).tolist() == [0, 1, 1]
    assert relative_position(3, 2).tolist() == pytest.approx([-1 / 3, -1, 1 / 3])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_whole_scales_are_those_of_torch(scale):
    x, weight, bias, _ = ENLARGED[0].arguments()
    enlarged = F.interpolate(x, scale_factor=scale, mode="nearest")
    expected = F.conv2d(enlarged, weight, bias, padding=1)
    assert relative_error(nearest_conv(x, weight, bias, enlarged.shape[2:]), expected) <= OP[torch.float64]


@pytest.mark.parametrize(("scale", "types"), [(1, 1), (2, 4), (3, 9), (4, 9)])
def test_a_table_has_what_occurs_alone(scale, types):
    x, weight, bias, _ = Sample("even", size=(4, 6)).arguments()
    table, index = nearest_conv_table(x, weight, bias, (int(4 * scale), int(6 * scale)))
    assert table.shape[1] == 24 * types
    assert index.unique().tolist() == list(range(24 * types))


@samples
@forms
def test_gradcheck(sample, function):
    *tensors, size = replace(sample, channels=(3, 2)).arguments()
    leaves = [t.requires_grad_() for t in tensors if t is not None]
    assert torch.autograd.gradcheck(
        lambda x, weight, bias=None: function(x, weight, bias, size), leaves, fast_mode=True
    )


@pytest.mark.parametrize("wanted", list(itertools.product((False, True), repeat=3))[1:])
def test_only_wanted_gradients(wanted):
    arguments = ENLARGED[1].arguments()
    expected = [d for d, w in zip(gradients(arguments, reference.nearest_conv), wanted, strict=True) if w]
    for actual, true in zip(gradients(arguments, wanted=wanted), expected, strict=True):
        assert relative_error(actual, true) <= OP[torch.float64]


@extension
def test_opcheck():
    x, weight, bias, size = ENLARGED[1].arguments()
    x = x.permute(0, 2, 3, 1)
    weight = weight.permute(2, 3, 0, 1)
    axes = [nearest_index(out, n) for out, n in zip(size, x.shape[1:3], strict=True)]
    types = [1, 0, 2], [1, 2]
    leaves = [None if t is None else t.detach().requires_grad_() for t in (x, weight, bias)]
    torch.library.opcheck(torch.ops.vinr.nearest_conv.default, (*leaves, *axes))
    torch.library.opcheck(torch.ops.vinr.nearest_conv_table.default, (*leaves, *types))
    grad = torch.rand(x.shape[0], *size, weight.shape[2], dtype=x.dtype)
    table_grad = torch.rand(*x.shape[:3], 3, 2, weight.shape[2], dtype=x.dtype)
    for mask in ([True, True, True], [False, True, False]):
        backward = torch.ops.vinr.nearest_conv_backward.default
        torch.library.opcheck(backward, (grad, x, weight, *axes, mask))
        backward = torch.ops.vinr.nearest_conv_table_backward.default
        torch.library.opcheck(backward, (table_grad, x, weight, *types, mask))


@extension
@pytest.mark.parametrize("function", [nearest_conv, pytest.param(from_table, marks=pytest.mark.slow)])
def test_compiles_as_one_graph(function):
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for size in ((4, 5), (6, 4)):
        arguments = Sample("any", size=size, enlarged=(3 * size[0], 4 * size[1])).arguments(torch.float32)
        torch.testing.assert_close(compiled(*arguments), function(*arguments))
        torch.testing.assert_close(gradients(arguments, compiled), gradients(arguments, function))


@extension
def test_exports():
    class Upsample(torch.nn.Module):
        def forward(self, x, weight, bias):
            return nearest_conv(x, weight, bias, (16, 20))

    *tensors, _ = ENLARGED[0].arguments(torch.float32)
    program = torch.export.export(Upsample(), tuple(tensors))
    torch.testing.assert_close(program.module()(*tensors), Upsample()(*tensors))


@extension
@forms
def test_threads_do_not_change_anything(variant, function):
    arguments = Sample("long", channels=(19, 21), size=(23, 17), enlarged=(46, 51)).arguments(torch.float32)
    assert_threads_change_nothing(lambda: [function(*arguments), *gradients(arguments, function)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_computed_in_float32(dtype):
    *tensors, size = ENLARGED[0].arguments()
    tensors = [t.to(dtype) for t in tensors]
    for function in (nearest_conv, from_table):
        out = function(*tensors, size)
        assert out.dtype == dtype
        assert relative_error(out, reference.nearest_conv(*(t.float() for t in tensors), size)) <= OP[dtype]


@forms
def test_autocast_leaves_it_alone(function):
    x, weight, bias, size = ENLARGED[0].arguments(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = function(x.bfloat16(), weight, bias, size)
    assert out.dtype == torch.bfloat16
    assert relative_error(out, reference.nearest_conv(x.bfloat16().float(), weight, bias, size)) <= OP[out.dtype]


@forms
def test_the_reference_backend(function):
    arguments = ENLARGED[3].arguments()
    expected = function(*arguments)
    with vinr.backend("reference"):
        torch.testing.assert_close(function(*arguments), expected)
        assert all(d.isfinite().all() for d in gradients(arguments, function))


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


GOOD = zeros(2, 3, 4, 4), zeros(5, 3, 3, 3), zeros(5), (8, 8)
BAD = {
    "rank": (0, zeros(2, 3, 4), r"x must be \[B, C, h, w\], got \[2, 3, 4\]"),
    "kernel": (1, zeros(5, 3, 1, 1), r"weight must be \[O, C, 3, 3\] = \[5, 3, 3, 3\], got \[5, 3, 1, 1\]"),
    "inputs": (1, zeros(5, 4, 3, 3), r"weight must be \[O, C, 3, 3\] = \[5, 3, 3, 3\], got \[5, 4, 3, 3\]"),
    "bias": (2, zeros(3), r"bias must be \[O\] = \[5\], got \[3\]"),
    "size": (3, (0, 8), r"size must be at least 1, got \(0, 8\)"),
    "pixels": (0, zeros(2, 3, 0, 4), "there must be pixels and channels"),
    "dtype": (1, zeros(5, 3, 3, 3).float(), "weight must be torch.float64, got torch.float32"),
    "whole": (0, zeros(2, 3, 4, 4).long(), "x must hold floating-point numbers"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    place, value, message = BAD[what]
    arguments = [*GOOD[:place], value, *GOOD[place + 1 :]]
    for function in (nearest_conv, nearest_conv_table):
        with pytest.raises(ValueError, match="nearest_conv: " + message):
            function(*arguments)


@extension
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 1, 1], "rows must go from 0 to the last input pixel, 3"),
        ([0, 2, 3], "rows must go up by 0 or 1, got 0 and 2"),
    ],
)
def test_the_torch_op_takes_no_other_index(rows, message):
    x, weight = zeros(1, 4, 4, 3), zeros(3, 3, 5, 3)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.vinr.nearest_conv(x, weight, None, torch.tensor(rows), torch.arange(4))
