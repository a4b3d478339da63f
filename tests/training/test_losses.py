"""The losses against stored values and against their definitions."""

import math

import pytest
import torch

import golden_cases
from benchmarks.tolerances import LOSS
from vinr_engine.training.losses import LOSSES, charbonnier, laplacian

PIECES = golden_cases.load("training_pieces")


def test_charbonnier_golden():
    loss = charbonnier(torch.ones(2, 3, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64))
    assert loss.item() == pytest.approx(PIECES["charbonnier"].item(), rel=1e-12)


def test_laplacian_golden():
    a, b = (torch.from_numpy(PIECES[name]) for name in ("lap_a", "lap_b"))
    assert laplacian(a, b, "mean", levels=3).item() == pytest.approx(PIECES["lap"].item(), rel=LOSS)


@pytest.mark.parametrize("name", LOSSES)
def test_a_sum_is_the_mean_times_the_count(name, rng):
    a, b = torch.rand(2, 2, 2, 3, 40, 33, generator=rng, dtype=torch.float64)
    loss = LOSSES[name]
    assert loss(a, b, "sum").item() == pytest.approx(loss(a, b, "mean").item() * a.numel(), rel=1e-12)
    assert loss(a, a, "mean").item() <= 1.001e-3
    assert loss(a, b, "mean").item() > 0.01


def test_values(rng):
    a, b = torch.rand(2, 3, 4, 5, generator=rng, dtype=torch.float64)
    d = (a - b).flatten().tolist()
    for name, value in (("l1", abs), ("l2", lambda x: x * x), ("charbonnier", lambda x: math.sqrt(x * x + 1e-6))):
        assert LOSSES[name](a, b, "sum").item() == pytest.approx(sum(map(value, d)), rel=1e-12)
