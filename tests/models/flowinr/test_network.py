"""FlowINR: what holds whatever its weights are, and what it begins with."""

import pytest
import torch
from PIL import Image

import vinr_engine as vinr
from vinr_engine.models import FlowINR, load_network, save_checkpoint
from vinr_engine.models.flowinr import enlarge
from vinr_engine.models.flowinr.enlarge import base, interpolation
from vinr_engine.models.flowinr.motion import candidates
from vinr_engine.reference.local_correlation import offsets

SMALL = {"nf": 8, "blocks": 2, "merge_blocks": 1, "pyramid": [8, 8, 8]}


@pytest.fixture
def model():
    """With weights as large as trained ones, in all of its parts."""
    torch.manual_seed(0)
    network = FlowINR(**SMALL).double().eval()
    with torch.no_grad():
        network.merge.decoder.functions.normal_(std=0.05)
        network.merge.flow.weight.normal_(std=0.02)
    return network


def frames(h=20, w=24, batch=1, seed=1):
    return torch.rand(batch, 2, 3, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(80, 96), (60, 48), (33, 50), (20, 24), (9, 70)])
def test_makes_pictures_of_any_size_at_any_times(model, size):
    out = model(frames(batch=2), [0.0, 0.3, 1.0], size)
    assert out.shape == (2, 3, 3, *size)
    assert out.isfinite().all()


@pytest.mark.parametrize("size", [(80, 96), (33, 50)])
def test_runs_with_operands_in_bfloat16(model, size):
    x = frames().float()
    exact = model.float()(x, 0.3, size)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(x, 0.3, size)
    assert out.dtype == torch.float32
    assert 0 < (out - exact).abs().mean() < 0.02


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 2), (17, 31)])
def test_takes_frames_of_any_size(model, shape):
    assert model(frames(*shape), 0.5, (2 * shape[0], 3 * shape[1])).isfinite().all()


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("time", [0.0, 0.37, 1.0])
def test_flat_frames_stay_exactly_flat(model, value, time):
    flat = torch.full((1, 2, 3, 16, 24), value, dtype=torch.float64)
    assert (model(flat, time, (64, 96)) - value).abs().max() < 1e-12


def test_flat_frames_that_fade_are_blended(model):
    flat = torch.stack([torch.full((1, 3, 16, 24), v, dtype=torch.float64) for v in (0.2, 0.8)], 1)
    middle = model(flat, 0.25, (64, 96)).detach()
    assert (middle - middle.mean()).abs().max() < 1e-12
    assert 0.2 < float(middle.mean()) < 0.8


def test_what_is_added_grows_with_contrast(model, monkeypatch):
    """Half the contrast on another grey gives half the picture on that grey, at a frame's own time."""
    monkeypatch.setattr(enlarge, "ROUNDING", 0.0)  # what is taken off for rounding does not grow: the next test
    x = frames()
    whole, half = (model.known(x[:, 0] * s + o, (80, 96)).enlarged for s, o in ((1, 0), (0.5, 0.3)))
    torch.testing.assert_close(half, 0.5 * whole + 0.3)


def test_little_is_added_to_what_is_rounding_alone(model):
    x = frames()[:, 0]
    size = (80, 96)

    def added(contrast):
        frame = 0.5 + contrast * (x - 0.5)
        return (model.known(frame, size).enlarged - base(frame, size)).abs().mean().item() / contrast

    assert added(1 / 255) < 0.5 * added(1.0)
    assert added(1 / 2550) < 0.05 * added(1.0)
    assert abs(added(0.5) - added(1.0)) < 0.01 * added(1.0)


def test_a_frame_has_not_moved_at_its_own_time(model):
    x = frames()
    first, last = model.query_with_flow(model.encode(x), x, [0.0, 1.0], (80, 96))[1].unbind(1)
    assert (first[:, :2] == 0).all()
    assert (last[:, 2:] == 0).all()


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_frames_own_time_is_no_other_than_times_beside_it(model, end, monkeypatch):
    x = frames()
    own = model(x, end, (80, 96))
    monkeypatch.setattr("vinr_engine.models.flowinr.network._end", lambda times: None)
    torch.testing.assert_close(own, model(x, end, (80, 96)))


