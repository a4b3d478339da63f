"""When the CUDA kernels of deform_conv2d may run, and what they compute on a GPU; tests/simt runs them without."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.deform_conv2d.samples import LARGER, SAMPLES
from vinr_engine import cuda, reference

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def on_gpu(*dtypes, device="cuda:0"):
    """Tensors as a machine with a GPU has them; nothing is allocated."""
    with FakeTensorMode():
        return [torch.empty(1, 2, 3, 4, device=device, dtype=dtype) for dtype in dtypes]


def to_gpu(tensors, memory_format):
    moved = [None if t is None else t.cuda() for t in tensors]
    return [t.to(memory_format=memory_format) if t is not None and t.ndim == 4 else t for t in moved]


@pytest.mark.parametrize("dtype", cuda.DTYPES)
@pytest.mark.parametrize("capability", [(8, 0), (12, 0)])
def test_runs(monkeypatch, dtype, capability):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert cuda.refusal(*on_gpu(dtype, torch.float32), None) == ""


def test_refusals_say_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    (single,) = on_gpu(torch.float32)
    assert cuda.refusal(torch.zeros(1)) == "it takes CUDA tensors, got one on cpu"
    assert cuda.refusal(single, torch.zeros(1)) == "it takes CUDA tensors, got one on cpu"
    assert cuda.refusal(single, *on_gpu(torch.float32, device="cuda:1")).endswith("got cuda:0 and cuda:1")
    assert cuda.refusal(*on_gpu(torch.float64)).endswith("got torch.float64")
    assert cuda.refusal(single) == "it needs a GPU of compute capability 8.0 or later, this one has 7.5"
    single.requires_grad_()
    assert cuda.refusal(single).startswith("it has no gradients")
    with torch.no_grad():
        assert "compute capability" in cuda.refusal(single)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", cuda.DTYPES)
@pytest.mark.parametrize("sample", [*SAMPLES, *LARGER], ids=lambda s: s.name)
def test_gpu_matches_the_reference(sample, dtype, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    input, offset, weight, bias, mask = to_gpu(sample.tensors(dtype), layout)
    with vinr.backend("cuda"), torch.no_grad():
        actual = vinr.ops.deform_conv2d(input, offset, weight, bias, *sample.geometry, mask)
    wide = [None if t is None else t.double() for t in (input, offset, weight, bias)]
    expected = reference.deform_conv2d(*wide, *sample.geometry, mask=None if mask is None else mask.double())
    assert actual.dtype == dtype
    assert relative_error(actual, expected) <= OP[dtype]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", cuda.DTYPES)
def test_gpu_packed_matches_the_reference(dtype):
    (sample,) = [s for s in LARGER if s.name == "published"]
    tensors = to_gpu(sample.packed(dtype), torch.channels_last)
    with vinr.backend("cuda"), torch.no_grad():
        actual = vinr.ops.deform_conv2d_packed(*tensors, *sample.geometry)
    expected = reference.deform_conv2d_packed(*(t.double() for t in tensors), *sample.geometry)
    assert relative_error(actual, expected) <= OP[dtype]


@pytest.mark.gpu
@needs_gpu
def test_gpu_uses_the_current_stream():
    """A graph captures the launch only if it goes to the stream that torch has chosen."""
    (sample,) = [s for s in LARGER if s.name == "published"]
    tensors = to_gpu(sample.packed(torch.half), torch.channels_last)
    with vinr.backend("cuda"), torch.no_grad():
        expected = vinr.ops.deform_conv2d_packed(*tensors, *sample.geometry)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            actual = vinr.ops.deform_conv2d_packed(*tensors, *sample.geometry)
        graph.replay()
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
