"""Muon: kernels move by orthogonal steps, the rest as Adam moves it, and a state is complete."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from training.runs import tiny, weights
from vinr_engine.errors import StateError
from vinr_engine.training import loop, muon, state
from vinr_engine.training.muon import DECAY, Muon, is_matrix, orthogonal

WIDE = {"network": "FlowINR", "nf": 24, "blocks": 1, "merge_blocks": 1, "pyramid": [4, 4, 4]}
STAGE = {
    "steps": 6, "batch": 1, "data": {"source": "stills"}, "input_crop": 8, "scale": 2, "targets": 2,
    "times": "ends_and_between", "learn": "frames", "loss": "l1", "reduction": "mean",
}  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(n=st.integers(24, 80), m=st.integers(24, 300), size=st.floats(1e-4, 1e4), seed=st.integers(0, 99))
def test_orthogonal(n, m, size, seed):
    matrix = size * torch.randn(n, m, generator=torch.Generator().manual_seed(seed))
    found = orthogonal(matrix)
    assert found.shape == matrix.shape
    # Directions of a square matrix that it hardly has may stay behind.
    values = torch.linalg.svdvals(found)
    assert values.max() < 1.3
    assert values[: min(n, m) // 2].min() > 0.6
    # The nearest orthogonal matrix, u v of a singular value decomposition, has the same directions.
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert (found * (u @ v)).sum() / (found.norm() * (u @ v).norm()) > 0.9


def test_which_parameters_are_matrices():
    assert is_matrix(nn.Conv2d(24, 30, 3).weight)
    assert not is_matrix(nn.Conv2d(3, 48, 3).weight)
    assert not is_matrix(nn.Conv2d(48, 5, 3).weight)
    assert not is_matrix(nn.Linear(64, 64).weight)


def test_kernels_turn_and_the_rest_is_adams():
    torch.manual_seed(0)
    kernels = [nn.Parameter(torch.randn(shape)) for shape in ((24, 48, 3, 3), (300, 24, 1, 1))]
    rest = nn.Parameter(torch.randn(7))
    alone = nn.Parameter(rest.detach().clone())
    both = Muon([{"params": [rest], "lr": 0.1}, {"params": kernels, "lr": 0.01, "matrices": True}], betas=(0.9, 0.99))
    adam = torch.optim.Adam([alone], lr=0.1, betas=(0.9, 0.99))
    for _ in range(3):
        before = [k.detach().clone() for k in kernels]
        for p in (*kernels, rest):
            p.grad = torch.randn_like(p)
        alone.grad = rest.grad.clone()
        both.step()
        adam.step()
        for kernel, old in zip(kernels, before, strict=True):
            values = torch.linalg.svdvals((kernel.detach() - (1 - 0.01 * DECAY) * old).flatten(1))
            size = 0.01 * max(1, kernel.shape[0] / kernel[0].numel()) ** 0.5
            assert 0.6 * size < values.min() <= values.max() < 1.3 * size
    torch.testing.assert_close(rest, alone, rtol=0, atol=0)
    assert set(both.state[kernels[0]]) == {"exp_avg"}
    with pytest.raises(ValueError, match="closure"):
        both.step(lambda: None)


def test_kernels_stay_bounded_however_long_a_run_is():
    kernel = nn.Parameter(torch.zeros(24, 24, 3, 3))
    direction = torch.randn(24, 24, 3, 3)
    optimiser = Muon([{"params": [kernel], "lr": 0.5, "matrices": True}], betas=(0.9, 0.99))
    for _ in range(100):
        kernel.grad = -direction
        optimiser.step()
    size = torch.linalg.matrix_norm(kernel.detach().flatten(1), 2)
    assert 0.6 / DECAY < size < 1.3 / DECAY


def test_a_run_with_it_resumes(tmp_path, monkeypatch):
    changes = dict(model=WIDE, stages=[STAGE], optimiser__kernel_lr=0.02)
    whole = weights(loop.train(tiny(**changes), tmp_path / "whole", say=lambda text: None))
    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "_time_is_up", lambda self: self.state.step >= 3)
        loop.train(tiny(**changes), tmp_path / "part", say=lambda text: None)
    again = weights(loop.train(tiny(**changes), tmp_path / "part", resume=True, say=lambda text: None))
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    # Adam's run starts from none of Muon's states, nor the other way round.
    with pytest.raises(StateError, match="optimiser does not fit"):
        loop.train(tiny(model=WIDE, stages=[STAGE]), tmp_path / "part", resume=True, say=lambda text: None)
    assert state.states(tmp_path / "part" / "states")
    assert WIDE["nf"] == muon.LEAST_SIDE
