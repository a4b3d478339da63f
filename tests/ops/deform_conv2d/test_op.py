import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import golden_cases
import vinr_engine as vinr
from benchmarks.tolerances import GOLDEN, GOLDEN_GRADIENT, OP, relative_error
from ops.deform_conv2d.samples import SAMPLES, Sample
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference

deform_conv2d = vinr.ops.deform_conv2d
GOLDEN_NAMES = ("plain3x3", "vinr64", "stride2", "dilated", "v1_nomask", "one_by_one")
ARGUMENTS = ("input", "offset", "weight", "bias", "mask")
needs_extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)


def loop_oracle(input, offset, weight, bias, mask, stride, padding, dilation):
    """The definition, one multiplication at a time."""
    (B, C, H, W), (O, group_channels, kh, kw) = input.shape, weight.shape
    oh, ow = offset.shape[2:]
    K, G = kh * kw, offset.shape[1] // (2 * kh * kw)
    out_group = O // (C // group_channels)
    out = torch.zeros(B, O, oh, ow, dtype=torch.float64)
    for b, o, i, j in itertools.product(range(B), range(O), range(oh), range(ow)):
        total = 0.0 if bias is None else bias[o].item()
        for c, tap in itertools.product(range(group_channels), range(K)):
            channel = o // out_group * group_channels + c
            g = channel // (C // G)
            dy, dx = (offset[b, 2 * (g * K + tap) + axis, i, j].item() for axis in (0, 1))
            y = i * stride[0] - padding[0] + tap // kw * dilation[0] + dy
            x = j * stride[1] - padding[1] + tap % kw * dilation[1] + dx
            value = 0.0
            for yi, xi in itertools.product((math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)):
                if 0 <= yi < H and 0 <= xi < W:
                    value += input[b, channel, yi, xi].item() * (1 - abs(y - yi)) * (1 - abs(x - xi))
            modulation = 1.0 if mask is None else mask[b, g * K + tap, i, j].item()
            total += weight[o, c, tap // kw, tap % kw].item() * modulation * value
        out[b, o, i, j] = total
    return out


def run(tensors, geometry):
    input, offset, weight, bias, mask = tensors
    return deform_conv2d(input, offset, weight, bias, *geometry, mask)


def gradients(tensors, geometry, grad_output):
    leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
    given = [t for t in leaves if t is not None]
    return torch.autograd.grad(run(leaves, geometry), given, grad_output)


@samples
def test_matches_the_definition(backend, sample):
    tensors = sample.tensors()
    expected = loop_oracle(*tensors, *sample.geometry)
    assert relative_error(run(tensors, sample.geometry), expected) <= OP[torch.float64]
    single = [None if t is None else t.float() for t in tensors]
    assert relative_error(run(single, sample.geometry), expected) <= OP[torch.float32]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_golden(backend, name, dtype):
    case = {k.split("/")[1]: v for k, v in golden_cases.load("deform_conv2d").items() if k.startswith(name + "/")}
    geometry = tuple(map(tuple, case["stride_padding_dilation"].tolist()))
    tensors = [torch.from_numpy(case[a]).to(dtype) if a in case else None for a in ARGUMENTS]
    assert (run(tensors, geometry) - torch.from_numpy(case["out"])).abs().max() <= GOLDEN[dtype]
    grads = gradients(tensors, geometry, torch.from_numpy(case["grad_out"]).to(dtype))
    names = [a for a in ARGUMENTS if a in case]
    for argument, grad in zip(names, grads, strict=True):
        assert relative_error(grad, torch.from_numpy(case["grad_" + argument])) <= GOLDEN_GRADIENT[dtype], argument


@samples
def test_gradients_match_the_reference(backend, sample):
    tensors = sample.tensors(seed=1)
    grad_output = torch.rand(sample.batch, sample.out_channels, *sample.out_size, dtype=torch.float64)
    with vinr.backend("reference"):
        expected = gradients(tensors, sample.geometry, grad_output)
    for actual, wanted in zip(gradients(tensors, sample.geometry, grad_output), expected, strict=True):
        assert relative_error(actual, wanted) <= OP[torch.float64]


@pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s.name in ("groups", "stride", "no_mask")], ids=lambda s: s.name
)
def test_gradcheck(backend, sample):
    leaves = [None if t is None else t.requires_grad_() for t in sample.tensors()]
    assert torch.autograd.gradcheck(lambda *t: run(t, sample.geometry), leaves, fast_mode=True)


