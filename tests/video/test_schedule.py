from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vinr_engine.video.schedule import Multiply, Rate, common_unit, last_moments, moments, motion

gaps = st.lists(st.fractions(min_value=Fraction(1, 1000), max_value=3, max_denominator=90000), min_size=0, max_size=12)
starts = st.fractions(min_value=0, max_value=5, max_denominator=1000)
rates = st.fractions(min_value=Fraction(1, 2), max_value=240, max_denominator=1001)
lasts = st.fractions(min_value=Fraction(1, 100), max_value=1, max_denominator=1000)


def clip(start, gaps):
    return list(accumulate([start, *gaps]))


def spans(clock, times, last, copies=True):
    """Output moments from each frame to the next, and those of the last one."""
    moving = [moments(clock, times[0], pair, pair[0]) for pair in pairwise(times)]
    return [*moving, last_moments(clock, times[0], times[-1], last, copies)]


@given(starts, gaps, st.integers(1, 9))
def test_multiply_gives_k_frames_for_each_input_frame(start, gaps, k):
    times = clip(start, gaps)
    out = spans(Multiply(k), times, Fraction(1, 10))
    assert all(len(s) == k for s in out)
    shown = [t for s in out for t, _ in s]
    assert shown == sorted(set(shown))
    assert [s[0] for s in out] == [*((t, 0) for t in times[:-1]), (times[-1], None)]
    assert {position for _, position in out[-1]} == {None}


@given(starts, gaps, st.integers(1, 9))
def test_a_folder_ends_on_the_last_frame(start, gaps, k):
    out = spans(Multiply(k), clip(start, gaps), Fraction(1, 10), copies=False)
    assert sum(map(len, out)) == len(gaps) * k + 1


@given(starts, gaps, rates, lasts)
def test_rate_gives_every_n_below_the_end(start, gaps, fps, last):
    times = clip(start, gaps)
    end = times[-1] + last
    out = spans(Rate(fps), times, last)
    shown = [t for s in out for t, _ in s]
    assert shown == [start + n / fps for n in range(len(shown))]
    assert shown[-1] < end <= start + len(shown) / fps
    for (left, right), span in zip(pairwise(times), out, strict=False):
        for time, position in span:
            assert left <= time
            assert 0 <= position < 1
            assert left + position * (right - left) == time


@given(starts, st.lists(st.fractions(Fraction(1, 1000), 3, max_denominator=9000), min_size=2, max_size=6), rates)
def test_repeats_change_no_output_time(start, gaps, fps):
    """Whether a picture is held, moves through its repeats, or moves at the end."""
    times = clip(start, gaps)
    for clock in (Multiply(3), Rate(fps)):
        apart = [t for pair in pairwise(times) for t, _ in moments(clock, start, pair, pair[0])]
        for since in (None, *times[:-1]):
            found = moments(clock, start, times, since)
            assert [t for t, _ in found] == apart
            moving = [(t, p) for t, p in found if p is not None]
            expected = [t for t in apart if since is not None and t >= since]
            assert moving == [(t, (t - since) / (times[-1] - since)) for t in expected]


@pytest.mark.parametrize(
    ("times", "through", "since"),
    [([0, 1], True, 0), ([0, 1, 2], True, 0), ([0, 1, 2], False, 1), ([0, 1, 2, 3], True, 0), ([0, 9], True, 0),
     ([0, 25], True, 0), ([0, 26], True, 25), ([0, 1, 40], False, 39), ([0, 1, 40], True, 39)],
)  # fmt: skip
def test_when_motion_begins(times, through, since):
    """In frames of 25 a second: at the frame, after its last repeat, or a frame before one that comes after a gap."""
    step = Fraction(1, 25)
    assert motion([n * step for n in times], step, through) == since * step


def test_a_slow_clip_has_no_gaps():
    """Pictures of one a minute: these are what is asked to be interpolated."""
    assert motion([Fraction(0), Fraction(60)], Fraction(60), True) == 0


@given(
    st.lists(st.fractions(min_value=Fraction(1, 90000), max_value=10, max_denominator=90000), min_size=1, max_size=4)
)
def test_common_unit_divides_all(values):
    unit = common_unit(values, limit=10**40)
    assert unit is not None
    assert all((v / unit).denominator == 1 for v in values)
    assert all((v / (2 * unit)).denominator == 1 for v in values) is False


def test_common_unit_gives_up_beyond_its_limit():
    assert common_unit([Fraction(1, 90000), Fraction(1, 90001)], limit=2**31 - 1) is None
    assert common_unit([Fraction(0)]) is None


def test_variable_rate_positions():
    out = spans(Rate(Fraction(10)), [Fraction(0), Fraction(1, 4), Fraction(1)], Fraction(1, 10))
    assert [[p for _, p in s] for s in out] == [
        [0, Fraction(2, 5), Fraction(4, 5)],
        [Fraction(n, 15) for n in (1, 3, 5, 7, 9, 11, 13)],
        [None],
    ]


@pytest.mark.parametrize("clock", [Multiply(3), Rate(Fraction(30))])
def test_one_frame_is_held(clock):
    (span,) = spans(clock, [Fraction(2)], Fraction(1, 10))
    assert [position for _, position in span] == [None] * 3
