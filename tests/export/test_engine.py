"""Engines run by a stand-in for TensorRT on the CPU (tests/fake_tensorrt.py); none ever ran on a GPU here."""

import json
import shutil
import types

import numpy as np
import pytest
import torch

import fake_tensorrt
import vinr_engine as vinr
from export_cases import decode
from video.clips import panning, read, write
from vinr_engine.cli import main as cli
from vinr_engine.errors import UsageError, WeightsError
from vinr_engine.export import Engine
from vinr_engine.export.tensorrt import build as tensorrt_build
from vinr_engine.export.tensorrt import engine as module
from vinr_engine.export.tensorrt import engine_files
from vinr_engine.export.tensorrt.engine_files import Report, fingerprint
from vinr_engine.models import SMALL_VIDEOINR

LIMITS = engine_files.Limits(((16, 16), (16, 16), (64, 64)), ((16, 16), (32, 32), (96, 96)))


@pytest.fixture
def files(own, tmp_path):
    """What to_tensorrt leaves, for an SM86."""
    files = engine_files.paths(tmp_path / "m.engine")
    shutil.copy(own / "encoder.onnx", files.encoder)
    shutil.copy(own / "query.onnx", files.query)
    write_report(files)
    return files


def write_report(files, **changes):
    graphs = {g: {"sha256": fingerprint(getattr(files, g).read_bytes())} for g in ("encoder", "query")}
    values = {
        "version": vinr.__version__, "builder": "tensorrt-rtx 0.0", "targets": ["SM86"], "dtype": "float32",
        "limits": LIMITS, "workspace": None, "config": {}, "frame_upsample": 4, "profile": "portable", "graphs": graphs,
    }  # fmt: skip
    files.report.write_text(Report(**values | changes).to_json())


@pytest.fixture
def gpu(monkeypatch):
    """A GPU, an SM86, with TensorRT."""
    monkeypatch.setattr(module, "DEVICE", "cpu")
    monkeypatch.setattr(module, "runtime_module", lambda name, *_: (name, fake_tensorrt))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 6))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: types.SimpleNamespace(cuda_stream=0))


def engine(files):
    return Engine(files.report.with_suffix(".engine"))


def upscale(capsys, *arguments):
    code = cli.main(["upscale", *map(str, arguments), "--space", "2", "--time", "2", "--quiet"])
    return (code, *capsys.readouterr())


def test_a_video_by_engines(files, gpu, tmp_path, capsys):
    clip = write(tmp_path / "in.mp4", panning(3, 32, 24))
    options = ("--runtime", "tensorrt", "--model", tmp_path / "m.engine")
    assert upscale(capsys, clip, tmp_path / "a", *options) == (0, "", "")
    assert upscale(capsys, clip, tmp_path / "b", "--device", "cpu", "--weights", SMALL_VIDEOINR) == (0, "", "")
    a, b = (np.stack([f.to_ndarray(format="rgb24") for f in read(sorted((tmp_path / n).iterdir())[1])]) for n in "ab")
    assert np.abs(a.astype(int) - b).max() <= 1


def test_sizes_outside_the_profile(files, gpu):
    network = engine(files)
    with pytest.raises(UsageError, match=r"frames \[1, 2, 3, 16, 68\] lies outside the engine's profile"):
        decode(network, torch.rand(1, 2, 3, 16, 66), [0.5], (32, 32))
    with pytest.raises(UsageError, match="97x32 lies outside the engine's outputs, 16x16 to 96x96"):
        decode(network, torch.rand(1, 2, 3, 16, 16), [0.5], (32, 97))
    network.check((32, 96), None, (13, 63))
    with pytest.raises(UsageError, match="frames of 65x16 lie outside the engine's, 16x16 to 64x64"):
        network.check((32, 96), None, (16, 65))


def test_an_engine_for_another_gpu(files, gpu, monkeypatch):
    files.query.write_bytes(b"of another GPU")
    write_report(files)
    with pytest.raises(WeightsError, match=r"m\.query\.engine: not an engine for this GPU and this TensorRT 0\.0"):
        engine(files)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))
    with pytest.raises(WeightsError, match="built for SM86, this GPU is SM89: build it for that"):
        engine(files)


def test_an_engine_of_another_version(files):
    files.report.write_text(files.report.read_text().replace(vinr.__version__, "0.0.0"))
    with pytest.raises(WeightsError, match=r"built by vinr_engine 0\.0\.0, .*: build it again"):
        engine(files)


def test_engines_that_do_not_belong_together(files, gpu):
    files.query.write_bytes(b"of another network")
    with pytest.raises(WeightsError, match=r"m\.query\.engine: not the engine that the report beside it is of"):
        engine(files)
    files.query.unlink()
    with pytest.raises(WeightsError, match=r"m\.query\.engine: No such file"):
        engine(files)


@pytest.mark.parametrize(
    "changes",
    [{"builder": ""}, {"builder": "\x1b[2J 1"}, {"builder": "tensorrt 1\x1b[2J"}, {"targets": 86}, {"targets": [86]},
     {"limits": {}}, {"limits": {"frames": 3}}, {"limits": {"frames": [[1, 1]] * 3}}, {"graphs": []},
     {"graphs": {"encoder": {}}}, {"version": 5}, {"version": "0\n1"}, {"more": 1}],
    ids=str,
)  # fmt: skip
def test_a_damaged_report(files, gpu, changes):
    files.report.write_text(json.dumps(json.loads(files.report.read_text()) | changes))
    with pytest.raises(WeightsError, match=r"m\.json: not a report of vinr export tensorrt$"):
        engine(files)


def test_what_is_missing_is_one_line(files, gpu, tmp_path, capsys, monkeypatch):
    options = ("--runtime", "tensorrt", "--model", tmp_path / "m.engine")
    monkeypatch.setattr(module, "runtime_module", tensorrt_build.runtime_module)
    monkeypatch.setattr(tensorrt_build, "find_spec", lambda name: None)
    code, out, err = upscale(capsys, "in.mp4", tmp_path / "a", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "tensorrt-rtx is not installed: pip install tensorrt-rtx-cu13" in err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, err = upscale(capsys, "in.mp4", tmp_path / "a", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "needs an NVIDIA GPU" in err
