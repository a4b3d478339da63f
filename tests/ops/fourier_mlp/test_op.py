import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.fourier_mlp.samples import (
    EMPTY,
    SAMPLES,
    SMALL,
    Sample,
    call,
    flat,
    gradients,
    on_reference,
    op_arguments,
    with_tensors,
)
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends

fourier_mlp = vinr.ops.fourier_mlp
needs_extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
small = pytest.mark.parametrize("sample", SMALL, ids=lambda s: s.name)
every = pytest.mark.parametrize("sample", SAMPLES + EMPTY, ids=lambda s: s.name)


def draw(*shape):
    return torch.rand(shape, dtype=torch.float64) * 2 - 1


def loop_oracle(coef, freq, index, relative, phase, layers, weights, cell):
    """The definition, one neighbour at a time."""
    B, N, k = index.shape
    half = coef.shape[2] // 2
    out = torch.zeros(B, N, len(layers[-1][1]), dtype=torch.float64)
    for b, n, j in itertools.product(range(B), range(N), range(k)):
        row = int(index[b, n, j])
        inside = 0 <= row < coef.shape[1]
        y, x = relative[b, n, j].tolist()
        z = [0.0] * (2 * half)
        for m in range(half if inside else 0):
            theta = float(freq[b, row, m]) * y + float(freq[b, row, half + m]) * x
            if phase is not None:
                theta += float(phase[m] if cell is None else phase[m] @ cell[b, n if cell.shape[1] > 1 else 0])
            z[m] = float(coef[b, row, m]) * math.cos(math.pi * theta)
            z[half + m] = float(coef[b, row, half + m]) * math.sin(math.pi * theta)
        z = torch.tensor(z, dtype=torch.float64)
        for i, (weight, bias) in enumerate(layers):
            z = weight @ (z.clamp(min=0) if i else z) + bias
        out[b, n] += z if weights is None else weights[b, n, j] * z
    return out


@pytest.mark.parametrize("sample", SMALL, ids=lambda s: s.name)
def test_matches_the_definition(backend, sample):
    arguments = sample.arguments()
    assert relative_error(call(arguments), loop_oracle(**arguments)) <= OP[torch.float64]


@every
def test_float32_on_every_instruction_set(variant, sample):
    exact, single = on_reference(call, sample.arguments()), sample.arguments(torch.float32)
    bound = 3 * relative_error(on_reference(call, single), exact) + OP[torch.float32]
    assert relative_error(call(single), exact) <= bound


@samples
def test_gradients(backend, sample):
    arguments = sample.arguments()
    expected = on_reference(gradients, arguments)
    for i, (a, b) in enumerate(zip(gradients(arguments), expected, strict=True)):
        assert relative_error(a, b) <= 1e-11, i


@samples
def test_gradients_float32_on_every_instruction_set(variant, sample):
    exact, single = on_reference(gradients, sample.arguments()), sample.arguments(torch.float32)
    same = on_reference(gradients, single)
    for i, (a, b, c) in enumerate(zip(gradients(single), same, exact, strict=True)):
        assert relative_error(a, c) <= 5 * relative_error(b, c) + 5 * OP[torch.float32], i


@small
def test_gradcheck(backend, sample):
    arguments = sample.arguments()
    leaves = [t.requires_grad_() for t in flat(arguments)]
    assert torch.autograd.gradcheck(lambda *t: call(with_tensors(arguments, t)), leaves, fast_mode=True)


@pytest.mark.parametrize("sample", EMPTY, ids=lambda s: s.name)
def test_nothing_to_do(backend, sample):
    arguments = sample.arguments()
    assert call(arguments).shape == (sample.batch, sample.points, 3)
    assert not any(gradient.any() for gradient in gradients(arguments))


@settings(max_examples=30, deadline=None)
@given(
    sample=st.builds(
        Sample,
        name=st.just("drawn"),
        batch=st.integers(0, 3),
        points=st.integers(0, 60),
        neighbours=st.integers(1, 9),
        rows=st.integers(1, 20),
        width=st.integers(1, 35).map(lambda n: 2 * n),
        layers=st.lists(st.integers(1, 70), min_size=1, max_size=4).map(tuple),
        cell=st.sampled_from(("", "point", "picture")),
        outside=st.booleans(),
        joined=st.booleans(),
        sliced=st.booleans(),
    ),
    seed=st.integers(0, 99),
)
@needs_extension
def test_any_shape(sample, seed):
    arguments = sample.arguments(seed=seed)
    with vinr.backend("cpu"):
        assert relative_error(call(arguments), on_reference(call, arguments)) <= 1e-11
        if sample.batch * sample.points == 0:
            return
        for a, b in zip(gradients(arguments), on_reference(gradients, arguments), strict=True):
            assert relative_error(a, b) <= 1e-10


