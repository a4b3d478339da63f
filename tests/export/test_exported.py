"""What an exported model says of itself, what it is refused for, and where it can be written."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnx
import pytest
import torch

from export_cases import SMALL, network
from video.clips import panning, write
from vinr_engine import files
from vinr_engine.errors import UsageError, VinrError, WeightsError
from vinr_engine.export import ExportedModel, metadata, to_onnx
from vinr_engine.export.metadata import PREFIX
from vinr_engine.export.onnx import model as onnx_model
from vinr_engine.export.options import Options
from vinr_engine.export.runtimes import exported
from vinr_engine.models.tiled import Tiled, estimate, fitted
from vinr_engine.video.render import upscale
from vinr_engine.video.schedule import Multiply, Rate

OPTIONS = Options("portable", "grid_sample", "float32", 4, None, None, 20, "blocks")


def test_times_that_are_fixed(own, rng, monkeypatch):
    """What a clip will need is known before its first picture, and one run makes the pictures of all times."""
    model, frames = ExportedModel(own), torch.rand(1, 2, 3, 12, 16, generator=rng)
    features, times = model.encode_pair(frames[:, 0], frames[:, 1]), (0.0, 0.333333, 1.0)
    expected = model.query(features, frames, times, (20, 30))
    monkeypatch.setattr(model, "options", replace(model.options, times=times))
    assert model.at_once((20, 30)) == 1
    runs, run = [], model._query.run
    monkeypatch.setattr(model._query, "run", lambda feeds: runs.append(1) or run({**feeds, "times": np.float32(times)}))
    for k, t in enumerate((0, Fraction(1, 3), 1)):
        assert torch.equal(model.query(features, frames, [t], (20, 30)), expected[:, k : k + 1])
    assert len(runs) == 1
    model.check((20, 30), times)
    with pytest.raises(UsageError, match=r"decodes the times 0,0\.333333,1 alone, not 0,0\.5,1: export it for those"):
        model.check((20, 30), Multiply(2).positions())
    with pytest.raises(UsageError, match="alone, and any may be needed: export it without"):
        model.check((20, 30), Rate(Fraction(30)).positions())


def test_a_clip_is_refused_before_it_is_begun(own, tmp_path, monkeypatch):
    model = ExportedModel(own)
    monkeypatch.setattr(model, "options", replace(model.options, times=(0.0, 0.5)))
    monkeypatch.setattr(model, "encode_pair", None)
    with pytest.raises(UsageError, match=r"decodes the times 0,0\.5 alone, not 0,0\.5,1"):
        upscale(write(tmp_path / "in.mp4", panning(3, 16, 12)), tmp_path / "out.mp4", time=2, model=model)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_each_file_of_a_pair_names_it(own):
    for name in ("encoder.onnx", "query.onnx"):
        assert exported.find(own / name) == exported.find(own)


def empty(entries):
    model = onnx.helper.make_model(onnx.helper.make_graph([], "graph", [], []))
    onnx.helper.set_model_props(model, entries)
    return model


@pytest.mark.parametrize(
    ("key", "value"),
    [("options", []), ("options", {}), ("options", {"dtype": "banana"}), ("options", {"times": 5}), ("options", 3),
     ("options", {"size": "x"}), ("options", {"size": [8]}), ("options", {"frame_upsample": "4"}), ("config", None),
     ("graph", "\x1b[2J"), ("options", {"more": 1}), ("format", [1]), ("format", "\x1b[2J")],
    ids=str,
)  # fmt: skip
def test_damaged_metadata(tmp_path, key, value):
    entries = metadata.of(network(SMALL), OPTIONS, "encoder")
    name = f"{PREFIX}.{key}"
    if isinstance(value, dict) and value:
        value = json.loads(entries[name]) | value
    entries[name] = json.dumps(value)
    path = tmp_path / "encoder.onnx"
    onnx.save(empty(entries), path)
    with pytest.raises(WeightsError, match=r"encoder\.onnx: its metadata are damaged: export it again$"):
        metadata.read(path)


def test_metadata_of_another_version(tmp_path):
    path = tmp_path / "encoder.onnx"
    entries = {"format": 1, "version": "0.0.1\n\x1b[2J", "graph": "encoder", "options": {}}
    onnx.save(empty({f"{PREFIX}.{key}": json.dumps(value) for key, value in entries.items()}), path)
    with pytest.raises(WeightsError, match="damaged"):
        metadata.read(path)
    entries["version"] = "0.0.1"
    onnx.save(empty({f"{PREFIX}.{key}": json.dumps(value) for key, value in entries.items()}), path)
    with pytest.raises(WeightsError, match=r"exported by vinr_engine 0\.0\.1 in format 1, this version reads format 3"):
        metadata.read(path)


def test_graphs_of_two_networks_differ_in_their_metadata():
    one, other = (metadata.of(network(SMALL, seed), OPTIONS, "query") for seed in (1, 2))
    assert {key for key in one if one[key] != other[key]} == {f"{PREFIX}.weights"}


def test_a_destination_that_cannot_be_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("kept")
    monkeypatch.setattr(onnx_model, "export_encoder", None)
    for name in ("file", "file/m.onnx", "file/a/b"):
        with pytest.raises(VinrError, match=r"cannot write into .*: .*file is not a folder$"):
            to_onnx(network(SMALL), tmp_path / name)
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(VinrError, match=r"cannot write into .*: no permission to write into"):
        to_onnx(network(SMALL), tmp_path / "a")
    assert (tmp_path / "file").read_text() == "kept"


def test_drafts_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(VinrError, match=r"cannot write .*: Not a directory"),
        files.reported(tmp_path / "file/a"),
        files.draft(tmp_path / "file/a") as new,
    ):
        new.write_text("")
    with pytest.raises(VinrError, match=r"cannot make the folder .*: File exists"):
        files.make_folder(tmp_path / "file")


def test_memory_bounds_graphs_of_any_size(own, monkeypatch):
    model, frames, size = ExportedModel(own), (360, 640), (720, 1280)
    whole = estimate(model, frames, size, torch.device("cpu"))
    tiled = fitted(model, frames, size, whole - 10**9, torch.device("cpu"))
    assert isinstance(tiled, Tiled)
    assert tiled.tile[0] < 360
    monkeypatch.setattr(model, "options", replace(model.options, size=size))
    assert model.need(frames, size) is None