@needs_extension
@samples
def test_opcheck(sample):
    tensors = [None if t is None else t.detach().requires_grad_() for t in sample.tensors()]
    geometry = [list(pair) for pair in sample.geometry]
    torch.library.opcheck(torch.ops.vinr.deform_conv2d.default, (*tensors, *geometry, "ieee"))
    input, offset, weight, bias, mask = sample.tensors()
    grad = torch.rand(sample.batch, sample.out_channels, *sample.out_size, dtype=torch.float64)
    wanted = [True, False, True, True, mask is not None]
    arguments = (grad, input, offset, weight, mask, *geometry, wanted, "ieee")
    torch.library.opcheck(torch.ops.vinr.deform_conv2d_backward.default, arguments)


@needs_extension
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_as_one_graph(dynamic):
    compiled = torch.compile(run, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for size in ((5, 6), (7, 4)):
        sample = Sample("compiled", size=size, offset_groups=2)
        tensors = [t.requires_grad_() for t in sample.tensors()]
        expected, actual = run(tensors, sample.geometry), compiled(tensors, sample.geometry)
        torch.testing.assert_close(actual, expected)
        for a, b in zip(*(torch.autograd.grad(o.sum(), tensors) for o in (actual, expected)), strict=True):
            torch.testing.assert_close(a, b)


@needs_extension
@pytest.mark.parametrize("mask", [True, False])
def test_threads_do_not_change_anything_in_float64(mask):
    sample = Sample(
        "threads", batch=3, channels=6, size=(19, 21), out_channels=10, groups=2, offset_groups=3, mask=mask
    )
    tensors = sample.tensors()
    grad = torch.rand(3, 10, *sample.out_size, dtype=torch.float64)
    with vinr.backend("cpu"):
        assert_threads_change_nothing(
            lambda: [run(tensors, sample.geometry), *gradients(tensors, sample.geometry, grad)]
        )


@needs_extension
def test_only_wanted_gradients_are_computed():
    input, offset, weight, bias, mask = Sample("wanted").tensors()
    pairs = ([1, 1], [1, 1], [1, 1])
    grad = torch.ones(1, 4, 5, 6, dtype=torch.float64)
    for wanted in itertools.product((False, True), repeat=5):
        grads = torch.ops.vinr.deform_conv2d_backward(grad, input, offset, weight, mask, *pairs, list(wanted), "ieee")
        assert [g.numel() > 0 for g in grads] == list(wanted)


def test_expanded_gradient(backend):
    sample = Sample("expanded")
    leaves = [t.requires_grad_() for t in sample.tensors()]
    actual = torch.autograd.grad(run(leaves, sample.geometry).sum(), leaves)
    expected = gradients(sample.tensors(), sample.geometry, torch.ones(1, 4, 5, 6, dtype=torch.float64))
    assert all(torch.allclose(a, b) for a, b in zip(actual, expected, strict=True))


@needs_extension
def test_second_backward_says_what_to_do():
    sample = Sample("second")
    leaves = [t.requires_grad_() for t in sample.tensors()]
    with vinr.backend("cpu"):
        (grad,) = torch.autograd.grad(run(leaves, sample.geometry).sum(), leaves[:1], create_graph=True)
        with pytest.raises(NotImplementedError, match="no second derivative"):
            grad.sum().backward()


def test_second_derivative_of_the_reference():
    sample = Sample("second", size=(2, 3), channels=2, out_channels=1)
    leaves = [t.requires_grad_() for t in sample.tensors()]
    with vinr.backend("reference"):
        assert torch.autograd.gradgradcheck(lambda *t: run(t, sample.geometry), leaves, fast_mode=True)


@pytest.mark.parametrize("position", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 3e9])
def test_positions_far_outside_read_zero(backend, position):
    sample = Sample("outside")
    input, offset, weight, bias, mask = sample.tensors(torch.float32)
    offset = torch.full_like(offset, position)
    out = run((input, offset, weight, bias, mask), sample.geometry)
    assert torch.equal(out, bias.reshape(1, -1, 1, 1).expand_as(out))
    grads = gradients((input, offset, weight, bias, mask), sample.geometry, torch.ones_like(out))
    for grad, name in zip(grads, ARGUMENTS, strict=True):
        assert torch.isfinite(grad).all(), name
        assert name == "bias" or not grad.any(), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision(backend, dtype):
    sample = Sample("low", batch=2, offset_groups=2)
    input, offset, weight, bias, mask = sample.tensors(dtype)
    expected = run([t.double() for t in (input, offset, weight, bias, mask)], sample.geometry)
    out = run((input, offset, weight, bias, mask), sample.geometry)
    assert out.dtype == dtype
    assert relative_error(out, expected) <= OP[dtype]
    # Coordinates in float32 beside features in low precision, as under autocast.
    assert run((input, offset.float(), weight, bias, mask.float()), sample.geometry).dtype == dtype


