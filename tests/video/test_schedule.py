from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vinr_engine.video.schedule import Multiply, Rate, common_unit, spans

gaps = st.lists(st.fractions(min_value=Fraction(1, 1000), max_value=3, max_denominator=90000), min_size=0, max_size=12)
starts = st.fractions(min_value=0, max_value=5, max_denominator=1000)
rates = st.fractions(min_value=Fraction(1, 2), max_value=240, max_denominator=1001)


def clip(start, gaps, cuts=()):
    times = list(accumulate([start, *gaps]))
    return [(t, n in cuts) for n, t in enumerate(times)]


@given(starts, gaps, st.integers(1, 9), st.sets(st.integers(1, 12)))
def test_multiply_gives_k_frames_for_each_input_frame(start, gaps, k, cuts):
    stamps = clip(start, gaps, cuts)
    out = list(spans(Multiply(k), stamps, Fraction(1, 10)))
    assert [s.left for s in out] == list(range(len(stamps)))
    assert all(len(s.moments) == k for s in out)
    times = [t for s in out for t, _ in s.moments]
    assert times == sorted(set(times))
    assert [s.moments[0] for s in out] == [(t, 0) for t, _ in stamps]
    # a hold before each cut and at the end, nothing else
    assert [s.hold for s in out] == [*(cut for _, cut in stamps[1:]), True]


@given(starts, gaps, st.integers(1, 9))
def test_a_folder_ends_on_the_last_frame(start, gaps, k):
    out = list(spans(Multiply(k), clip(start, gaps), Fraction(1, 10), copies=False))
    assert sum(len(s.moments) for s in out) == len(gaps) * k + 1


@given(starts, gaps, rates, st.fractions(min_value=Fraction(1, 100), max_value=1, max_denominator=1000))
def test_rate_gives_every_n_below_the_end(start, gaps, fps, last):
    stamps = clip(start, gaps)
    end = stamps[-1][0] + last
    out = list(spans(Rate(fps), stamps, last))
    times = [t for s in out for t, _ in s.moments]
    assert times == [start + n / fps for n in range(len(times))]
    assert times[-1] < end <= start + len(times) / fps
    for span in out:
        for time, position in span.moments:
            left = stamps[span.left][0]
            assert left <= time
            if not span.hold:
                right = stamps[span.left + 1][0]
                assert 0 <= position < 1
                assert left + position * (right - left) == time


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
    out = list(
        spans(
            Rate(Fraction(10)), [(Fraction(0), False), (Fraction(1, 4), False), (Fraction(1), False)], Fraction(1, 10)
        )
    )
    assert [[p for _, p in s.moments] for s in out] == [
        [0, Fraction(2, 5), Fraction(4, 5)],
        [
            Fraction(1, 15),
            Fraction(3, 15),
            Fraction(5, 15),
            Fraction(7, 15),
            Fraction(9, 15),
            Fraction(11, 15),
            Fraction(13, 15),
        ],
        [0],
    ]


@pytest.mark.parametrize("clock", [Multiply(3), Rate(Fraction(30))])
def test_one_frame_is_held(clock):
    (span,) = spans(clock, [(Fraction(2), False)], Fraction(1, 10))
    assert span.hold
    assert len(span.moments) == 3
