"""The command that weights are chosen by."""

import pytest
import torch
import torch.nn.functional as F

from benchmarks.quality import held_out
from vinr_engine.errors import DataError
from vinr_engine.models.flowinr import FlowINR
from vinr_engine.models.layers.warped_blend import bicubic
from vinr_engine.training.config import Data, Validation
from vinr_engine.training.samples import inputs_of
from vinr_engine.training.validate import psnr_y


@pytest.fixture
def network(monkeypatch):
    scene = Validation(data=Data(source="procedural", photos="held_out", motion=4), samples=2, input_crop=16, scale=2)
    monkeypatch.setattr(held_out, "SCENES", {"few": scene})
    monkeypatch.setattr(held_out, "STILLS", 2)
    torch.manual_seed(0)
    return FlowINR(nf=8, blocks=1, merge_blocks=1, pyramid=[8, 8, 8]).eval()


@torch.inference_mode()
def test_every_figure_is_there(network, monkeypatch, capsys):
    (row,) = held_out.scenes(network)
    assert row[0] == "few: 4 px of 32"
    assert all(-10 < float(figure) < 101 for figure in row[1:])

    def absent():
        raise DataError("no teacher here")

    monkeypatch.setattr(held_out, "Teacher", absent)
    ((name, gain),) = held_out.stills(network)
    assert name == "network"
    assert -10 < float(gain) < 10
    assert "no teacher here" in capsys.readouterr().out


@torch.inference_mode()
def test_a_network_that_adds_nothing_gains_what_its_base_does(network):
    network.enlarger.decoder.functions.zero_()
    network.merge.decoder.functions.zero_()
    true = held_out.crops()
    low = inputs_of(true, 32)
    sharper, softer = F.interpolate(low, (128, 128), mode="bicubic"), bicubic(low, (128, 128))
    gain = float((psnr_y(sharper, true) - psnr_y(softer, true)).mean())
    assert float(dict(held_out.stills(network))["network"]) == pytest.approx(gain, abs=2e-3)


def test_weights_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["held_out", "--weights", str(tmp_path / "none.safetensors")])
    with pytest.raises(SystemExit, match="no such checkpoint"):
        held_out.main()
