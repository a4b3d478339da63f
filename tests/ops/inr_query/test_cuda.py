"""When the CUDA kernels of the query may run, and, on a GPU, what they compute. tests/simt runs them without one."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import vinr_engine as vinr
from benchmarks.tolerances import OP, TF32, relative_error
from ops.inr_query.samples import SHAPES, cast, problem, query
from vinr_engine import backends, cuda
from vinr_engine.ops.inr_query import INR_QUERY, Arguments

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def refusal(features, frames, times, *weights):
    """Of a call with these weights in one network."""
    layers = [(weight, weight.detach()) for weight in weights]
    return refusal_of(features, frames, times, (layers, [], []))


def refusal_of(features, frames, times, networks):
    arguments = Arguments(features, frames, times, (4, 4), (4, 4), networks, 1, torch.float32, False)
    return INR_QUERY.backends["cuda"].refuse(arguments)


def on_gpu(outputs=64, dtype=torch.float32, device="cuda:0"):
    """Features, frames, times and a weight as a machine with a GPU has them; nothing is allocated."""
    shapes = ((1, 12, 4, 4), (1, 6, 4, 4), (1, 1), (outputs, 21))
    with FakeTensorMode():
        return [torch.empty(shape, device=device, dtype=dtype) for shape in shapes]


def test_refusals_say_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert refusal(*on_gpu()) == ""
    assert refusal(*on_gpu(377)) == "it takes layers of up to 376 outputs, got 377"
    assert refusal(*on_gpu()[:3], torch.zeros(4, 21)) == "it takes CUDA tensors, got one on cpu"
    assert refusal(*on_gpu(dtype=torch.float64)).endswith("got torch.float64")
    mixed = [*on_gpu()[:2], *on_gpu(device="cuda:1")[2:]]
    assert refusal(*mixed) == "it takes tensors of one device, got cuda:0 and cuda:1"
    trained = on_gpu()
    trained[3].requires_grad_()
    assert refusal(*trained).startswith("it has no gradients")
    with torch.no_grad():
        assert refusal(*trained) == ""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert refusal(*on_gpu()) == ("it needs a GPU of compute capability 8.0 or later, this one has 7.5")


@pytest.mark.parametrize("deepest", range(3))
@pytest.mark.parametrize("widths", [16, 4])
def test_more_layers_than_the_kernels_take_are_refused(monkeypatch, deepest, widths):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))

    def refusal_with(hidden):
        networks = problem(hidden=[(widths,) * (hidden if i == deepest else 7) for i in range(3)], features=4)[5:8]
        with FakeTensorMode():
            moved = [[[torch.empty(t.shape, device="cuda:0") for t in pair] for pair in net] for net in networks]
        return refusal_of(*on_gpu()[:3], moved)

    assert refusal_with(7) == ""
    assert refusal_with(8) == "it takes networks of up to 8 layers, got 9"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without a GPU is refused, this one has one")
@pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
def test_without_a_gpu_the_backend_says_why():
    with vinr.backend("cuda"), pytest.raises(vinr.BackendError, match=r"inr_query: backend 'cuda' cannot run: .*CUDA"):
        vinr.ops.inr_query(*cast(problem(), torch.float32))


@pytest.mark.parametrize("precision", backends.PRECISIONS)
def test_operands(precision):
    with vinr.input_precision(precision):
        assert [backends.chosen_operands(dtype) for dtype in cuda.DTYPES] == [precision, "float16", "bfloat16"]


@pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
@pytest.mark.parametrize(("precision", "expected"), [("ieee", "ieee"), ("tf32", "tf32")])
def test_the_input_precision_reaches_the_kernels(monkeypatch, precision, expected):
    """And PyTorch's own switch does not."""
    passed = []
    arguments = cast(problem(), torch.float32)

    def kernels(*given):
        passed.append(given[-1])
        maps, times, encode = given[0], given[2], given[8]
        return maps.new_zeros(1, len(times), len(encode[-1]), 1, 1), maps.new_zeros(1, len(times), 4, 1, 1)

    monkeypatch.setattr(INR_QUERY, "select", lambda _: "cuda")
    monkeypatch.setitem(INR_QUERY.torch_ops, "inr_query", kernels)
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = precision != "tf32"
        with vinr.input_precision(precision):
            vinr.ops.inr_query(*arguments)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert passed == [expected]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("operands", ["float32", "tf32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", SHAPES)
def test_gpu_matches_the_reference(name, operands):
    arguments = problem(**SHAPES[name])
    expected = query(arguments, "reference")

    def to_gpu(value):
        if isinstance(value, torch.Tensor):
            return value.cuda()
        return [tuple(t.cuda() for t in pair) for pair in value] if isinstance(value, list) else value

    single = [to_gpu(value) for value in cast(arguments, torch.float32)]
    low = operands in ("float16", "bfloat16")
    autocast = torch.autocast("cuda", getattr(torch, operands) if low else torch.float16, enabled=low)
    with vinr.input_precision("tf32" if operands == "tf32" else "ieee"), autocast:
        actual = query(single, "cuda")
    tolerance = TF32 if operands == "tf32" else OP[getattr(torch, operands)]
    for a, b in zip(actual, expected, strict=True):
        assert relative_error(a.cpu(), b) <= 3 * tolerance
