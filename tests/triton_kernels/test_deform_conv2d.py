import dataclasses
import itertools

import pytest
import torch
from vinr_engine.kernels import _runtime

import vinr_engine as vinr
from ops.deform_conv2d_samples import LARGER, SAMPLES, Sample
from tolerances import OP, OP_GRADIENT, relative_error
from vinr_engine import reference

if _runtime.unavailable():
    pytest.skip(_runtime.unavailable(), allow_module_level=True)

from vinr_engine.kernels import deform_conv2d_launch

SMALL = Sample("small", channels=8, size=(2, 3), kernel=(2, 1), padding=(1, 0), offset_groups=2)
ARGUMENTS = ("input", "offset", "weight", "bias", "mask")
LOW = (torch.float16, torch.bfloat16)
# Many programs, of which each takes the interpreter a while.
SLOW = ("offset_groups_across_groups", "depthwise", "tile_edges", "far_offsets", "stride", "dilation", "even_kernel")


def listed(quick=None):
    """The op's whole list of samples; those that are not quick are slow."""
    quick = quick or {s.name for s in SAMPLES} - set(SLOW)
    return [pytest.param(s, id=s.name, marks=[] if s.name in quick else [pytest.mark.slow]) for s in SAMPLES + LARGER]


def named(name):
    return next(s for s in SAMPLES + LARGER if s.name == name)


@pytest.fixture(autouse=True)
def device(triton_device):
    with vinr.backend("triton"):
        yield triton_device


def unpacked(tensors, geometry):
    input, offset, weight, bias, mask = tensors
    return vinr.ops.deform_conv2d(input, offset, weight, bias, *geometry, mask)


def packed(tensors, geometry):
    return vinr.ops.deform_conv2d_packed(*tensors, *geometry)


def gradients(function, tensors, geometry, grad_output):
    leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
    out = function(leaves, geometry)
    return out, torch.autograd.grad(out, [t for t in leaves if t is not None], grad_output)


def moved(tensors, device, layout=torch.contiguous_format):
    return [
        t if t is None else t.to(device).contiguous(memory_format=layout if t.dim() == 4 else torch.preserve_format)
        for t in tensors
    ]


def check(function, tensors, geometry, device):
    """Output and every gradient against the reference in float64."""
    wide = [None if t is None else t.double() for t in tensors]
    shape = tensors[0].shape[0], tensors[2].shape[0], *tensors[1].shape[2:]
    grad_output = torch.rand(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64) - 0.5
    dtype = tensors[0].dtype
    with vinr.backend("reference"):
        expected, wanted = gradients(function, wide, geometry, grad_output.to(dtype).double())
    given = [None if t is None else t.to(device) for t in tensors]
    actual, grads = gradients(function, given, geometry, grad_output.to(device, dtype))
    assert actual.dtype == dtype
    assert relative_error(actual.cpu(), expected) <= OP[dtype]
    for grad, want, tensor in zip(grads, wanted, [t for t in given if t is not None], strict=True):
        assert grad.dtype == tensor.dtype
        assert relative_error(grad.cpu(), want) <= OP_GRADIENT[dtype]


@pytest.mark.parametrize("sample", listed())
def test_matches_the_reference(sample, device):
    check(unpacked, sample.tensors(torch.float32, seed=1), sample.geometry, device)


@pytest.mark.parametrize("sample", listed(quick=("groups", "one_by_one")))
def test_packed_matches_the_reference(sample, device):
    layout = torch.contiguous_format if sample.sliced else torch.channels_last
    check(packed, moved(sample.packed(torch.float32, seed=2), device, layout), sample.geometry, device)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("sample", listed(quick=("no_mask", "sliced")))
def test_low_precision(sample, dtype, device):
    check(unpacked, sample.tensors(dtype, seed=3), sample.geometry, device)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("name", ["one_by_one", pytest.param("published", marks=pytest.mark.slow)])
def test_packed_in_low_precision(name, dtype, device):
    """With coordinates in the features' precision and in float32, as under autocast."""
    sample = named(name)
    input, offset_mask, weight, bias = moved(sample.packed(dtype, seed=4), device, torch.channels_last)
    check(packed, (input, offset_mask.float(), weight, bias), sample.geometry, device)
    check(packed, (input, offset_mask, weight, bias), sample.geometry, device)


