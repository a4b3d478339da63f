"""The learning rate."""

import pytest

import golden_cases
from vinr_engine.training.config import Optimiser
from vinr_engine.training.schedule import learning_rate


def test_golden_restarts():
    stored = golden_cases.load("training_pieces")["lr"]
    o = Optimiser(lr=1e-4, minimum=1e-7, period=15)
    assert [learning_rate(k, 60, o) for k in range(len(stored))] == pytest.approx(stored.tolist(), rel=1e-9)
    assert learning_rate(99, 60, o) == pytest.approx(1e-7)


def test_warmup_rises_to_the_rate():
    o = Optimiser(lr=1.0, minimum=0.0, warmup=4, decay=5)
    assert [learning_rate(k, 100, o) for k in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_decay_comes_last_and_nothing_before_it_knows_the_end():
    o = Optimiser(lr=1.0, minimum=0.0, decay=10)
    assert [learning_rate(k, 50, o) for k in range(41)] == [learning_rate(k, 500, o) for k in range(41)]
    assert learning_rate(45, 50, o) == pytest.approx(0.5)
    assert learning_rate(50, 50, o) == pytest.approx(0)
