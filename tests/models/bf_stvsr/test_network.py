"""BF-STVSR as a network of the package; its query is held to the published one in tests/drop_in/test_bf_stvsr.py."""

import numpy as np
import pytest
import torch

import golden_cases
import vinr_engine as vinr
from golden_splatting import case_of
from training.runs import tiny
from video.clips import panning, read, write
from vinr_engine.models import BFSTVSR
from vinr_engine.training import loop

SMALL = {"groups": 2, "front_blocks": 1, "back_blocks": 1}
BESIDE = ("flow_predictor.fnet.conv1.weight", "encoder.pcd_align.TMB_A_L1.weight", "encoder.ConvBLSTM.TMB_x.bias")


def drawn():
    """A small network whose motion shows, from a seed."""
    torch.manual_seed(0)
    network = BFSTVSR(**SMALL).eval()
    _, parameters = case_of("bf_stvsr", "scale4", torch.float32)
    network.load_state_dict(network.state_dict() | parameters)
    return network


def published():
    """The parameters of a published file: an encoder of published size, the query, and what nothing runs."""
    encoder = golden_cases.weights.state_dict(3)
    state = {f"encoder.{n}": torch.from_numpy(a) for n, a in encoder.items() if "imnet" not in n}
    _, query = case_of("bf_stvsr", "scale4", torch.float32)
    return state | query | {name: torch.zeros(3) for name in BESIDE}


def test_a_published_file_loads(tmp_path):
    state = published()
    torch.save({"state_dict": {f"module.{n}": t for n, t in state.items()}}, tmp_path / "bf.pth")
    network = vinr.load_network(tmp_path / "bf.pth")
    assert isinstance(network, BFSTVSR)
    assert network.config == BFSTVSR().config
    found = network.state_dict()
    assert all(torch.equal(t, state[n].float()) for n, t in found.items())
    upsampler = ("encoder.upconv", "encoder.HRconv.", "encoder.conv_last.")
    assert {n for n in state if n not in found and not n.startswith(upsampler)} == set(BESIDE)


def test_round_trip(tmp_path):
    network = drawn()
    vinr.save_checkpoint(network, tmp_path / "bf.safetensors")
    again = vinr.load_network(tmp_path / "bf.safetensors")
    assert again.config == network.config
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in network.state_dict().items())


def test_a_missing_parameter_is_named(tmp_path):
    state = published()
    del state["synth_net.net.4.bias"]
    torch.save(state, tmp_path / "bf.pth")
    with pytest.raises(vinr.CheckpointError, match=r"this BFSTVSR; missing: synth_net\.net\.4\.bias"):
        vinr.load_network(tmp_path / "bf.pth")


@pytest.mark.parametrize("size", [(13, 18), (12, 16), (27, 30)])
def test_frames_of_any_size(size):
    """Sides that are no multiples of four are padded inside, and the picture covers the frame alone."""
    network, frames = drawn(), torch.rand(2, 2, 3, 9, 14)
    with torch.inference_mode():
        whole = network(frames, [0.0, 0.3], size)
        features = network.encode_pair(*(network.known(frame) for frame in frames.unbind(1)))
        torch.testing.assert_close(network.query(features, frames, [0.0, 0.3], size), whole, rtol=1e-4, atol=1e-4)
        alone = network(frames[1:], 0.3, size)
    assert whole.shape == (2, 2, 3, *size)
    torch.testing.assert_close(whole[1:, 1:], alone, rtol=1e-4, atol=1e-4)


def test_from_a_video_file_to_a_video_file(tmp_path):
    vinr.save_checkpoint(drawn(), tmp_path / "bf.safetensors")
    write(tmp_path / "in.mp4", panning(3, 48, 32))
    vinr.upscale(tmp_path / "in.mp4", tmp_path / "out.mp4", space=2.5, time=4, weights=tmp_path / "bf.safetensors")
    frames = read(tmp_path / "out.mp4")
    assert (len(frames), frames[0].width, frames[0].height) == (12, 120, 80)


def test_trains(tmp_path):
    run = tiny(model={"network": "BFSTVSR", **SMALL}, stages__0__flow_weight=0.0, stages__0__steps=2)
    trained = loop.train(run, tmp_path / "run", say=lambda text: None)
    assert isinstance(trained, BFSTVSR)
    assert np.isfinite(trained.alpha.item())
    assert [n for n, _ in trained.named_parameters() if n.startswith(trained.unused)] == ["imnet.phase.weight"]


@pytest.mark.parametrize("value", [{"groups": 3}, {"groups": 0}, {"front_blocks": -1}, {"back_blocks": 1.5}])
def test_bad_configurations(value):
    with pytest.raises(ValueError, match=f"BFSTVSR: {next(iter(value))} must"):
        BFSTVSR(**value)
