import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tolerances import OP, relative_error
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference
from vinr_engine.ops.conv_lstm import conv_lstm

pytestmark = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
LAST = torch.channels_last


def arguments(B=1, inputs=(5, 8), C=8, h=9, w=11, bias=True, add=True, last=True, seed=0):
    """Gates on both sides of zero, some of them far from it."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(shape, generator=rng) * 2 - 1

    def maps(channels):
        return draw(B, channels, h, w).contiguous(memory_format=LAST if last else torch.contiguous_format)

    weight = draw(4 * C, sum(inputs), 3, 3)
    added = 8 * maps(4 * C) if add else None
    return [[maps(D) for D in inputs], weight, draw(4 * C) if bias else None, added, 3 * maps(C)]


def definition(maps, weight, bias, add, cell):
    exact = [None if t is None else t.double() for t in (weight, bias, add, cell)]
    gates = reference.conv3x3([m.double() for m in maps], *exact[:3])
    i, f, o, g = gates.chunk(4, 1)
    cell = f.sigmoid() * exact[3] + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def assert_right(given):
    for out, expected in zip(conv_lstm(*given), definition(*given), strict=True):
        assert out.is_contiguous(memory_format=LAST)
        assert relative_error(out, expected) <= OP[torch.float32]


CASES = {
    "plain": {},
    "batch": {"B": 3},
    "nchw": {"last": False, "B": 2},
    "nothing_added": {"bias": False, "add": False},
    "one_map": {"inputs": (7,)},
    "one_pixel": {"h": 1, "w": 1},
    "odd_channels": {"C": 19},
    # More rows than a band has.
    "bands": {"B": 2, "C": 24, "h": 21, "w": 2200},
}


@pytest.mark.parametrize("case", CASES)
def test_is_the_convolution_and_the_gates(variant, case):
    assert_right(arguments(**CASES[case]))


@settings(max_examples=40, deadline=None)
@given(
    B=st.integers(1, 3), inputs=st.lists(st.integers(1, 9), min_size=1, max_size=3), C=st.integers(1, 33),
    h=st.integers(1, 20), w=st.integers(1, 20), bias=st.booleans(), add=st.booleans(), last=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_shape(**values):
    assert_right(arguments(**values))


def test_gates_that_are_shut_or_open(variant):
    """Sums of any size give no infinity; NaN stays where it is."""
    C = 16
    maps, weight = [torch.zeros(1, 1, 1, 3)], torch.zeros(4 * C, 1, 3, 3)
    cell = torch.full((1, C, 1, 3), 2.0)
    gates = torch.empty(1, 4 * C, 1, 3)
    gates[..., 0], gates[..., 1], gates[..., 2] = 1e30, -1e30, float("nan")
    hidden, new = conv_lstm(maps, weight, None, gates, cell)
    expected = torch.tensor([3.0, 0.0]).expand(1, C, 1, 2)
    assert relative_error(new[..., :2], expected) <= OP[torch.float32]
    assert relative_error(hidden[..., :2], expected.tanh()) <= OP[torch.float32]
    assert hidden[..., 2].isnan().all()
    assert new[..., 2].isnan().all()


def test_autocast_rounds_nothing(variant):
    given = arguments()
    with torch.autocast("cpu", torch.bfloat16):
        assert_right(given)


@pytest.mark.parametrize("case", ["bands", "batch"])
def test_threads_do_not_change_anything(variant, case):
    given = arguments(**CASES[case])
    assert_threads_change_nothing(lambda: conv_lstm(*given))


BAD = {
    "dtype": ({0: [torch.zeros(1, 13, 9, 11).double()], 1: torch.zeros(32, 13, 3, 3).double(), 2: None, 3: None},
              "maps must be float32"),
    "no_map": ({0: []}, "a map is needed"),
    "outputs": ({1: torch.zeros(30, 13, 3, 3), 2: None, 3: None}, "weight must have 4 outputs a channel of the cell"),
    "cell": ({4: torch.zeros(1, 8, 9, 12)}, r"cell must be \[B, C, h, w\] = \[1, 8, 9, 11\], got \[1, 8, 9, 12\]"),
    "add": ({3: torch.zeros(1, 8, 9, 11)}, r"add must be \[B, O, h, w\] = \[1, 32, 9, 11\]"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    changes, message = BAD[what]
    given = arguments()
    for position, value in changes.items():
        given[position] = value
    with pytest.raises(RuntimeError, match="conv_lstm: " + message):
        conv_lstm(*given)
