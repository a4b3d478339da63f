"""MATLAB-like resizing: the stored results, and what follows from its definition."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tolerances import RESIZE
from vinr_engine.evaluation.resize import resize

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "training_pieces.npz")
SCALES = {"1_2": 1 / 2, "1_4": 1 / 4, "1_8": 1 / 8, "x2.7_down": 1 / 2.7, "up3": 3.0}


@pytest.mark.parametrize("name", SCALES)
def test_golden(name):
    image = torch.from_numpy(GOLDEN["image"]).permute(2, 0, 1)
    expected = torch.from_numpy(GOLDEN[f"resize_{name}"]).permute(2, 0, 1)
    batch = torch.stack([image, image.flip(0)])
    out = resize(batch, SCALES[name])
    assert out.shape[1:] == expected.shape
    torch.testing.assert_close(out, torch.stack([expected, expected.flip(0)]), rtol=0, atol=RESIZE)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.1, 5))
def test_constants_stay_and_mirrors_commute(h, w, scale):
    image = torch.rand(h, w, dtype=torch.float64)
    out = resize(torch.full_like(image, 0.3), scale)
    torch.testing.assert_close(out, torch.full_like(out, 0.3))
    torch.testing.assert_close(resize(image.T, scale), resize(image, scale).T)


def test_size_keeps_where_pixels_lie():
    image = torch.rand(3, 20, 24)
    torch.testing.assert_close(resize(image, 0.25, (3, 5)), resize(image, 0.25)[:, :3, :5])


@pytest.mark.parametrize(("shape", "scale"), [((4, 4), 0), ((4, 4), float("nan")), ((0, 4), 1), ((4,), 1)])
def test_refusals(shape, scale):
    with pytest.raises(ValueError, match="resize"):
        resize(torch.zeros(shape), scale)
