import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.sampled_mlp.samples import (
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
from vinr_engine.reference.sampling import sample_bilinear

sampled_mlp = vinr.ops.sampled_mlp
needs_extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
small = pytest.mark.parametrize("sample", SMALL, ids=lambda s: s.name)
every = pytest.mark.parametrize("sample", SAMPLES + EMPTY, ids=lambda s: s.name)


def draw(*shape):
    return torch.rand(shape, dtype=torch.float64) * 2 - 1


def loop_oracle(maps, positions, layers, x, x_weight, bias, modes, activation, omega):
    """The definition, one multiplication at a time."""
    D = maps[0].shape[1] if maps else x_weight.shape[0]
    B, N = (positions[0] if maps else x).shape[:2]
    act = {
        "sine": lambda z: math.sin(omega * z),
        "relu": lambda z: max(z, 0.0),
        "gelu": lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2,
    }[activation]
    out = torch.zeros(B, N, layers[-1][0].shape[0] if layers else D, dtype=torch.float64)
    for b, n in itertools.product(range(B), range(N)):
        z = [0.0 if bias is None else bias[d].item() for d in range(D)]
        for m, p, mode in zip(maps, positions, modes or ["bilinear"] * len(maps), strict=True):
            y, x_ = p[b, n].tolist()
            if mode == "nearest":
                taps = [(math.floor(y + 0.5), math.floor(x_ + 0.5), 1.0)]
            else:
                corners = itertools.product(*((math.floor(v), math.floor(v) + 1) for v in (y, x_)))
                taps = [(i, j, (1 - abs(y - i)) * (1 - abs(x_ - j))) for i, j in corners]
            for i, j, weight in taps:
                if 0 <= i < m.shape[2] and 0 <= j < m.shape[3]:
                    z = [a + weight * v for a, v in zip(z, m[b, :, i, j].tolist(), strict=True)]
        if x is not None:
            z = [a + v for a, v in zip(z, (x_weight @ x[b, n]).tolist(), strict=True)]
        for weight, layer_bias in layers:
            z = (weight @ torch.tensor([act(v) for v in z], dtype=torch.float64) + layer_bias).tolist()
        out[b, n] = torch.tensor(z, dtype=torch.float64)
    return out


@samples
def test_matches_the_definition(backend, sample):
    arguments = sample.arguments()
    assert relative_error(call(arguments), loop_oracle(*arguments[0], **arguments[1])) <= OP[torch.float64]


@every
def test_float32_on_every_instruction_set(variant, sample):
    exact = on_reference(call, sample.arguments())
    single = sample.arguments(torch.float32)
    # A rounding of a phase grows with every layer: what the reference loses in float32 is the measure.
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
    exact = on_reference(gradients, sample.arguments())
    single = sample.arguments(torch.float32)
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


@settings(max_examples=40, deadline=None)
@given(
    sample=st.builds(
        Sample,
        name=st.just("drawn"),
        batch=st.integers(0, 3),
        points=st.integers(0, 110),
        maps=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3).map(tuple),
        width=st.integers(1, 70),
        inputs=st.none() | st.integers(0, 20),
        bias=st.booleans(),
        layers=st.lists(st.integers(1, 70), max_size=4).map(tuple),
        activation=st.sampled_from(("sine", "relu", "gelu")),
        omega=st.sampled_from((1.0, 7.0)),
        sliced=st.booleans(),
    ),
    nearest=st.lists(st.booleans(), min_size=3, max_size=3),
    seed=st.integers(0, 99),
)
@needs_extension
def test_any_shape(sample, nearest, seed):
    arguments = sample.arguments(seed=seed)
    arguments[1]["modes"] = ["nearest" if n else "bilinear" for n in nearest[: len(sample.maps)]]
    with vinr.backend("cpu"):
        assert relative_error(call(arguments), on_reference(call, arguments)) <= 1e-11
        if sample.batch * sample.points == 0:
            return
        for a, b in zip(gradients(arguments), on_reference(gradients, arguments), strict=True):
            assert relative_error(a, b) <= 1e-10