def test_autocast_keeps_offsets(backend):
    sample = Sample("autocast")
    tensors = sample.tensors(torch.float32)
    tensors[1].add_(100.3).sub_(100.0)  # an offset that bfloat16 would round visibly
    expected = run([t.double() for t in tensors], sample.geometry)
    with torch.autocast("cpu", torch.bfloat16):
        out = run(tensors, sample.geometry)
    assert out.dtype == torch.bfloat16
    assert relative_error(out, expected) <= OP[torch.bfloat16]


@st.composite
def any_sample(draw):
    small = st.integers(1, 3)
    pair = st.tuples(small, small)
    groups, offset_groups = draw(small), draw(small)
    kernel, dilation, padding = draw(pair), draw(pair), draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    size = tuple(
        draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), 9)) for d, k, p in zip(dilation, kernel, padding, strict=True)
    )
    return Sample(
        "any",
        batch=draw(st.integers(0, 2)),
        channels=groups * offset_groups * draw(st.integers(1, 2)),
        size=size,
        out_channels=groups * draw(st.integers(1, 2)),
        kernel=kernel,
        stride=draw(pair),
        padding=padding,
        dilation=dilation,
        groups=groups,
        offset_groups=offset_groups,
        mask=draw(st.booleans()),
        bias=draw(st.booleans()),
        sliced=draw(st.booleans()),
        spread=draw(st.sampled_from((0.0, 0.5, 4.0))),
    )


@needs_extension
@settings(max_examples=60, deadline=None)
@given(sample=any_sample(), seed=st.integers(0, 1000))
def test_any_shape(sample, seed):
    tensors = sample.tensors(seed=seed)
    input, offset, weight, bias, mask = tensors
    expected = reference.deform_conv2d(input, offset, weight, bias, *sample.geometry, mask)
    with vinr.backend("cpu"):
        actual = run(tensors, sample.geometry)
        grads = gradients(tensors, sample.geometry, expected)
    torch.testing.assert_close(actual, expected)
    with vinr.backend("reference"):
        for a, b in zip(grads, gradients(tensors, sample.geometry, expected), strict=True):
            torch.testing.assert_close(a, b)