def test_bad_amplitudes_elsewhere_do_not_count(backend):
    """Rows that no point reads may hold anything, and what lies outside reads none."""
    arguments = SAMPLES[0].arguments()
    for name in ("coef", "freq"):
        arguments[name][:, 0] = math.nan
    arguments["index"][arguments["index"] == 0] = -1
    out = call(arguments)
    assert out.isfinite().all()
    arguments["index"][0, 0, 0] = 0
    assert call(arguments)[0, 0].isnan().all()
    assert torch.equal(call(arguments)[0, 1:], out[0, 1:])


LONG = [  # several rounds of slabs
    Sample("long", batch=1, points=1601, width=40, layers=(33, 3), cell="point"),
    Sample("texture", points=3301, neighbours=1, weights=False, layers=(5,), width=32),
]
long = pytest.mark.parametrize("sample", LONG, ids=lambda s: s.name)


@long
def test_threads_do_not_change_anything(variant, sample):
    arguments, low = sample.arguments(torch.float32), sample.arguments(torch.bfloat16)

    def results():
        with torch.autocast("cpu", torch.bfloat16):
            rounded = gradients(arguments)
        return [call(arguments), *gradients(arguments), call(low), *rounded]

    assert_threads_change_nothing(results)


@needs_extension
@long
def test_several_rounds_of_slabs_in_float64(sample):
    arguments = sample.arguments()
    with vinr.backend("cpu"):
        assert_threads_change_nothing(lambda: [call(arguments), *gradients(arguments)])
        for a, b in zip(gradients(arguments), on_reference(gradients, arguments), strict=True):
            assert relative_error(a, b) <= 1e-11


@pytest.mark.parametrize("wanted", range(10))
def test_only_wanted_gradients(backend, wanted):
    arguments = Sample("all", cell="point").arguments()
    assert len(flat(arguments)) == 10
    (actual,), expected = gradients(arguments, [wanted]), on_reference(gradients, arguments)
    assert relative_error(actual, expected[wanted]) <= 1e-11


@needs_extension
def test_second_backward_says_what_to_do():
    arguments = SAMPLES[0].arguments()
    coef = arguments["coef"].requires_grad_()
    with vinr.backend("cpu"):
        (grad,) = torch.autograd.grad(call(arguments).sum(), coef, create_graph=True)
        with pytest.raises(NotImplementedError, match="no second derivative"):
            grad.sum().backward()


@needs_extension
def test_float16_is_computed_in_float32():
    arguments = SAMPLES[0].arguments(torch.float16)
    for name in ("freq", "relative", "phase"):
        arguments[name] = SAMPLES[0].arguments(torch.float32)[name]
    wide = with_tensors(arguments, [t.float() for t in flat(arguments)])
    with vinr.backend("cpu"):
        assert torch.equal(call(arguments), call(wide).half())
        with torch.autocast("cpu", dtype=torch.float16):
            assert torch.equal(call(wide), call(arguments))


@every
def test_bfloat16_rounds_operands_only(variant, sample):
    arguments = sample.arguments(torch.bfloat16)
    wide = with_tensors(arguments, [t.float() for t in flat(arguments)])
    exact = on_reference(call, with_tensors(arguments, [t.double() for t in flat(arguments)]))
    out = call(arguments)
    assert out.dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(call(wide), out)
    assert relative_error(out, exact) <= OP[torch.bfloat16]
    if out.numel() == 0 or variant not in ("avx512_bf16", "amx_bf16"):
        assert torch.equal(out, call(wide).bfloat16())
    elif sample.rows and sample.points > 1:
        assert not torch.equal(out, call(wide).bfloat16())  # it did round


