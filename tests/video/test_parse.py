from fractions import Fraction

import numpy as np
import pytest

from vinr_engine.errors import UsageError
from vinr_engine.video import parse


@pytest.mark.parametrize(
    ("text", "exact"),
    [("60", 60), ("24000/1001", Fraction(24000, 1001)), ("29.97", Fraction(30000, 1001)),
     ("23.976", Fraction(24000, 1001)),
     ("23.98", Fraction(24000, 1001)), ("59.94", Fraction(60000, 1001)),
     ("12.5", Fraction(25, 2)), (29.97, Fraction(30000, 1001)), (Fraction(7, 2), Fraction(7, 2)),
     ("0.5", Fraction(1, 2)), ("119.88", Fraction(120000, 1001))],
)  # fmt: skip
def test_rate(text, exact):
    assert parse.rate(text) == exact


@pytest.mark.parametrize("bad", ["0", "-5", "nan", "inf", "x", "1/0", "", "1e9", "30/1/1", "1/99999999", "1e-7"])
def test_bad_rate(bad):
    with pytest.raises(UsageError, match="--fps"):
        parse.rate(bad)


@pytest.mark.parametrize(
    ("text", "exact"),
    [("12.5", Fraction(25, 2)), ("1:02.250", Fraction(249, 4)), ("01:00:03", 3603), (2, 2), ("90", 90)],
)
def test_seconds(text, exact):
    assert parse.seconds(text, "--start") == exact


@pytest.mark.parametrize("bad", ["-1", "1:75", "1:60:00", "nan", "", "1h", "inf", Fraction(-1, 2)])
def test_bad_seconds(bad):
    with pytest.raises(UsageError, match="--start"):
        parse.seconds(bad, "--start")


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), "x", None])
def test_bad_scale(bad):
    with pytest.raises(UsageError, match="--space"):
        parse.scale(bad)


@pytest.mark.parametrize("bad", [0, -2, 1.5, float("nan"), float("inf"), 10**6, True, "8"])
def test_bad_multiplier(bad):
    with pytest.raises(UsageError, match="--time"):
        parse.multiplier(bad)


def test_numpy_numbers_are_numbers():
    assert parse.multiplier(np.int64(8)) == 8
    assert parse.size((np.int64(64), np.int32(48))) == (64, 48)


@pytest.mark.parametrize(
    "bad",
    ["1280", "0x5", "x", "99999x99999", "1280x-1", (1,), ("a", "b"), (-1, 5), (float("inf"), 2), (32.7, 24)],
)
def test_bad_size(bad):
    with pytest.raises(UsageError, match="--size"):
        parse.size(bad)


@pytest.mark.parametrize(
    ("space", "even", "expected"),
    [(2, True, (34, 10)), (1, True, (18, 6)), (1, False, (17, 5)), (1.5, False, (26, 8)), (0.25, False, (4, 1))],
)
def test_enlarged(space, even, expected):
    assert parse.enlarged(17, 5, space, even) == expected


@pytest.mark.parametrize("space", [0.01, 1e6, 1e300])
def test_enlarged_refuses(space):
    with pytest.raises(UsageError, match="--space"):
        parse.enlarged(17, 5, space, True)