@pytest.mark.parametrize("sample", [Sample("two_runs", channels=16, offset_groups=2, mask=False), named("groups")])
def test_autocast_casts_features_alone(sample, device):
    tensors = moved(sample.tensors(torch.float32), device)
    tensors[1].add_(100.3).sub_(100.0)  # offsets that bfloat16 would round visibly
    with vinr.backend("reference"):
        expected = unpacked([None if t is None else t.double() for t in tensors], sample.geometry)
    with torch.autocast(device, torch.bfloat16):
        out = unpacked(tensors, sample.geometry)
    assert out.dtype == torch.bfloat16
    assert relative_error(out, expected) <= OP[torch.bfloat16]


def test_input_precision_reaches_forward_and_backward(device):
    sample = dataclasses.replace(SMALL, channels=16, out_channels=16)
    tensors = moved(sample.tensors(torch.float32, seed=5), device)
    grad_output = torch.rand(1, 16, *sample.out_size, device=device) - 0.5
    with vinr.backend("reference"):
        expected = [t.double() for t in gradients(unpacked, tensors, sample.geometry, grad_output)[1]]
        exact = unpacked([t.double() for t in tensors], sample.geometry)
    for precision in ("tf32", "tf32x3"):
        with vinr.input_precision(precision):
            leaves = [t.detach().requires_grad_() for t in tensors]
            out = unpacked(leaves, sample.geometry)
        grads = torch.autograd.grad(out, leaves, grad_output)  # outside the block
        errors = [relative_error(a, b) for a, b in zip((out, *grads), (exact, *expected), strict=True)]
        del errors[ARGUMENTS.index("weight") + 1 : ARGUMENTS.index("bias") + 2]  # three products, and a sum
        low, high = (3e-5, 3e-3) if precision == "tf32" else (0, OP[torch.float32])
        assert all(low <= e <= high for e in errors), (precision, errors)


@pytest.mark.parametrize("position", [float("nan"), float("inf"), -float("inf"), 1e30, 3e9])
def test_positions_far_outside_read_zero(position, device):
    sample = SMALL
    input, offset, weight, bias, mask = moved(sample.tensors(torch.float32), device)
    offset = torch.full_like(offset, position)
    ones = torch.ones(1, 4, *sample.out_size, device=device)
    out, grads = gradients(unpacked, (input, offset, weight, bias, mask), sample.geometry, ones)
    assert torch.equal(out, bias.reshape(1, -1, 1, 1).expand_as(out))
    for grad, name in zip(grads, ARGUMENTS, strict=True):
        assert torch.isfinite(grad).all(), name
        assert name == "bias" or not grad.any(), name


@pytest.mark.parametrize("logit", [float("inf"), -float("inf"), 200.0, -200.0])
def test_extreme_mask_logits(logit, device):
    sample = SMALL
    input, offset_mask, weight, bias = moved(sample.packed(torch.float32), device)
    offset_mask[:, 8:] = logit
    ones = torch.ones(1, 4, *sample.out_size, device=device)
    out, grads = gradients(packed, (input, offset_mask, weight, bias), sample.geometry, ones)
    expected = reference.deform_conv2d_packed(input, offset_mask, weight, bias, *sample.geometry)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert all(g.isfinite().all() for g in grads)


def test_results_take_the_memory_format_of_their_argument(device):
    sample = dataclasses.replace(SMALL, batch=2)
    for formats in ((0, 1, 0), (1, 0, 0), (1, 1, 1)):
        layout = [(torch.contiguous_format, torch.channels_last)[f] for f in formats]
        tensors = moved(sample.packed(torch.float32), device)
        tensors[:2] = (t.contiguous(memory_format=f) for t, f in zip(tensors[:2], layout, strict=False))
        grad_output = torch.ones(2, 4, *sample.out_size, device=device).contiguous(memory_format=layout[2])
        out, grads = gradients(packed, tensors, sample.geometry, grad_output)
        assert out.is_contiguous(memory_format=layout[0])
        assert [g.stride() for g in grads[:2]] == [t.stride() for t in tensors[:2]]