@every
def test_gradients_of_rounded_operands(variant, sample):
    """Of the backward pass products are rounded too, where that is faster; its sums are not."""
    arguments = sample.arguments()
    exact, single = on_reference(gradients, arguments), sample.arguments(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(single)
    # What rounding all arguments does to the reference is the measure; other sums fall on the other side of a ReLU.
    rounded = on_reference(gradients, with_tensors(arguments, [t.bfloat16().double() for t in flat(arguments)]))
    difference = max(relative_error(a, e) for a, e in zip(found, exact, strict=True))
    measure = max(relative_error(r, e) for r, e in zip(rounded, exact, strict=True))
    assert difference <= 2 * measure + OP[torch.bfloat16]


@needs_extension
@pytest.mark.parametrize("sample", [SAMPLES[0], SAMPLES[2], SAMPLES[5], *EMPTY], ids=lambda s: s.name)
def test_opcheck(sample):
    *tensors, layers, weights = op_arguments(sample.arguments())
    grad = draw(sample.batch, sample.points, sample.layers[-1])
    mask = [True, True, True, bool(sample.cell), True, sample.weights]
    backward = (grad, *tensors, layers, weights, mask, "ieee")
    torch.library.opcheck(torch.ops.vinr.fourier_mlp_backward.default, backward)
    for t in (*tensors, *layers, weights):
        if t is not None and t.is_floating_point():
            t.requires_grad_()
    torch.library.opcheck(torch.ops.vinr.fourier_mlp.default, (*tensors, layers, weights, "ieee"))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("sample", [SAMPLES[2], SAMPLES[5]], ids=lambda s: s.name)
@needs_extension
def test_compiles_as_one_graph(sample, dynamic):
    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for points in (19, 33):
        arguments = Sample(**{**vars(sample), "points": points}).arguments(torch.float32)
        leaves = [t.requires_grad_() for t in flat(arguments)]
        actual, expected = compiled(arguments), call(arguments)
        torch.testing.assert_close(actual, expected)
        pairs = [torch.autograd.grad(out.sum(), leaves, materialize_grads=True) for out in (actual, expected)]
        torch.testing.assert_close(*pairs)


BAD = {
    "coef": (dict(coef=draw(2, 4, 4, 6)), r"coef must be \[B, P, D\], got \[2, 4, 4, 6\]"),
    "odd": (dict(coef=draw(2, 9, 5)), "coef must have an even number D of channels, cosines' and sines', got 5"),
    "freq": (dict(freq=draw(2, 9, 12)), r"freq must be \[B, P, D\] = \[2, 9, 6\], got \[2, 9, 12\]"),
    "index": (dict(index=torch.zeros(2, 17, dtype=torch.long)), r"index must be \[B, N, k\], got \[2, 17\]"),
    "positions": (dict(index=draw(2, 17, 4)), "index must hold whole numbers, got torch.float64"),
    "batch": (dict(index=torch.zeros(1, 17, 4, dtype=torch.long)), r"index must be \[B, N, k\] = \[2, 17, 4\]"),
    "none": (dict(index=torch.zeros(2, 17, 0, dtype=torch.long)), r"with k from 1 to 32, got 0"),
    "relative": (dict(relative=draw(2, 17, 2)), r"relative must be \[B, N, k, 2\] = \[2, 17, 4, 2\], got \[2, 17, 2\]"),
    "phase": (dict(phase=draw(6)), r"phase must be \[D / 2\] = \[3\], got \[6\]"),
    "phase of cells": (dict(cell=draw(2, 17, 2)), r"phase must be \[D / 2, X\] = \[3, 2\], got \[3\]"),
    "cell alone": (dict(cell=draw(2, 17, 2), phase=None), "cell needs phase"),
    "cell": (dict(cell=draw(2, 16, 2)), r"cell must be \[B, N, X\] or \[B, 1, X\] = \[2, 17, 2\], got \[2, 16, 2\]"),
    "no weights": (dict(weights=None), "weights are needed to mix k = 4 neighbours"),
    "weights": (dict(weights=draw(2, 17, 1)), r"weights must be \[B, N, k\] = \[2, 17, 4\]"),
    "no layers": (dict(layers=[]), "layers must hold one layer at least"),
    "layers": (dict(layers=[(draw(8, 5), draw(8))]), r"layers\[0\] weight must be \[out, in\] = \[8, 6\]"),
    "dtype": (dict(phase=draw(3).float()), "phase must be torch.float64, got torch.float32"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(backend, what):
    changes, message = BAD[what]
    arguments = dict(
        coef=draw(2, 9, 6), freq=draw(2, 9, 6), index=torch.zeros(2, 17, 4, dtype=torch.long),
        relative=draw(2, 17, 4, 2), phase=draw(3), layers=[(draw(8, 6), draw(8))], weights=draw(2, 17, 4),
    )  # fmt: skip
    with pytest.raises(ValueError, match="fourier_mlp: .*" + message):
        fourier_mlp(**(arguments | changes))


@needs_extension
@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, draw(2, 11, 6), "D must be a positive multiple of 32, got 6"),
        (1, draw(2, 12, 32), r"freq must be \[B, P, D\] = \[2, 11, 32\], got \[2, 12, 32\]"),
        (2, torch.zeros(2, 15, 4, dtype=torch.int32), "index must be int64"),
        (2, torch.zeros(2, 15, 33, dtype=torch.long), "k must be 1 to 32, got 33"),
        (3, draw(2, 15, 4, 2).float(), "relative must have the dtype of input"),
        (4, draw(16, 2), "phase must have one column where there is no cell, got 2"),
        (5, draw(2, 3, 1), r"cell must be \[B, N, X\] = \[2, 15, 1\], got \[2, 3, 1\]"),
        (6, [], "layers must hold one layer at least"),
        (7, draw(2, 15, 3), r"weights must be \[B, N, k\] = \[2, 15, 4\]"),
    ],
)
def test_the_compiled_op_checks_for_itself(position, value, message):
    arguments = list(op_arguments(SAMPLES[0].arguments()))
    arguments[position] = value
    with pytest.raises(RuntimeError, match=message):
        torch.ops.vinr.fourier_mlp(*arguments, "ieee")
