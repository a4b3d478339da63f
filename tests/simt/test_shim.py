"""The shim itself: faults must be seen, their right twins must pass, and each primitive must compute what it says."""

import numpy as np
import pytest
import torch

from benchmarks.tolerances import OP
from simt import build

FAULTS = (
    "none",
    "missing_barrier",
    "swapped_lane",
    "mask_off_by_one",
    "uninitialised_shared",
    "wrong_stride",
    "missing_wait",
)


def product(fault, rng):
    """The product of one faulty kernel, the right one and the report; 37 rows leave a tile in part."""
    a, b = (rng.uniform(-1, 1, (rows, 48)).astype(np.float16) for rows in (37, 8))
    d = np.full((37, 8), np.nan, np.float32)
    report = build.load("faults").product(FAULTS.index(fault), a, b, d)
    return d, a.astype(np.float64) @ b.astype(np.float64).T, report


def vectors(kernel, n=64):
    x, y = np.arange(256, dtype=np.float32), np.full(n, np.nan, np.float32)
    build.load("faults").run(kernel, x, y)
    return x, y


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_right_product(rng):
    actual, expected, report = product("none", rng)
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()
    assert report["uninitialised_reads"] == 0
    assert (report["launches"], report["blocks"]) == (1, 2)
    # 37 rows of 96 bytes, 3 sectors each; both blocks read all 8 rows of b; d is 37 rows of one sector.
    counts = {"loads": 111, "stores": 0, "loads_by_block": 111, "stores_by_block": 0}
    assert report["sectors"]["a"] == counts
    assert report["sectors"]["b"] == {"loads": 24, "stores": 0, "loads_by_block": 48, "stores_by_block": 0}
    assert report["sectors"]["d"] == {"loads": 0, "stores": 37, "loads_by_block": 0, "stores_by_block": 37}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing_barrier", "race in shared memory: thread .* reads byte"),
        ("missing_wait", "read before the cp.async into it was waited for"),
        ("mask_off_by_one", "load of 16 bytes outside every array; nearest is byte 3552 of a, which has 3552"),
    ],
)
def test_faults_that_stop_a_launch(fault, message, rng):
    with pytest.raises(RuntimeError, match=message):
        product(fault, rng)


@pytest.mark.parametrize("fault", ["swapped_lane", "wrong_stride", "uninitialised_shared"])
def test_faults_that_spoil_the_result(fault, rng):
    actual, expected, report = product(fault, rng)
    assert not np.abs(actual - expected).max() <= 1e-2
    assert (report["uninitialised_reads"] > 0) == (fault != "swapped_lane")
    assert np.isnan(actual).any() == (fault != "swapped_lane")


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("leaves_before_barrier", r"block \(0, 0, 0\): deadlock: thread 0 waits in barrier .*; 32 of 64 threads have"),
        ("two_barriers", "divergent: one thread is at barrier at faults.cpp:.*, another at barrier at faults.cpp:"),
        ("divergent_shuffle", "deadlock: thread 0 waits in shuffle_xor at .*; thread 16 waits in barrier"),
        ("divergent_operations", "divergent: one thread is at shuffle_up at .*, another at shuffle_xor at"),
        ("past_the_end_of_shared", "thread 63: shared memory: 4 bytes at byte 256 of an array of 256"),
        ("past_the_end_of_global", "store of 4 bytes outside every array; nearest is byte 128 of y"),
        ("around_the_primitives", "y: written outside its 128 bytes, at byte 128"),
        ("writes_its_input", "x is only read, but written to"),
        ("misaligned", "address is not a multiple of the 16 bytes that move"),
        ("no_warp_barrier", "race in shared memory: thread 4 writes byte .*, which another thread read with no"),
        ("no_second_barrier", "race in shared memory: thread .*, which thread 63 wrote with no barrier between"),
    ],
)
def test_other_faults(kernel, message):
    with pytest.raises(RuntimeError, match=message):
        vectors(kernel, n=32)


def test_right_twins():
    _, y = vectors("warp_barrier")
    assert (y == np.arange(64) ^ 5).all()
    x, y = vectors("second_barrier")
    assert (y == 2 * x[:191:-1]).all()


def test_tf32_product(rng):
    a, b = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((16, 8), (8, 8)))
    d = np.full((16, 8), np.nan, np.float32)
    build.load("operations").tf32_product(a, b, d)
    rounded = [np.empty_like(t) for t in (a, b)]
    for t, r in zip((a, b), rounded, strict=True):
        build.load("operations").convert_tf32(t, r.view(np.uint32))
    expected = rounded[0].astype(np.float64) @ rounded[1].astype(np.float64)
    assert np.abs(d - expected).max() <= OP[torch.float32]
    assert 0 < np.abs(d - a.astype(np.float64) @ b).max() <= 2e-3


def test_transposed_fragments(rng):
    a, b = (torch.from_numpy(rng.uniform(-1, 1, shape)).bfloat16() for shape in ((16, 16), (16, 8)))
    d = np.full((16, 8), np.nan, np.float32)
    build.load("operations").bfloat16_product(
        a.T.contiguous().view(torch.int16).numpy(), b.view(torch.int16).numpy(), d
    )
    assert np.abs(d - (a.double() @ b.double()).numpy()).max() <= OP[torch.float32]


@pytest.mark.parametrize(("name", "dtype"), [("half", torch.float16), ("bfloat16", torch.bfloat16)])
def test_conversions(name, dtype, rng):
    """Every 16-bit number, and float32 ones of every exponent, halfway cases and what is not finite among them."""
    bits = np.arange(65536, dtype=np.uint16)
    values = rng.integers(0, 1 << 32, 65536, dtype=np.uint64).astype(np.uint32).view(np.float32)
    values[::2] = torch.from_numpy(bits[::2].copy().view(np.int16)).view(dtype).float().numpy()
    values.view(np.uint32)[::4] += 0x1000 if dtype == torch.float16 else 0x8000
    values[:6] = 65504, 65519.99, 65520, -np.inf, np.nan, 2**-25
    widened, rounded = np.empty(65536, np.float32), np.empty(65536, np.uint16)
    getattr(build.load("operations"), f"convert_{name}")(bits, values, widened, rounded)
    np.testing.assert_array_equal(widened, torch.from_numpy(bits.view(np.int16)).view(dtype).float().numpy())
    actual = torch.from_numpy(rounded.view(np.int16)).view(dtype).float().numpy()
    np.testing.assert_array_equal(actual, torch.from_numpy(values).to(dtype).float().numpy())


def test_tf32_rounds_ties_away_from_zero():
    values = np.array([1 + 2**-11, -1 - 2**-11, 1 + 2**-12, 3.4e38, np.inf], np.float32)
    rounded = np.empty(5, np.float32)
    build.load("operations").convert_tf32(values, rounded.view(np.uint32))
    np.testing.assert_array_equal(rounded[[0, 1, 2, 4]], np.array([1 + 2**-10, -1 - 2**-10, 1, np.inf], np.float32))
    assert abs(rounded[3] / 3.4e38 - 1) < 2**-11


def test_warp_operations_and_atomics(rng):
    x = rng.uniform(-1, 2, 192).astype(np.float32)
    y = np.zeros(5, np.float32)
    report = build.load("operations").sums(x, y)
    assert np.abs(y[:2] - x.sum(dtype=np.float64)).max() <= 1e-5 * np.abs(x).sum()
    assert y[2] == sum(1 << i for i in range(24) if x[8 + i] > 0)
    assert y[3] == (x[:32] > 1).any()
    assert y[4] == (x[:32] > 1).all()
    assert report["blocks"] == 3
