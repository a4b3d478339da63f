"""Pictures to a CUDA device and back. Without a GPU a stand-in does the copies when something waits for them."""

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from vinr_engine.video import transfers


class Stream:
    """Work in order, done when something waits for it."""

    current = None

    def __init__(self, device=None):
        self.work = []

    def run(self, count):
        while count > 0 and self.work:
            self.work.pop(0)()
            count -= 1

    def wait_stream(self, other):
        known = len(other.work)
        self.work.append(lambda: other.run(known))

    def record_event(self):
        known = len(self.work)
        return type("Event", (), {"synchronize": lambda _: self.run(known)})()

    def __enter__(self):
        self.before, Stream.current = Stream.current, self

    def __exit__(self, *_):
        Stream.current = self.before


class Device(TorchFunctionMode):
    """Copies that do not block wait on the current stream, and may only touch pinned memory."""

    def __init__(self):
        super().__init__()
        self.pinned, self.recorded = set(), []

    def _copy(self, to, source, host):
        assert host.data_ptr() in self.pinned
        to.fill_(torch.nan)
        Stream.current.work.append(lambda: to.copy_(source))
        return to

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.pin_memory or kwargs.pop("pin_memory", False):
            out = args[0].clone() if func is torch.Tensor.pin_memory else func(*args, **kwargs)
            self.pinned.add(out.data_ptr())
            return out
        if func is torch.Tensor.to and kwargs.get("non_blocking"):
            return self._copy(torch.empty_like(args[0]), args[0], args[0])
        if func is torch.Tensor.copy_ and kwargs.get("non_blocking"):
            return self._copy(args[0], args[1], args[0])
        return func(*args, **kwargs)


@pytest.fixture
def device(monkeypatch):
    main = Stream()
    monkeypatch.setattr(Stream, "current", main)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream.current)
    with Device() as device:
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda *pair: device.recorded.append(pair))
        device.main = main
        yield device


def test_computation_waits_for_the_upload_and_the_download_for_the_computation(device):
    way = transfers.CudaTransfers(torch.device("cpu"))
    pictures = [np.full((3, 2, 2), n, np.float32) for n in range(4)]
    arriving = []
    for picture in pictures:
        x = way.upload(picture)
        y = torch.full_like(x, torch.nan)
        device.main.work.append(lambda x=x, y=y: y.copy_(2 * x + 1))
        arriving.append(way.download(y))
        assert y.isnan().all()  # nothing has waited for anything
        assert {id(s) for t, s in device.recorded if t is x} == {id(device.main)}
        assert {id(s) for t, s in device.recorded if t is y} == {id(way._down)}
    for n in (1, 0, 3, 2):  # asked for in any order
        assert (arriving[n]() == 2 * n + 1).all()
    assert len({id(way._up), id(way._down), id(device.main)}) == 3


def test_a_picture_is_copied_before_its_array_may_change(device):
    way = transfers.CudaTransfers(torch.device("cpu"))
    picture = np.zeros((3, 1, 1), np.float32)
    x = way.upload(picture)
    picture[:] = 5
    device.main.run(9)
    assert not x.any()


def test_each_device_has_its_transfers(device):
    assert type(transfers.between(torch.device("cpu"))) is transfers.Transfers
    assert type(transfers.between(torch.device("cuda", 1))) is transfers.CudaTransfers


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_gpu_round_trip():
    way = transfers.between(torch.device("cuda"))
    pictures = [np.random.default_rng(n).random((3, 720, 1280), np.float32) for n in range(8)]
    arriving = [way.download(way.upload(picture) * 2) for picture in pictures]
    for picture, arrived in zip(pictures, arriving, strict=True):
        np.testing.assert_array_equal(arrived(), picture * 2)
