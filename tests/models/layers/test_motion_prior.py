"""The estimate of motion that a network may start from, on textures that move by known amounts."""

import math

import pytest
import torch

import vinr_engine as vinr
from benchmarks.tolerances import MOTION_PRIOR
from vinr_engine.models.layers.motion_prior import VELOCITY_UNIT, MotionPrior, optical_flow

NETWORK = dict(
    nf=8, groups=2, front_blocks=1, back_blocks=2, hr_features=4, feat_hidden=(8,), flow_hidden=(8,),
    encode_hidden=(8,), recurrent=False, residual=True, motion_prior=True,
)  # fmt: skip


def texture(y, x):
    """[3, h, w] in [0, 1] at any points: waves of several lengths, a sum of its own in each colour."""
    waves = [(0.31, 0.12, 0), (-0.17, 0.41, 1), (0.07, -0.23, 2), (0.52, 0.33, 3), (-0.45, 0.29, 4)]
    planes = [sum(torch.sin(a * x + b * y + p * (c + 1)) for a, b, p in waves) for c in range(3)]
    return 0.5 + torch.stack(planes) / 10


def pair(shift, size=(44, 56), dtype=torch.float64):
    """A texture that moves by `shift` (x, y) pixels: two frames [1, 3, h, w]."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=dtype) for n in size), indexing="ij")
    return texture(y, x)[None], texture(y - shift[1], x - shift[0])[None]


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.3), (1.5, 2.25), (-6.0, 3.5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flow_is_the_motion(shift, dtype):
    first, second = pair(shift, dtype=dtype)
    flow = optical_flow(first, second)
    assert flow.dtype == dtype
    edge = 10 + math.ceil(max(map(abs, shift)))  # what leaves the frame, and a window
    error = flow[..., edge:-edge, edge:-edge] - torch.tensor(shift, dtype=dtype)[:, None, None]
    assert error.abs().max() < MOTION_PRIOR


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 3), (17, 9), (36, 20)])
def test_any_size_gives_finite_flow_of_that_size(rng, size):
    first, second = torch.rand(2, 2, 3, *size, generator=rng)
    flow = optical_flow(first, second)
    assert flow.shape == (2, 2, *size)
    assert flow.isfinite().all()


def test_flat_frames_do_not_move():
    assert optical_flow(torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.7)).abs().max() == 0


def test_samples_do_not_mix(rng):
    first, second = torch.rand(2, 3, 3, 12, 20, generator=rng)
    alone = torch.cat([optical_flow(a, b) for a, b in zip(first.split(1), second.split(1), strict=True)])
    torch.testing.assert_close(optical_flow(first, second), alone)


def test_values_are_velocity_disagreement_and_what_is_left():
    shift = (2.0, -1.0)
    values = MotionPrior.values(*pair(shift))[..., 10:-10, 10:-10]
    velocity = torch.tensor(shift, dtype=torch.float64)[:, None, None] / VELOCITY_UNIT
    assert (values[:, :2] - velocity).abs().max() < MOTION_PRIOR
    assert values[:, 2:].abs().max() < MOTION_PRIOR
    first, second = pair(shift)
    swapped = MotionPrior.values(second, first)
    forward = MotionPrior.values(first, second)
    torch.testing.assert_close(swapped[:, :2], -forward[:, :2])
    torch.testing.assert_close(swapped[:, 4:], forward[:, 4:].flip(1))


def test_autocast_leaves_the_estimate_in_float32(rng):
    prior = MotionPrior(8)
    first, second = torch.rand(2, 1, 3, 16, 16, generator=rng)
    plain = prior(first, second)
    with torch.autocast("cpu", torch.bfloat16):
        low = prior(first, second)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), plain, atol=2e-2, rtol=2e-2)


def test_networks_start_from_it():
    """Before any training the flow is -t v and (1 - t) v, whatever the scale."""
    torch.manual_seed(0)
    model = vinr.VideoINR(**NETWORK).double()
    model.initialise()
    shift = (2.0, -1.0)
    frames = torch.stack(pair(shift), 1)
    size = (88, 112)
    with torch.inference_mode():
        for t in (0.0, 0.25, 0.5, 1.0):
            _, flow = model.query_with_flow(model.encode(frames), frames, t, size)
            expected = torch.tensor([-t * s for s in shift] + [(1 - t) * s for s in shift], dtype=torch.float64)
            error = flow[0, 0, :, 24:-24, 24:-24] / 2 - expected[:, None, None]
            assert error.abs().max() < MOTION_PRIOR + 0.05 * math.hypot(*shift)


@pytest.mark.parametrize("hidden", [(5,), (16, 16)])
def test_a_flow_network_that_cannot_start_from_it_is_refused(hidden):
    with pytest.raises(ValueError, match="flow_hidden of one layer, six or more wide"):
        vinr.VideoINR(**{**NETWORK, "flow_hidden": hidden}).initialise()