BAD = {
    "rank": (dict(input=torch.zeros(4, 5, 6)), r"input must be \[B, C, H, W\], got \[4, 5, 6\]"),
    "offset": (
        dict(offset=torch.zeros(1, 18, 5, 7)),
        r"offset must be \[B, 2\*G\*K, H, W\] = \[1, 18, 5, 6\], got \[1, 18, 5, 7\]",
    ),
    "offset channels": (dict(offset=torch.zeros(1, 20, 5, 6)), r"offset channels must be 2\*G\*K with K = 9"),
    "mask": (dict(mask=torch.zeros(1, 8, 5, 6)), r"mask must be \[B, G\*K, H, W\] = \[1, 9, 5, 6\]"),
    "weight": (dict(weight=torch.zeros(4, 3, 3, 3)), r"input channels must be a multiple of weight.shape\[1\]"),
    "groups": (dict(weight=torch.zeros(5, 1, 3, 3)), r"output channels must be a multiple of groups = 4"),
    "bias": (dict(bias=torch.zeros(5)), r"bias must be \[O\] = \[4\], got \[5\]"),
    "dtype": (
        dict(offset=torch.zeros(1, 18, 5, 6, dtype=torch.float64)),
        r"offset must be torch.float32, got torch.float64",
    ),
    "integers": (dict(input=torch.zeros(1, 4, 5, 6, dtype=torch.int64)), r"input must hold floating-point numbers"),
    "device": (dict(mask=torch.zeros(1, 9, 5, 6, device="meta")), r"mask must be on cpu, got meta"),
    "stride": (dict(stride=0), r"stride must be at least 1, got 0"),
    "padding": (dict(padding=(0, -1)), r"padding must be at least 0"),
    "too large": (dict(dilation=9), r"the dilated kernel must fit the padded input"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(backend, what):
    changes, message = BAD[what]
    arguments = dict(zip(ARGUMENTS, Sample("bad").tensors(torch.float32), strict=True), padding=1)
    with pytest.raises(ValueError, match="deform_conv2d: " + message):
        deform_conv2d(**(arguments | changes))


@pytest.mark.parametrize(("at", "name"), [(0, "stride"), (2, "dilation")])
def test_a_geometry_that_cannot_be_is_refused_without_values_too(at, name):
    input, offset, weight, *_ = Sample("bad").tensors(torch.float32)
    geometry = [[1, 1], [1, 1], [1, 1]]
    geometry[at] = [1, 0]
    with pytest.raises(ValueError, match=f"deform_conv2d: {name} must be at least 1"):
        torch.ops.vinr.deform_conv2d(*(t.to("meta") for t in (input, offset, weight)), None, None, *geometry, "ieee")


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_input_without_pixels(backend, size):
    # padding alone makes output pixels, whose corners would be read from no memory
    offset = torch.zeros(1, 2, size[0] + 2, size[1] + 2)
    arguments = torch.zeros(1, 1, *size), offset, torch.ones(1, 1, 1, 1)
    with pytest.raises(ValueError, match="deform_conv2d: input must have pixels"):
        deform_conv2d(*arguments, padding=1)
    if backends.extension().path is not None:
        with pytest.raises(RuntimeError, match="input must have pixels"):
            torch.ops.vinr.deform_conv2d(*arguments, None, None, [1, 1], [1, 1], [1, 1], "ieee")


@needs_extension
def test_the_compiled_op_checks_for_itself():
    input, offset, weight, bias, mask = Sample("bad").tensors(torch.float32)
    one = [1, 1]
    with pytest.raises(
        RuntimeError, match=r"offset must be \[B, 2\*G\*K, H, W\] = \[1, 18, 5, 6\], got \[1, 18, 5, 5\]"
    ):
        torch.ops.vinr.deform_conv2d(input, offset[..., :5], weight, bias, mask, one, one, one, "ieee")
    with pytest.raises(RuntimeError, match="weight must have the dtype of input"):
        torch.ops.vinr.deform_conv2d(input, offset, weight.double(), bias, mask, one, one, one, "ieee")
    half = [t.half() for t in (input, offset, weight, bias, mask)]
    with pytest.raises(RuntimeError, match="must be float32 or float64"):
        torch.ops.vinr.deform_conv2d(*half, one, one, one, "ieee")
    with pytest.raises(RuntimeError, match="operands must be ieee, tf32x3, tf32, float16 or bfloat16, got half"):
        torch.ops.vinr.deform_conv2d(input, offset, weight, bias, mask, one, one, one, "half")
    expected = torch.ops.vinr.deform_conv2d(input, offset, weight, bias, mask, one, one, one, "ieee")
    for operands in ("tf32x3", "tf32", "float16"):  # a CPU takes what is more exact
        actual = torch.ops.vinr.deform_conv2d(input, offset, weight, bias, mask, one, one, one, operands)
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_result_can_be_changed_in_place(backend, dtype, memory_format):
    sample = Sample("in place")
    leaves = [t.to(dtype).requires_grad_() for t in sample.tensors()]
    given = [leaves[0].contiguous(memory_format=memory_format), *leaves[1:]]
    out = torch.nn.functional.leaky_relu(run(given, sample.geometry), 0.1, inplace=True)
    same = torch.nn.functional.leaky_relu(run(given, sample.geometry), 0.1)
    for a, b in zip(*(torch.autograd.grad(o.sum(), leaves) for o in (out, same)), strict=True):
        torch.testing.assert_close(a, b)
