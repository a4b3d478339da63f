"""Networks with options that the published one has not: no ConvBLSTM, colours added to the warped, enlarged frames."""

import json

import pytest
import safetensors.torch
import torch

import vinr_engine as vinr
from vinr_engine.models.layers.warped_blend import bicubic, warp, warped_blend

SMALL = dict(nf=8, groups=2, front_blocks=1, back_blocks=1, hr_features=4)
SMALL |= dict(feat_hidden=(8,), flow_hidden=(8,), encode_hidden=(8,), recurrent=False, residual=True, motion_prior=True)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return vinr.VideoINR(**SMALL).double()


@pytest.mark.parametrize("size", [(28, 40), (7, 10), (5, 13), (33, 17)])
def test_it_starts_as_bicubic_and_blend(model, rng, size):
    frames = torch.rand(2, 2, 3, 7, 10, generator=rng, dtype=torch.float64)
    times = torch.tensor([[0.0, 0.25], [1.0, 0.5]], dtype=torch.float64)
    with torch.inference_mode():
        out = model(frames, times, size)
    enlarged = torch.stack([bicubic(frames[:, k], size) for k in (0, 1)], 1)
    t = times.T[..., None, None, None]
    torch.testing.assert_close(out, (1 - t) * enlarged[:, None, 0] + t * enlarged[:, None, 1])


def test_flow_follows_the_scale(model, rng):
    """The same flow, in input pixels, whatever the output's size."""
    last = model.flow_imnet.net[-1]
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.1, -0.2, 0.3, 0.4]))
    frames = torch.rand(1, 2, 3, 8, 12, generator=rng, dtype=torch.float64)
    with torch.inference_mode():
        features = model.encode(frames)
        for scale_y, scale_x in ((1, 1), (2, 3), (4, 2.5)):
            size = (8 * scale_y, int(12 * scale_x))
            _, flow = model.query_with_flow(features, frames, 0.5, size)
            unit = 4 * torch.tensor([scale_x, scale_y] * 2, dtype=torch.float64)
            expected = last.bias.detach() * unit
            torch.testing.assert_close(flow, expected[:, None, None].expand(1, 1, 4, *size))


def test_detail_is_added_to_the_input_it_belongs_to(model, rng):
    """Enlarged frames depend on their own frame, and follow it when the two are swapped."""
    torch.nn.init.normal_(model.conv_last.weight)
    frames = torch.rand(1, 2, 3, 6, 9, generator=rng, dtype=torch.float64)
    with torch.inference_mode():
        enlarged = model.enlarge(model.encode(frames), frames, (18, 27))
        swapped = model.enlarge(model.encode(frames.flip(1)), frames.flip(1), (18, 27))
    assert (enlarged - bicubic(frames, (18, 27))).abs().mean() > 1e-3
    torch.testing.assert_close(swapped.flip(1), enlarged)


def test_warp_reads_where_the_flow_points(rng):
    image = torch.rand(1, 3, 6, 9, generator=rng, dtype=torch.float64)
    flow = torch.tensor([2.0, -1.0], dtype=torch.float64)[None, :, None, None].expand(1, 2, 6, 9)
    torch.testing.assert_close(warp(image, flow)[..., 1:, :-2], image[..., :-1, 2:])
    torch.testing.assert_close(warp(image, flow)[..., 0, 0], image[..., 0, 2])  # the edge repeats
    half = torch.tensor([0.5, 0.0], dtype=torch.float64)[None, :, None, None].expand(1, 2, 6, 9)
    torch.testing.assert_close(warp(image, half)[..., :-1], (image[..., :-1] + image[..., 1:]) / 2)


def test_blend_takes_each_frame_by_its_own_flow(rng):
    frames = torch.rand(1, 2, 3, 5, 8, generator=rng, dtype=torch.float64)
    flow = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)[None, None, :, None, None].expand(1, 1, 4, 5, 8)
    out = warped_blend(frames, torch.tensor([[0.25]], dtype=torch.float64), flow)[0, 0]
    expected = 0.75 * frames[0, 0][:, :-1, 1:] + 0.25 * frames[0, 1][:, 1:, :-1]
    torch.testing.assert_close(out[:, :-1, :-1], expected)


def test_gradients_reach_every_parameter_that_is_used(model, rng):
    # What begins at zero stands in the way of what lies behind it.
    for name, parameter in model.named_parameters():
        if not parameter.any() or "conv_offset_mask" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    frames = torch.rand(1, 2, 3, 16, 16, generator=rng, dtype=torch.float64)
    model(frames, [0.3], (32, 32)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_checkpoints_keep_the_options(model, tmp_path):
    path = tmp_path / "residual.safetensors"
    vinr.save_checkpoint(model.float(), path, torch.float16)
    again = vinr.VideoINR.from_checkpoint(path)
    assert again.config == model.config
    assert path.stat().st_size < 2.2 * sum(p.numel() for p in model.parameters()) + 20_000
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(b, a.half().float(), rtol=0, atol=0)
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("upconv1")}
    safetensors.torch.save_file(state, path, metadata={"vinr_engine.config": json.dumps(model.config)})
    with pytest.raises(vinr.CheckpointError, match=r"missing: upconv1"):
        vinr.VideoINR.from_checkpoint(path)


def test_options_must_be_flags():
    for name in ("recurrent", "residual", "motion_prior"):
        with pytest.raises(ValueError, match=name):
            vinr.VideoINR(**{name: 1})


def test_queries_of_one_pair_can_share_what_is_enlarged(model, rng):
    torch.nn.init.normal_(model.conv_last.weight)
    frames = torch.rand(1, 2, 3, 6, 9, generator=rng, dtype=torch.float64)
    with torch.inference_mode():
        features = model.encode(frames)
        enlarged = model.enlarge(features, frames, (13, 20))
        shared = model.query(features, frames, 0.3, (13, 20), shared=enlarged)
        assert torch.equal(shared, model.query(features, frames, 0.3, (13, 20)))


def test_a_frame_has_not_moved_at_its_own_time(rng):
    frames = torch.rand(1, 2, 3, 5, 8, generator=rng, dtype=torch.float64)
    flow = torch.rand(1, 2, 4, 5, 8, generator=rng, dtype=torch.float64)
    out = warped_blend(frames, torch.tensor([[0.0], [1.0]], dtype=torch.float64), flow)
    torch.testing.assert_close(out, frames)