def test_expanded_gradient(device):
    sample = SMALL
    tensors = moved(sample.tensors(torch.float32), device)
    expanded = torch.ones((), device=device).expand(1, 4, *sample.out_size)
    actual = gradients(unpacked, tensors, sample.geometry, expanded)[1]
    expected = gradients(unpacked, tensors, sample.geometry, expanded.contiguous())[1]
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_only_wanted_gradients_are_computed(device):
    input, offset, weight, bias, mask = moved(SMALL.tensors(torch.float32), device)
    pairs = [list(pair) for pair in SMALL.geometry]
    grad = torch.ones(1, 4, *SMALL.out_size, device=device)
    backward = torch.ops.vinr.deform_conv2d_triton_backward
    everything = backward(grad, input, offset, weight, mask, *pairs, [True] * 5, "ieee")
    for wanted in [*torch.eye(5, dtype=torch.bool).tolist(), [False] * 5]:
        grads = backward(grad, input, offset, weight, mask, *pairs, wanted, "ieee")
        for each, whole, want in zip(grads, everything, wanted, strict=True):
            assert torch.equal(each, whole if want else each.new_empty(0))


def test_second_backward_says_what_to_do(device):
    sample = SMALL
    leaves = [t.requires_grad_() for t in moved(sample.tensors(torch.float32), device)]
    (grad,) = torch.autograd.grad(unpacked(leaves, sample.geometry).sum(), leaves[:1], create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        grad.sum().backward()


def test_float64_is_refused(device):
    with pytest.raises(vinr.BackendError, match="it takes float32, float16 and bfloat16 tensors, got"):
        unpacked(moved(Sample("wide").tensors(), device), Sample("wide").geometry)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_opcheck(layout, device):
    sample = dataclasses.replace(SMALL, out_channels=3)
    pairs = [list(pair) for pair in sample.geometry]
    ops = torch.ops.vinr
    tensors = [t.requires_grad_() for t in moved(sample.tensors(torch.float32), device, layout)]
    torch.library.opcheck(ops.deform_conv2d_triton.default, (*tensors, *pairs, "ieee"))
    grad = torch.rand(1, 3, *sample.out_size, device=device)
    input, offset, weight, bias, mask = (t.detach() for t in tensors)
    arguments = (grad, input, offset, weight, mask, *pairs, [True, False, True, True, True], "ieee")
    torch.library.opcheck(ops.deform_conv2d_triton_backward.default, arguments)
    tensors = [t.requires_grad_() for t in moved(sample.packed(torch.float32), device, layout)]
    torch.library.opcheck(ops.deform_conv2d_packed_triton.default, (*tensors, *pairs, "ieee"))
    input, offset_mask, weight, bias = (t.detach() for t in tensors)
    arguments = (grad, input, offset_mask, weight, *pairs, [True] * 4, "ieee")
    torch.library.opcheck(ops.deform_conv2d_packed_triton_backward.default, arguments)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("function", [unpacked, packed])
def test_compiles_as_one_graph(function, dynamic, device):
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for size in ((2, 3), (3, 2)):
        sample = dataclasses.replace(SMALL, size=size)
        tensors = moved((sample.tensors if function is unpacked else sample.packed)(torch.float32), device)
        grad_output = torch.ones(1, 4, *sample.out_size, device=device)
        expected, actual = (gradients(f, tensors, sample.geometry, grad_output) for f in (function, compiled))
        torch.testing.assert_close(actual, expected)


def test_64_bit_offsets_change_nothing(device, monkeypatch):
    sample = dataclasses.replace(SMALL, batch=2)
    tensors = moved(sample.packed(torch.float32), device)
    grad_output = torch.rand(2, 4, *sample.out_size, device=device)
    expected = gradients(packed, tensors, sample.geometry, grad_output)
    seen = []
    monkeypatch.setattr(deform_conv2d_launch, "passes_32_bits", lambda *tensors: seen.append(len(tensors)) or True)
    actual = gradients(packed, tensors, sample.geometry, grad_output)
    assert len(seen) == 3  # forward, and two kernels backward
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(
    ("shape", "strides", "passes"),
    [
        ((4, 5), (5, 1), False),
        ((2, 2**20, 2**10), (2**30, 2**10, 1), True),
        ((2, 3), (2**31, 1), True),
        ((2**16, 2**16), (0, 0), True),  # as many elements, all in one place
    ],
)
def test_when_offsets_need_64_bits(shape, strides, passes):
    tensor = torch.empty(0, device="meta").as_strided(shape, strides)
    assert _runtime.passes_32_bits(None, torch.empty(3), tensor) == passes


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def backwards(monkeypatch):
    """A function after which the interpreter runs the programs of a grid in the opposite order."""
    from triton.runtime.interpreter import InterpreterBuilder

    forwards = InterpreterBuilder.set_grid_idx

    def reverse():
        def mirrored(self, *index):
            forwards(self, *(n - 1 - i for n, i in zip(self.grid_dim, index, strict=True)))

        monkeypatch.setattr(InterpreterBuilder, "set_grid_idx", mirrored)

    return reverse


@pytest.mark.skipif(not _runtime.INTERPRETED, reason="it turns the interpreter's order round")
@pytest.mark.parametrize("fixed", [False, True])
def test_deterministic_gradients_do_not_depend_on_the_order(fixed, device, backwards, request):
    if fixed:
        request.getfixturevalue("deterministic")  # which also fills what torch.empty gives with NaN
    sample = dataclasses.replace(SMALL, kernel=(2, 2), padding=(1, 1), size=(3, 4), spread=1.0)
    tensors = sample.packed(torch.float32, seed=6)
    grad_output = torch.rand(1, 4, *sample.out_size) - 0.5
    once = gradients(packed, tensors, sample.geometry, grad_output)[1]
    backwards()
    again = gradients(packed, tensors, sample.geometry, grad_output)[1]
    assert torch.equal(once[0], again[0]) == fixed
    assert all(torch.equal(a, b) for a, b in zip(once[1:], again[1:], strict=True))


@pytest.mark.parametrize("name", ["one_by_one", pytest.param("depthwise", marks=pytest.mark.slow)])
def test_deterministic_gradients_match_the_reference(name, device, deterministic):
    check(unpacked, named(name).tensors(torch.float32, seed=7), named(name).geometry, device)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_deterministic_gradient_of_what_is_not_finite(value, device, deterministic):
    sample = SMALL
    grad_output = torch.ones(1, 4, *sample.out_size, device=device)
    grad_output[0, 0, 0, 0] = value
    grads = gradients(unpacked, moved(sample.tensors(torch.float32), device), sample.geometry, grad_output)[1]
    assert grads[0].isnan().any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_captures_into_a_cuda_graph(device):
    sample = named("published")
    tensors = [t.requires_grad_() for t in moved(sample.packed(torch.float16), device, torch.channels_last)]
    grad_output = torch.ones(1, 64, *sample.out_size, device=device, dtype=torch.float16)

    def step():
        out = packed(tensors, sample.geometry)
        return out, *torch.autograd.grad(out, tensors, grad_output)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        expected = step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for tensor in captured:
        tensor.detach().fill_(float("nan"))
    graph.replay()
    for a, b in zip(captured, expected, strict=True):
        assert relative_error(a, b) <= OP_GRADIENT[torch.float16]


@pytest.mark.parametrize("what", ["offset", "weight"])
def test_bad_arguments(what, device):
    names = ("input", "offset_mask", "weight", "bias")
    input, offset_mask, weight, bias = moved(Sample("bad").packed(torch.float32), device)
    one = [1, 1]
    changes, message = {
        "offset": (dict(offset_mask=offset_mask[..., :5]), r"offset must be \[B, 2\*G\*K, H, W\] = \[1, 18, 5, 6\]"),
        "weight": (dict(weight=weight[:, :3]), r"input channels must be a multiple of weight.shape\[1\]"),
    }[what]
    arguments = dict(zip(names, (input, offset_mask, weight, bias), strict=True)) | changes
    with pytest.raises(ValueError, match=message):
        torch.ops.vinr.deform_conv2d_packed_triton(*arguments.values(), one, one, one, "ieee")


def test_every_choice_of_blocks_is_a_product_that_tensor_cores_do():
    """Channels, groups and offset groups of every kind give blocks of powers of two, at least 16 wide."""
    for channels, groups, offset_groups, itemsize in itertools.product(
        (1, 3, 8, 26, 64, 96, 320), (1, 2), (1, 2), (2, 4)
    ):
        if channels % (groups * offset_groups):
            continue
        shape = (4 * groups, channels // groups, 3, 3)
        pair = (1, 1)
        c = deform_conv2d_launch.constants(channels, offset_groups, shape, itemsize, 0, False, pair, pair, pair, "tf32")
        for name in ("BLOCK_O", "BLOCK_S", "SEGMENT"):
            assert c[name] & (c[name] - 1) == 0
        assert c["SEGMENT"] * c["SEGMENTS"] * groups == channels
        assert c["SEGMENT"] * c["SHARE"] * offset_groups == channels
        assert c["BLOCK_O"] >= 16
        assert c["BLOCK_S"] * c["SEGMENT"] >= 16
