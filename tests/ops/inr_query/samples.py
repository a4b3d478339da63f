"""Problems of the query, and the calls that tests make of them."""

import itertools

import torch

import vinr_engine as vinr


def siren(rng, widths, calm=1):
    """Weights that keep a phase of some turns, or fewer by the factor `calm`, through every layer."""
    return [
        (
            (torch.rand(b, a, generator=rng, dtype=torch.float64) * 2 - 1) * (6 / a) ** 0.5 / (10 * calm),
            (torch.rand(b, generator=rng, dtype=torch.float64) - 0.5) / calm,
        )
        for a, b in itertools.pairwise(widths)
    ]


def problem(
    seed=0,
    B=1,
    T=2,
    C=12,
    padded=(8, 8),
    lr_size=(7, 6),
    size=(15, 13),
    hidden=((16, 24), (8,), (20, 17)),
    features=6,
    u=4,
    flow=3.0,
    outputs=3,
    calm=1,
):
    rng = torch.Generator().manual_seed(seed)
    feat = siren(rng, (C + 9, *hidden[0], features), calm)
    flows = siren(rng, (features + C + 7, *hidden[1], 4), calm)
    flows[-1] = (flows[-1][0] * flow, flows[-1][1] * flow)
    encode = siren(rng, (2 * (features + C + 6) + 1, *hidden[2], outputs), calm)
    maps = torch.rand(B, C, *padded, generator=rng, dtype=torch.float64) * 2 - 1
    frames = torch.rand(B, 6, *padded, generator=rng, dtype=torch.float64)
    times = torch.rand(T, B, generator=rng, dtype=torch.float64)
    return maps, frames, times, lr_size, size, feat, flows, encode, u


def cast(arguments, dtype):
    def one(value):
        if isinstance(value, torch.Tensor):
            return value.to(dtype)
        return [tuple(t.to(dtype) for t in pair) for pair in value] if isinstance(value, list) else value

    return [one(a) for a in arguments]


def query(arguments, backend):
    with torch.inference_mode(), vinr.backend(backend):
        return vinr.ops.inr_query(*arguments)


SHAPES = {
    "some": {},
    "no upsampling": dict(u=1),
    "published widths": dict(C=192, hidden=((64, 64, 256), (64, 64, 256), (64, 64, 256, 256)), features=64),
    "odd widths": dict(hidden=((5, 33), (50, 3), (1, 70)), features=19),
    "one pixel": dict(padded=(4, 4), lr_size=(1, 1), size=(1, 1)),
    "one row": dict(size=(1, 50)),
    "several tiles": dict(size=(23, 29)),
    "whole tiles": dict(size=(8, 12)),
    "smaller than the frames": dict(size=(3, 4)),
    "batch": dict(B=3, T=1),
    "no times": dict(T=0),
    "empty batch": dict(B=0),
    "far flow": dict(flow=500.0),
}


def gradients(arguments, backend, wants=(True, True, True)):
    """Of a random function of both outputs: with respect to features, frames and every weight and bias."""
    leaves = []

    def leaf(tensor, wanted):
        tensor = tensor.detach().clone().requires_grad_(wanted)
        leaves.extend([tensor] if wanted else [])
        return tensor

    features, frames, times, lr_size, size, *networks, u = arguments
    networks = [[tuple(leaf(t, wants[2]) for t in pair) for pair in network] for network in networks]
    with vinr.backend(backend):
        image, flow = vinr.ops.inr_query(
            leaf(features, wants[0]), leaf(frames, wants[1]), times, lr_size, size, *networks, u
        )
    rng = torch.Generator().manual_seed(5)
    weights = [torch.rand(t.shape, generator=rng, dtype=torch.float64).to(t) for t in (image, flow)]
    return torch.autograd.grad((image * weights[0]).sum() + (flow * weights[1]).sum() * 0.01, leaves)


SHAPES_WITH_PIXELS = [name for name in SHAPES if name not in ("no times", "empty batch")]
