import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tolerances import OP, relative_error
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference
from vinr_engine.ops.deform_conv2d import deform_conv2d_guided

pytestmark = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
LAST = torch.channels_last


def arguments(B=1, C=8, D=6, O=5, G=2, groups=1, h=9, w=11, bias=True, last=True, seed=0):
    """Offsets of some pixels, so that samples lie inside and outside of the input."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=1.0):
        return (torch.rand(shape, generator=rng) * 2 - 1) * scale

    layout = LAST if last else torch.contiguous_format
    input, guide = draw(B, C, h, w).contiguous(memory_format=layout), draw(B, D, h, w).contiguous(memory_format=layout)
    offset_weight, weight = draw(27 * G, D, 3, 3), draw(O, C // groups, 3, 3)
    return [input, guide, offset_weight, draw(27 * G) if bias else None, weight, draw(O) if bias else None]


def definition(input, guide, offset_weight, offset_bias, weight, bias):
    exact = [None if t is None else t.double() for t in (input, guide, offset_weight, offset_bias, weight, bias)]
    raw = reference.conv3x3([exact[1]], *exact[2:4])
    return reference.deform_conv2d_packed(exact[0], raw, *exact[4:], padding=(1, 1))


CASES = {
    "plain": {},
    "batch": {"B": 3},
    "nchw": {"last": False, "B": 2},
    "no_bias": {"bias": False},
    "groups": {"groups": 2, "O": 6},
    "one_pixel": {"h": 1, "w": 1},
    "one_row": {"h": 1, "w": 60},
    "published": {"C": 64, "D": 64, "O": 64, "G": 8, "h": 21, "w": 19},
    # More rows than a band has.
    "bands": {"B": 2, "G": 8, "h": 33, "w": 700},
    "wide": {"G": 8, "h": 5, "w": 2600},
}


@pytest.mark.parametrize("case", CASES)
def test_is_both_ops_in_turn(variant, case):
    given = arguments(**CASES[case])
    out = deform_conv2d_guided(*given)
    assert out.is_contiguous(memory_format=LAST)
    # Offsets differ in their last digits, and with them samples where the input is steep.
    assert relative_error(out, definition(*given)) <= 5 * OP[torch.float32]


@settings(max_examples=40, deadline=None)
@given(
    B=st.integers(1, 3), C=st.sampled_from((4, 8, 12)), D=st.integers(1, 20), O=st.integers(1, 20),
    G=st.sampled_from((1, 2, 4)), h=st.integers(1, 20), w=st.integers(1, 20), bias=st.booleans(), last=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_shape(**values):
    given = arguments(**values)
    assert relative_error(deform_conv2d_guided(*given), definition(*given)) <= 5 * OP[torch.float32]


def test_under_autocast(variant):
    given = arguments(**CASES["published"])
    with torch.autocast("cpu", torch.bfloat16):
        out = deform_conv2d_guided(*given)
    assert out.dtype == torch.float32
    assert relative_error(out, definition(*given)) <= OP[torch.bfloat16]


@pytest.mark.parametrize("case", ["bands", "published"])
def test_threads_do_not_change_anything(variant, case):
    given = arguments(**CASES[case])
    assert_threads_change_nothing(lambda: [deform_conv2d_guided(*given)])


BAD = {
    "guide": (1, torch.zeros(1, 6, 9, 12), r"guide must be \[B, D, H, W\] = \[1, 6, 9, 11\], got \[1, 6, 9, 12\]"),
    "offsets": (2, torch.zeros(26, 6, 3, 3), r"offset_weight must be \[3\*G\*9, D, 3, 3\] with G dividing"),
    "kernel": (4, torch.zeros(5, 8, 5, 5), r"weight must be \[O, C/groups, 3, 3\] = \[5, 8, 3, 3\], got"),
    "dtype": (0, torch.zeros(1, 8, 9, 11).double(), "input must be float32"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    position, tensor, message = BAD[what]
    given = arguments()
    given[position] = tensor
    with pytest.raises(RuntimeError, match="deform_conv2d_guided: " + message):
        deform_conv2d_guided(*given)
