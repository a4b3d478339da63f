"""The Triton deform_conv2d as a torch op: layouts, compilation, determinism, errors, block sizes."""

import dataclasses
import itertools

import pytest
import torch

import vinr_engine as vinr
from benchmarks.tolerances import OP_GRADIENT, relative_error
from ops.deform_conv2d.samples import Sample
from ops.deform_conv2d.triton_cases import (
    SMALL,
    check,
    gradients,
    moved,
    named,
    packed,
    unpacked,
)
from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

from vinr_engine.kernels.deform_conv2d import forward as kernels
from vinr_engine.kernels.deform_conv2d import launch as deform_launch
from vinr_engine.kernels.deform_conv2d import limits
from vinr_engine.kernels.deform_conv2d.compiled import configurations


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
    monkeypatch.setattr(deform_launch, "passes_32_bits", lambda *tensors: seen.append(len(tensors)) or True)
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
    assert runtime.passes_32_bits(None, torch.empty(3), tensor) == passes


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


@pytest.mark.skipif(not runtime.INTERPRETED, reason="it turns the interpreter's order round")
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
        c = deform_launch.constants(channels, offset_groups, shape, itemsize, 0, False, pair, pair, pair, "tf32")
        for name in ("BLOCK_O", "BLOCK_S", "SEGMENT"):
            assert c[name] & (c[name] - 1) == 0
        assert c["SEGMENT"] * c["SEGMENTS"] * groups == channels
        assert c["SEGMENT"] * c["SHARE"] * offset_groups == channels
        assert c["BLOCK_O"] >= 16
        assert c["BLOCK_S"] * c["SEGMENT"] >= 16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("precision", ["tf32x3", "tf32"])
def test_low_precision_is_launched_as_it_is_reported(device, monkeypatch, dtype, precision):
    """An input precision is of float32: in 16 bits all configurations are tried, those of the static report."""
    offered = []

    def launch(kernel, grid, **arguments):
        offered.append((arguments["PRECISION"], len(kernels.prune_forward(kernels.CONFIGURATIONS, {}, **arguments))))

    monkeypatch.setattr(deform_launch, "launch", launch)
    ones = torch.ones(1, 4, *SMALL.out_size, device=device, dtype=dtype)
    with vinr.input_precision(precision):
        gradients(unpacked, moved(SMALL.tensors(dtype), device), SMALL.geometry, ones)
    assert offered == [("ieee", len(kernels.CONFIGURATIONS))] * 3
    reported = [c.name for c in configurations() if c.name.startswith(f"deform_conv2d forward {str(dtype)[6:]}")]
    assert len(reported) == len(kernels.CONFIGURATIONS)
    with vinr.input_precision(precision):
        gradients(unpacked, moved(SMALL.tensors(torch.float32), device), SMALL.geometry, ones.float())
    assert offered[3][0] == precision


def test_more_blocks_than_a_grid_takes_are_refused(monkeypatch):
    """What is launched for it, counted: a refusal is neither too early nor too late."""
    grids = []
    sizes = {"BLOCK_P": 64}
    monkeypatch.setattr(deform_launch, "launch", lambda kernel, grid, **arguments: grids.append(grid(sizes)))

    def refusal_and_rows(groups, dtype, group_channels, group_out, grad):
        grids.clear()
        input = torch.zeros(1, groups * group_channels, 1, 1, dtype=dtype, requires_grad=grad)
        offset, weight = torch.zeros(1, 18, 1, 1, dtype=dtype), torch.zeros(groups * group_out, group_channels, 3, 3)
        tensors = (input, offset, weight.to(dtype), None, None)
        op = torch.ops.vinr
        out = op.deform_conv2d_triton(*tensors, [1, 1], [1, 1], [1, 1], "ieee")
        if grad:
            wanted = [True, True, True, False, False]
            op.deform_conv2d_triton_backward(
                torch.zeros_like(out), *tensors[:3], None, [1, 1], [1, 1], [1, 1], wanted, "ieee"
            )
        return limits.refusal(*tensors[:3]), max(rows for _, rows in grids)

    for dtype in (torch.float32, torch.float16):
        for groups, group_channels, group_out, grad in (
            (7281, 1, 1, True), (7282, 1, 1, True), (7282, 1, 1, False), (65535, 1, 1, False), (65536, 1, 1, False),
            (3641, 33, 1, True), (3641, 1, 65, True), (3641, 1, 129, True), (3640, 33, 65, False),
        ):  # fmt: skip
            reason, rows = refusal_and_rows(groups, dtype, group_channels, group_out, grad)
            assert bool(reason) == (rows > 65535), (groups, group_channels, group_out, grad, rows)
            assert not reason or reason.endswith(f"got {rows} of {groups} groups")