def test_an_untrained_network_enlarges_and_blends():
    torch.manual_seed(0)
    network = FlowINR(**SMALL).double()
    torch.nn.init.zeros_(network.enlarger.decoder.functions)
    for parameter in (*network.motion.parameters(), *network.merge.flow.parameters()):
        torch.nn.init.zeros_(parameter)
    x = frames()
    large = base(x, (80, 96))
    torch.testing.assert_close(network(x, 0.25, (80, 96))[:, 0], 0.75 * large[:, 0] + 0.25 * large[:, 1])


def test_what_is_known_of_a_frame_serves_its_pairs(model):
    x = frames()
    known = [model.known(frame, (80, 96)) for frame in x.unbind(1)]
    assert known[0].enlarged.shape == (1, 3, 80, 96)
    torch.testing.assert_close(model.query(model.encode_pair(*known), x, 0.5, (80, 96)), model(x, 0.5, (80, 96)))
    torch.testing.assert_close(model.query(model.encode_pair(*known), x, 0.5, (40, 48)), model(x, 0.5, (40, 48)))


def test_inference_is_what_training_computes(model):
    single = model.float()
    x = frames().float()
    with torch.inference_mode():
        fast = single(x, 0.5, (80, 96))
    torch.testing.assert_close(fast, single(x, 0.5, (80, 96)), rtol=1e-4, atol=1e-5)


def test_every_parameter_learns(model):
    x = frames(batch=2)
    times = torch.tensor([[0.25, 0.5]])
    pictures, flows = model.train().training_outputs(x, times, (40, 48), 1, "pictures")
    (pictures.square().sum() + sum(flow.square().sum() for flow in flows)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_parts_are_the_parts_of_pictures(model):
    x, times = frames(batch=2), torch.tensor([[0.25, 0.5], [0.0, 1.0]])
    enlarged, none = model.training_outputs(x, times, (40, 48), 1, "frames")
    assert none is None
    torch.testing.assert_close(enlarged[:, 1], model.known(x[:, 1], (40, 48)).enlarged)
    nothing, flows = model.training_outputs(x, times, (40, 48), 1, "flow")
    assert nothing is None
    _, (whole, *levels) = model.training_outputs(x, times, (40, 48), 1, "pictures")
    assert whole.shape == (2, 2, 4, 40, 48)
    for a, b in zip(flows, levels, strict=True):
        torch.testing.assert_close(a, b)
    both = model.training_outputs(x, times, (40, 48), 1, "parts")
    torch.testing.assert_close(both[0], enlarged)


def test_a_checkpoint_brings_it_back(model, tmp_path):
    save_checkpoint(model.float(), tmp_path / "a.safetensors")
    again = load_network(tmp_path / "a.safetensors")
    assert isinstance(again, FlowINR)
    assert again.config == model.config
    x = frames().float()
    torch.testing.assert_close(again(x, 0.5, (40, 48)), model(x, 0.5, (40, 48)))


def test_values_between_knots_lie_on_straight_lines():
    shares = interpolation(torch.tensor([-1.0, 0.0, 0.25, 3.0]), (0.0, 1.0, 2.0))
    torch.testing.assert_close(shares @ torch.tensor([5.0, 7.0, 8.0]), torch.tensor([3.0, 5.0, 5.5, 9.0]))
    clamped = interpolation(torch.tensor([-1.0, 3.0]), (0.0, 1.0, 2.0), extrapolate=False)
    torch.testing.assert_close(clamped, torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]))


def test_the_scale_fades_to_nothing(model):
    x = frames()
    torch.testing.assert_close(model.known(x[:, 0], (20, 24)).enlarged, x[:, 0])


def test_upscale_takes_it(model, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for k in range(3):
        Image.new("RGB", (16, 12), (40 * k, 90, 200)).save(folder / f"{k}.png")
    summary = vinr.upscale(folder, tmp_path / "out", space=2, time=2, model=model.float())
    assert summary.frames_out == 5


@pytest.mark.parametrize("radius", [1, 3, 4])
def test_candidates_have_the_order_of_the_matches(radius):
    x, y = candidates(radius, torch.empty(0)).tolist()
    back_and_ahead = offsets(radius, 0.5)
    assert list(zip(y, x, strict=True)) == [(ay + by, ax + bx) for ay, ax, by, bx in back_and_ahead]
