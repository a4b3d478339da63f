"""The memory of what ops return on the CPU: large results take what earlier ones left."""

import multiprocessing
import pathlib
import pickle
import threading

import pytest
import torch

from vinr_engine import backends
from vinr_engine.ops import conv3x3
from vinr_engine.ops.conv3x3 import conv3x3_into

pytestmark = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
MEGABYTE = 1 << 20


def new_maps(*sizes, like=None):
    return torch.ops.vinr.new_maps(torch.empty(0) if like is None else like, sizes)


def large(channels=64):
    """2 MB, if of 64 channels."""
    return new_maps(1, channels, 64, 128)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1), (0, 3, 4, 5), (2, 3, 4, 5), (3, 37, 100, 123), (1, 1, 1024, 999)], ids=str
)
def test_it_is_a_new_tensor_of_channels_last(dtype, sizes):
    new = new_maps(*sizes, like=torch.empty(0, dtype=dtype))
    expected = torch.empty(sizes, dtype=dtype, memory_format=torch.channels_last)
    assert (new.dtype, new.shape, new.stride()) == (expected.dtype, expected.shape, expected.stride())
    assert new.untyped_storage().nbytes() == new.numel() * new.element_size()


def test_memory_that_is_left_is_taken_again():
    first = large()
    address = first.data_ptr()
    del first
    assert large().data_ptr() == address


def test_results_that_live_share_nothing():
    alive = [large() for _ in range(6)]
    for k, t in enumerate(alive):
        t.fill_(k)
    assert [t.unique().tolist() for t in alive] == [[k] for k in range(6)]
    view = alive[0][:, :3]
    address = alive[0].data_ptr()
    del alive, t
    assert all(large().data_ptr() != address for _ in range(3)), "a view keeps its memory"
    assert torch.equal(view, torch.zeros_like(view))


def resident():
    """Bytes of this process that lie in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


linux = pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="reads Linux's account of memory")


@linux
def test_memory_goes_back_to_the_system():
    """A few large results stay; what many of them took does not."""
    before = resident()
    alive = [new_maps(1, 64, 256, 512).zero_() for _ in range(16)]  # 32 MB each
    most = resident()
    assert most - before > 350 * MEGABYTE
    del alive
    assert most - resident() > 350 * MEGABYTE


@linux
def test_sizes_that_change_do_not_pile_up():
    before = resident()
    for rows in range(64, 512, 4):  # 8 to 64 MB each, 4 GB together
        new_maps(1, 64, rows, 512).zero_()
    assert resident() - before < 300 * MEGABYTE


def test_threads():
    """Each writes into results of its own, and finds there what it wrote."""
    wrong = []

    def work(number):
        for _ in range(50):
            t = large().fill_(number)
            if not bool((t == number).all()):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def _in_a_fork(queue):
    t = large()
    t[0, 0, 0] = 3  # OpenMP's threads are not in a fork: nothing here may need them
    queue.put(t[0, 0, 0, :2].tolist())


def test_a_forked_process():
    kept = large().fill_(1)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_in_a_fork, args=(queue,))
    process.start()
    assert queue.get(timeout=60) == [3.0, 3.0]
    process.join(timeout=60)
    assert process.exitcode == 0
    assert torch.equal(kept, torch.ones_like(kept))


def test_what_tensors_are_asked_elsewhere():
    """Pickled, put into shared memory, changed in place under autograd, resized: as a tensor of PyTorch's own."""
    maps = [torch.randn(1, 64, 64, 128).contiguous(memory_format=torch.channels_last)]
    weight = torch.randn(64, 64, 3, 3, requires_grad=True)
    out = conv3x3(maps, weight)
    assert out.numel() * 4 > MEGABYTE
    values = out.detach().clone()
    assert torch.equal(pickle.loads(pickle.dumps(out.detach())), values)
    assert torch.equal(out.detach().clone().share_memory_(), values)
    out.mul_(2).sum().backward()
    assert torch.isfinite(weight.grad).all()
    with torch.inference_mode():
        inside = conv3x3(maps, weight)
        assert inside.is_inference()
        shared = inside.share_memory_()
        assert shared.is_shared()
        assert torch.equal(shared, values)
        conv3x3_into(inside, maps, weight)
        assert torch.equal(inside, values)


def test_bad_arguments():
    with pytest.raises(RuntimeError, match=r"new_maps: sizes must be \[B, C, h, w\], got \[2, 3\]"):
        new_maps(2, 3)
    with pytest.raises(RuntimeError, match=r"new_maps: sizes must not be negative, got \[1, -1, 2, 2\]"):
        new_maps(1, -1, 2, 2)


@pytest.mark.parametrize("sizes", [(2, (1 << 63) - 1, 16, 16), (1 << 31, 1 << 31, 4, 1), (1 << 62, 1, 1, 4)])
def test_sizes_whose_product_is_no_number(sizes):
    """In 64 bits it is small again."""
    with pytest.raises(RuntimeError, match="is larger than memory can be"):
        new_maps(*sizes)
