import pytest
import torch
import torch.nn.functional as F

import vinr_engine as vinr
from vinr_engine.reference.sampling import sample_bilinear

sampled_mlp = vinr.ops.sampled_mlp


def draw(*shape):
    return torch.rand(shape, dtype=torch.float64) * 2 - 1


def problem(B=2, N=17, D=6, X=3):
    raw = [draw(B, 5, 4, 7), draw(B, 2, 9, 3)]
    positions = [torch.stack([draw(B, N) * m.shape[2], draw(B, N) * m.shape[3]], -1) for m in raw]
    first = draw(D, 5 + 2 + X), draw(D)
    layers = [(draw(8, D), draw(8)), (draw(3, 8), draw(3))]
    return raw, positions, draw(B, N, X), first, layers


@pytest.mark.parametrize("activation", ["sine", "relu", "gelu"])
def test_hoisting_is_exact(activation):
    """Sample then project, as networks are written, equals project then sample."""
    raw, positions, x, (weight, bias), layers = problem()
    act = {"sine": lambda z: torch.sin(7.0 * z), "relu": F.relu, "gelu": F.gelu}[activation]
    sampled = [sample_bilinear(m, p[..., 0], p[..., 1]).transpose(1, 2) for m, p in zip(raw, positions, strict=True)]
    expected = F.linear(torch.cat([*sampled, x], -1), weight, bias)
    for w, b in layers:
        expected = F.linear(act(expected), w, b)
    parts = weight.split([5, 2, 3], 1)
    maps = [torch.einsum("dc,bchw->bdhw", w, m) for w, m in zip(parts, raw, strict=False)]
    actual = sampled_mlp(maps, positions, layers, x=x, x_weight=parts[2], bias=bias, activation=activation, omega=7.0)
    torch.testing.assert_close(actual, expected)


def test_without_maps_or_layers():
    _, _, x, _, _ = problem()
    weight = draw(4, 3)
    torch.testing.assert_close(sampled_mlp([], [], [], x=x, x_weight=weight), x @ weight.T)


def test_gradcheck():
    raw, positions, x, (_, bias), layers = problem(B=1, N=4)
    maps = [draw(1, 6, 4, 7)]
    leaves = [t.requires_grad_() for t in (maps[0], positions[0], x, bias, *layers[0], *layers[1])]

    def call(m, p, x, bias, w1, b1, w2, b2):
        return sampled_mlp([m], [p], [(w1, b1), (w2, b2)], x=x, x_weight=draw_weight, bias=bias, omega=2.0)

    draw_weight = draw(6, 3)
    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(activation="tanh"), r"activation must be one of \['gelu', 'relu', 'sine'\], got 'tanh'"),
        (dict(positions=[]), "as many positions as maps"),
        (dict(x=None), "x and x_weight must be given together"),
        (dict(maps=[], positions=[], x=None, x_weight=None), "a map or x is needed"),
        (dict(positions=[draw(2, 17, 3)]), r"positions\[0\] must be \[B, N, 2\] = \[2, 17, 2\], got \[2, 17, 3\]"),
        (dict(bias=draw(7)), r"bias must be \[D\] = \[6\]"),
        (dict(layers=[(draw(8, 5), draw(8))]), r"layers\[0\] weight must be \[out, in\] = \[8, 6\], got \[8, 5\]"),
        (dict(x_weight=draw(5, 3)), r"x_weight must be \[D, X\] = \[6, 3\]"),
    ],
)
def test_bad_arguments(changes, message):
    _, positions, x, (_, bias), layers = problem()
    arguments = dict(
        maps=[draw(2, 6, 4, 7)], positions=positions[:1], layers=layers, x=x, x_weight=draw(6, 3), bias=bias
    )
    with pytest.raises(ValueError, match="sampled_mlp: " + message):
        sampled_mlp(**(arguments | changes))