@pytest.mark.parametrize("activation", ["sine", "relu", "gelu"])
def test_hoisting_is_exact(backend, activation):
    """Sample then project, as networks are written, equals project then sample."""
    raw = [draw(2, 5, 4, 7), draw(2, 2, 9, 3)]
    positions = [torch.stack([draw(2, 17) * m.shape[2], draw(2, 17) * m.shape[3]], -1) for m in raw]
    x, weight, bias, layers = draw(2, 17, 3), draw(6, 10), draw(6), [(draw(8, 6), draw(8)), (draw(3, 8), draw(3))]
    act = {"sine": lambda z: torch.sin(7.0 * z), "relu": F.relu, "gelu": F.gelu}[activation]
    sampled = [sample_bilinear(m, p[..., 0], p[..., 1]).transpose(1, 2) for m, p in zip(raw, positions, strict=True)]
    expected = F.linear(torch.cat([*sampled, x], -1), weight, bias)
    for w, b in layers:
        expected = F.linear(act(expected), w, b)
    parts = weight.split([5, 2, 3], 1)
    maps = [torch.einsum("dc,bchw->bdhw", w, m) for w, m in zip(parts, raw, strict=False)]
    actual = sampled_mlp(maps, positions, layers, x=x, x_weight=parts[2], bias=bias, activation=activation, omega=7.0)
    torch.testing.assert_close(actual, expected)


def test_gelu_everywhere(variant):
    z = torch.cat([torch.linspace(-20, 20, 4001), torch.tensor([0.0, -0.0, 1e30, -1e30, 1e-30, torch.inf])])
    one = torch.ones(1, 1)
    leaf = z[None, :, None].clone().requires_grad_()
    out = sampled_mlp([], [], [(one, torch.zeros(1))], x=leaf, x_weight=one, activation="gelu")
    exact = z.double()[:-1].requires_grad_()
    expected = F.gelu(exact)
    assert out[0, -1, 0] == torch.inf
    assert ((out[0, :-1, 0] - expected).abs() <= 1e-6 * expected.abs().clamp(min=1)).all()
    (slope,) = torch.autograd.grad(out.sum(), leaf)
    (expected,) = torch.autograd.grad(expected.sum(), exact)
    assert (slope[0, :-1, 0] - expected).abs().max() <= 1e-6
    nan = torch.full((1, 1, 1), torch.nan)
    for activation in ("sine", "relu", "gelu"):
        assert sampled_mlp([], [], [(one, one[0])], x=nan, x_weight=one, activation=activation).isnan().all()


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_wild_positions_read_zero(backend, mode, bad):
    arguments = Sample("wild", maps=((4, 5),), modes=(mode,), inputs=None, layers=(), bias=False).arguments()
    (positions,) = arguments[0][1]
    wild = [0, 7, 30, 57]
    positions.view(-1, 2)[wild[:2], 0] = bad
    positions.view(-1, 2)[wild[2:], 1] = bad
    out = call(arguments)
    assert torch.isfinite(out).all()
    assert not out.reshape(-1, 6)[wild].any()
    for gradient in gradients(arguments):
        assert torch.isfinite(gradient).all()
    assert not gradients(arguments)[1].reshape(-1, 2)[wild].any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_corners_outside_do_not_count_whatever_the_map_holds(variant, bad):
    """The first pixel is bad, positions lie all round the map, and so does the gradient of one far outside."""
    maps = draw(1, 19, 3, 4)
    maps[:, :, 0, 0] = bad
    positions = torch.cartesian_prod(torch.linspace(-1.5, 3.5, 11), torch.linspace(-1.5, 4.5, 13)).double()[None]
    positions[0, -1] = math.nan
    weights = draw(1, 143, 19)
    weights[0, [0, -1]] = math.nan

    def results(dtype):
        leaves = [t.to(dtype).requires_grad_() for t in (maps, positions)]
        out = sampled_mlp(leaves[:1], leaves[1:], [])
        return [out, *torch.autograd.grad(out, leaves, weights.to(dtype))]

    expected = on_reference(results, torch.float64)
    for actual, wanted in zip(results(torch.float32), expected, strict=True):
        assert torch.equal(actual.isfinite(), wanted.isfinite())
        finite = wanted.isfinite()
        assert finite.any()
        assert relative_error(actual[finite], wanted[finite]) <= OP[torch.float32]
    assert not expected[0].isfinite().all()
    assert expected[1].isfinite().all()  # of the map: what is read outside gives it nothing


def test_nearest_rounds_halves_up(backend):
    values = torch.arange(1.0, 5.0).view(1, 1, 1, 4)
    x = torch.tensor([-0.6, -0.5, 0.0, 0.49, 0.5, 1.5, 2.5, 3.49, 3.5])
    positions = torch.stack([torch.zeros(9), x], -1)[None]
    out = sampled_mlp([values], [positions], [], modes=["nearest"])
    assert out.flatten().tolist() == [0, 1, 1, 1, 2, 3, 4, 4, 0]


