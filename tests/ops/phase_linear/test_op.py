import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tolerances import OP, relative_error
from vinr_engine import reference
from vinr_engine.ops import phase_linear
from vinr_engine.reference.phase_linear import phases


def arguments(maps=(2, 3, 4, 5), size=(8, 10), outputs=3, dtype=torch.float64, seed=0):
    """maps [B, K, h, w], weights [Py, Px, C, K], size. Every number is the same in float32 and in float64."""
    rng = torch.Generator().manual_seed(seed)
    y, x = (phases(n, m) for n, m in zip(maps[2:], size, strict=True))
    return (
        torch.randn(maps, generator=rng).to(dtype),
        torch.randn(y, x, outputs, maps[1], generator=rng).to(dtype),
        size,
    )


def loop_oracle(maps, weights, size):
    """The definition, one output at a time."""
    B, _, h, w = maps.shape
    Py, Px, C, _ = weights.shape
    out = torch.zeros(B, C, *size, dtype=torch.float64)
    for b, c, i, j in itertools.product(range(B), range(C), range(size[0]), range(size[1])):
        y, x = (2 * i + 1) * h // (2 * size[0]), (2 * j + 1) * w // (2 * size[1])
        out[b, c, i, j] = (maps[b, :, y, x] * weights[i % Py, j % Px, c]).sum()
    return out


SIZES = [(8, 10), (16, 20), (4, 5), (12, 10), (7, 11), (6, 15), (2, 3), (1, 1), (9, 10)]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


@sizes
@pytest.mark.parametrize("function", [phase_linear, reference.phase_linear])
def test_matches_the_definition(function, size):
    given_ = arguments(size=size)
    assert relative_error(function(*given_), loop_oracle(*given_)) <= OP[torch.float64]


@sizes
def test_gradcheck(size):
    maps, weights, size = arguments(size=size)
    leaves = [t.requires_grad_() for t in (maps, weights)]
    assert torch.autograd.gradcheck(lambda m, w: phase_linear(m, w, size), leaves, fast_mode=True)


@settings(max_examples=60, deadline=None)
@given(
    maps=st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 6), st.integers(1, 6)),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    outputs=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_any_shape_in_float32(maps, size, outputs, seed):
    exact = arguments(maps, size, outputs, seed=seed)
    single = arguments(maps, size, outputs, torch.float32, seed)
    assert relative_error(phase_linear(*single), reference.phase_linear(*exact)) <= OP[torch.float32]


def test_a_pixel_has_as_many_phases_as_differ():
    assert [phases(4, n) for n in (4, 8, 6, 7, 2)] == [1, 2, 3, 7, 1]
