"""docs/adding-a-network.md, followed literally: its network lies outside the package, and every tool takes it."""

import importlib
import re
from pathlib import Path

import pytest
import torch
import yaml

import vinr_engine as vinr
from training.runs import content
from video.clips import panning, read, write
from vinr_engine.errors import UsageError
from vinr_engine.evaluation.evaluate import evaluate
from vinr_engine.export import to_onnx
from vinr_engine.models.network import networks
from vinr_engine.models.tiled import Tiled
from vinr_engine.training import config, loop

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-network.md"
NETWORK, USE, RUN = re.findall(r"```(?:python|yaml)\n(.*?)```", PAGE.read_text(), re.S)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page's module, in a folder of its own that is the current one and holds a clip."""
    (tmp_path / "sharpened.py").write_text(NETWORK)
    write(tmp_path / "in.mp4", panning(3, 96, 80))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("sharpened")
    monkeypatch.delitem(networks, "Sharpened")
    monkeypatch.delitem(__import__("sys").modules, "sharpened")


def test_its_code_runs(page, tmp_path):
    exec(compile(USE, PAGE, "exec"), {})
    for name in ("out.mp4", "again.mp4"):
        frames = read(tmp_path / name)
        assert (len(frames), frames[0].width, frames[0].height) == (6, 192, 160)
    again = vinr.load_network("sharpened.safetensors")
    assert (type(again), again.config, again.strength.item()) == (
        page.Sharpened,
        {"mode": "bilinear"},
        pytest.approx(0.1),
    )
    with pytest.raises(vinr.CheckpointError, match="holds a Sharpened, not a VideoINR"):
        vinr.VideoINR.from_checkpoint("sharpened.safetensors")


def test_tiles(page, rng):
    network, frames = page.Sharpened().eval(), torch.rand(1, 2, 3, 90, 150, generator=rng)
    network.reach = 8
    tiled = Tiled(network, (60, 70), (90, 150), (180, 300))
    with torch.inference_mode():
        expected = network(frames, 0.25, (180, 300))
        known = [tiled.known(frame) for frame in frames.unbind(1)]
        torch.testing.assert_close(tiled.query(tiled.encode_pair(*known), frames, 0.25, (180, 300)), expected)


def test_evaluation(page):
    found = evaluate(["in.mp4"], model=page.Sharpened(), scales=[2], keeps=[2])
    (result,) = found.results
    assert 15 < result.mean("Sharpened", "all")[0] < 60
    assert "Sharpened above bicubic + blend" in found.as_text()


def test_training(page, tmp_path):
    model = yaml.safe_load(RUN)["model"]
    run = config.parse(content(model=model, stages__0__flow_weight=0.0, stages__0__steps=2), "test")
    trained = loop.train(run, tmp_path / "run", say=lambda text: None)
    assert isinstance(trained, page.Sharpened)
    assert trained.config == {"mode": "bilinear"}
    assert trained.strength != 0.1
    assert vinr.load_network(tmp_path / "run" / loop.WEIGHTS).strength == trained.strength


def test_a_checkpoint_of_a_network_that_is_not_registered(page, monkeypatch):
    vinr.save_checkpoint(page.Sharpened(), "a.safetensors")
    with monkeypatch.context() as patch:
        patch.delitem(networks, "Sharpened")
        with pytest.raises(
            vinr.CheckpointError, match=r"'Sharpened' that nobody has registered here; known: .*VideoINR"
        ):
            vinr.load_network("a.safetensors")


def test_an_export_names_what_it_takes(page):
    pytest.importorskip("onnx")
    with pytest.raises(UsageError, match="a Sharpened cannot be exported"):
        to_onnx(page.Sharpened(), "out")


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="has registered a network VideoINR already"):
        vinr.register(type("VideoINR", (vinr.NetworkModule,), {}))