LONG = [  # several rounds of slabs; an odd number of rows
    Sample("long", batch=1, points=7001, maps=((9, 9), (3, 4)), width=45, layers=(33, 3)),
    Sample(
        "both_modes", points=1501, maps=((7, 5), (3, 4)), modes=("nearest", "bilinear"), layers=(5,), activation="gelu"
    ),
    Sample("no_layers", batch=3, points=613, maps=((9, 9),), layers=(), inputs=None),
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
def test_threads_do_not_change_anything_in_float64(sample):
    arguments = sample.arguments()
    with vinr.backend("cpu"):
        assert_threads_change_nothing(lambda: [call(arguments), *gradients(arguments)])


def test_gradients_over_several_rounds_of_slabs(backend):
    arguments = Sample("long", points=3500, maps=((5, 4),), width=16, layers=(3,)).arguments()
    for a, b in zip(gradients(arguments), on_reference(gradients, arguments), strict=True):
        assert relative_error(a, b) <= 1e-11


@pytest.mark.parametrize("wanted", range(9))
def test_only_wanted_gradients(backend, wanted):
    arguments = SAMPLES[0].arguments()
    assert len(flat(arguments)) == 9
    (actual,), expected = gradients(arguments, [wanted]), on_reference(gradients, arguments)
    assert relative_error(actual, expected[wanted]) <= 1e-11


def test_channels_last_maps(backend):
    arguments = SAMPLES[0].arguments()
    maps = [m.contiguous(memory_format=torch.channels_last) for m in arguments[0][0]]
    assert torch.equal(call(((maps, *arguments[0][1:]), arguments[1])), call(arguments))


def test_an_expanded_gradient(backend):
    arguments = SAMPLES[0].arguments()
    m = arguments[0][0][0].requires_grad_()
    (actual,) = torch.autograd.grad(call(arguments).sum(), m)
    (expected,) = torch.autograd.grad(call(arguments), m, torch.ones(2, 29, 3, dtype=m.dtype))
    torch.testing.assert_close(actual, expected)


@needs_extension
def test_second_backward_says_what_to_do():
    arguments = SAMPLES[0].arguments()
    m = arguments[0][0][0].requires_grad_()
    with vinr.backend("cpu"):
        (grad,) = torch.autograd.grad(call(arguments).sum(), m, create_graph=True)
        with pytest.raises(NotImplementedError, match="no second derivative"):
            grad.sum().backward()


@needs_extension
def test_float16_is_computed_in_float32():
    arguments = SAMPLES[0].arguments(torch.float16)
    arguments[0][1][0] = SAMPLES[0].arguments(torch.float32)[0][1][0]
    wide = with_tensors(arguments, [t.float() for t in flat(arguments)])
    with vinr.backend("cpu"):
        assert torch.equal(call(arguments), call(wide).half())
        with torch.autocast("cpu", dtype=torch.float16):
            assert torch.equal(call(wide), call(arguments))


@every
def test_bfloat16_rounds_operands_only(variant, sample):
    arguments = sample.arguments(torch.bfloat16)
    arguments[0][1][:] = sample.arguments(torch.float32)[0][1]
    wide = with_tensors(arguments, [t.float() for t in flat(arguments)])
    exact = on_reference(call, with_tensors(arguments, [t.double() for t in flat(arguments)]))
    out = call(arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(call(wide), out)
    # A rounding of a phase grows with every layer: what rounding each activation does to the reference is the measure.
    assert relative_error(out, exact) <= 2 * relative_error(on_reference(call, arguments), exact) + OP[torch.bfloat16]
    if out.numel() == 0 or variant not in ("avx512_bf16", "amx_bf16"):
        assert torch.equal(out, call(wide).bfloat16())
    elif sample.layers:
        assert not torch.equal(out, call(wide).bfloat16())  # it did round


@every
def test_gradients_of_rounded_operands(variant, sample):
    """Of the backward pass products are rounded too, where that is faster; its sums are not."""
    arguments = sample.arguments()
    exact, single = on_reference(gradients, arguments), sample.arguments(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(single)
    # What rounding all arguments does to the reference is the measure.
    rounded = on_reference(gradients, with_tensors(arguments, [t.bfloat16().double() for t in flat(arguments)]))
    difference = max(relative_error(a, e) for a, e in zip(found, exact, strict=True))
    assert difference <= max(relative_error(r, e) for r, e in zip(rounded, exact, strict=True))


@needs_extension
@every
def test_opcheck(sample):
    arguments = sample.arguments()
    for tensor in flat(arguments):
        tensor.requires_grad_()
    maps, *rest = op_arguments(arguments)
    maps = [m.detach().requires_grad_() for m in maps]
    torch.library.opcheck(torch.ops.vinr.sampled_mlp.default, (maps, *rest, "ieee"))
    detached = op_arguments(with_tensors(arguments, [t.detach() for t in flat(arguments)]))
    grad = torch.rand(sample.batch, sample.points, (sample.width, *sample.layers)[-1], dtype=torch.float64)
    mask = [True, True, sample.name != "plain", sample.bias]
    torch.library.opcheck(torch.ops.vinr.sampled_mlp_backward.default, (grad, *detached, mask, "ieee"))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("sample", [SAMPLES[0], SAMPLES[4], SAMPLES[6], SAMPLES[7]], ids=lambda s: s.name)
def test_compiles_as_one_graph(backend, sample, dynamic):
    if backend == "reference" and sample.name != "both_modes":
        pytest.skip("plain torch, and slow to trace")
    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for points in (29, 53):
        arguments = Sample(**{**vars(sample), "points": points}).arguments(torch.float32)
        leaves = [t.requires_grad_() for t in flat(arguments)]
        actual, expected = compiled(arguments), call(arguments)
        torch.testing.assert_close(actual, expected)
        pairs = [torch.autograd.grad(out.sum(), leaves, materialize_grads=True) for out in (actual, expected)]
        torch.testing.assert_close(*pairs)


BAD = {
    "activation": (dict(activation="tanh"), r"activation must be one of \['gelu', 'relu', 'sine'\], got 'tanh'"),
    "no positions": (dict(positions=[]), "as many positions and modes as maps are needed, got 0, 1 and 1"),
    "modes": (dict(modes=["cubic"]), r"modes must be of \['bilinear', 'nearest'\], got \['cubic'\]"),
    "modes' count": (dict(modes=["nearest"] * 2), "as many positions and modes as maps"),
    "x alone": (dict(x=None), "x and x_weight must be given together"),
    "nothing": (dict(maps=[], positions=[], x=None, x_weight=None), "a map or x is needed"),
    "maps": (dict(maps=[draw(2, 6, 4)]), r"maps\[0\] must be \[B, D, H, W\], got \[2, 6, 4\]"),
    "empty map": (dict(maps=[draw(2, 6, 0, 4)]), r"maps\[0\] must have pixels"),
    "positions": (dict(positions=[draw(2, 17, 3)]), r"positions\[0\] must be \[B, N, 2\] = \[2, 17, 2\]"),
    "x": (dict(x=draw(2, 16, 3)), r"x must be \[B, N, X\] = \[2, 17, 3\], got \[2, 16, 3\]"),
    "bias": (dict(bias=draw(7)), r"bias must be \[D\] = \[6\]"),
    "layers": (dict(layers=[(draw(8, 5), draw(8))]), r"layers\[0\] weight must be \[out, in\] = \[8, 6\]"),
    "x_weight": (dict(x_weight=draw(5, 3)), r"x_weight must be \[D, X\] = \[6, 3\]"),
    "dtype": (dict(bias=draw(6).float()), "bias must be torch.float64, got torch.float32"),
    "whole numbers": (dict(positions=[draw(2, 17, 2).long()]), r"positions\[0\] must hold floating-point numbers"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(backend, what):
    changes, message = BAD[what]
    arguments = dict(
        maps=[draw(2, 6, 4, 7)], positions=[draw(2, 17, 2)], layers=[(draw(8, 6), draw(8))], x=draw(2, 17, 3),
        x_weight=draw(6, 3), bias=draw(6),
    )  # fmt: skip
    with pytest.raises(ValueError, match="sampled_mlp: " + message):
        sampled_mlp(**(arguments | changes))


@needs_extension
@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, [draw(2, 4, 7)], r"maps must be \[B, H, W, D\], got \[2, 4, 7\]"),
        (0, [draw(2, 0, 7, 6)], "a map must have pixels"),
        (1, [draw(2, 29, 3)], r"positions must be \[B, N, 2\] = \[2, 29, 2\]"),
        (1, [], "maps, positions and nearest must be as many, got 1, 0 and 1"),
        (3, draw(2, 29, 3).float(), "x must have the dtype of input"),
        (4, None, "x and x_weight must be given together"),
        (6, [draw(8, 6)], "layers must hold weight and bias of each layer, got 3 tensors"),
        (6, [draw(8, 5), draw(8)], r"layers must be \[out, in\] = \[8, 6\], got \[8, 5\]"),
        (7, "tanh", "activation must be sine, relu or gelu, got tanh"),
    ],
)
def test_the_compiled_op_checks_for_itself(position, value, message):
    arguments = list(op_arguments(SAMPLES[0].arguments()))
    arguments[position] = value
    with pytest.raises(RuntimeError, match=message):
        torch.ops.vinr.sampled_mlp(*arguments, "ieee")
