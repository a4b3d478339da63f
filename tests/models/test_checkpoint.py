import collections
import json
import os
import pathlib
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch

import golden_cases
import vinr_engine as vinr
from vinr_engine.models.checkpoint import METADATA_KEY

SMALL = dict(
    nf=8,
    groups=2,
    front_blocks=1,
    back_blocks=2,
    hr_features=6,
    feat_hidden=(5, 7),
    flow_hidden=(9,),
    encode_hidden=(4, 3),
)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return vinr.VideoINR(**SMALL)


def same(a, b):
    x, y = a.state_dict(), b.state_dict()
    return a.config == b.config and list(x) == list(y) and all(torch.equal(x[k], y[k]) for k in x)


def test_names_shapes_and_order_are_the_published_ones():
    with torch.device("meta"):
        state = vinr.VideoINR().state_dict()
    assert {k: tuple(v.shape) for k, v in state.items()} == golden_cases.weights.shapes()
    assert list(state) == list(golden_cases.weights.shapes())


def test_published_file_loads(tmp_path):
    state = {k: torch.from_numpy(v) for k, v in golden_cases.weights.state_dict(3).items()}
    torch.save(collections.OrderedDict(state), tmp_path / "latest_G.pth")
    model = vinr.VideoINR.from_checkpoint(tmp_path / "latest_G.pth")
    assert model.config == vinr.VideoINR().config
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert not model.training


WRAPPED = {
    "plain": lambda state: state,
    "module prefix": lambda state: {"module." + k: v for k, v in state.items()},
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "params": lambda state: {"params": state},
    "twice": lambda state: {"model": {"state_dict": {"module." + k: v for k, v in state.items()}}},
    "training state": lambda state: {
        "iter": np.int64(7),
        "loss": np.float64(0.5),
        "best": np.float32(31.5),
        "schedulers": [{"milestones": collections.Counter([1, 2]), "base_lrs": [1e-4]}],
        "network": state,
    },
    "half precision": lambda state: {k: v.half() for k, v in state.items()},
    "without the unused upsampler": lambda state: {
        k: v for k, v in state.items() if not k.startswith(("upconv", "HRconv", "conv_last"))
    },
}


@pytest.mark.parametrize("what", WRAPPED)
def test_pth_forms(tmp_path, small, what):
    path = tmp_path / "file.pth"
    torch.save(WRAPPED[what](small.state_dict()), path)
    model = vinr.VideoINR.from_checkpoint(path)
    assert model.config == small.config
    loaded, saved = model.state_dict(), small.state_dict()
    used = [k for k in saved if not k.startswith(("upconv", "HRconv", "conv_last"))]
    for name in used:
        expected = saved[name].half().float() if what == "half precision" else saved[name]
        assert torch.equal(loaded[name], expected), name
    assert all(v.dtype == torch.float32 and v.device.type == "cpu" for v in loaded.values())


def test_old_zip_free_format(tmp_path, small):
    path = tmp_path / "old.pth"
    torch.save(small.state_dict(), path, _use_new_zipfile_serialization=False)
    assert same(vinr.VideoINR.from_checkpoint(path), small)


def test_safetensors_round_trip(tmp_path, small):
    path = tmp_path / "small.safetensors"
    vinr.save_checkpoint(small, path)
    model = vinr.VideoINR.from_checkpoint(str(path))
    assert same(model, small)
    assert os.listdir(tmp_path) == ["small.safetensors"]
    frames = torch.rand(1, 2, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(model(frames, 0.5, (16, 16)), small(frames, 0.5, (16, 16)))


def test_safetensors_without_metadata(tmp_path, small):
    path = tmp_path / "bare.safetensors"
    safetensors.torch.save_file(small.state_dict(), path)
    assert same(vinr.VideoINR.from_checkpoint(path), small)


def test_a_loaded_model_trains(tmp_path, small):
    vinr.save_checkpoint(small, tmp_path / "a.safetensors")
    model = vinr.VideoINR.from_checkpoint(tmp_path / "a.safetensors")
    model(torch.rand(1, 2, 3, 4, 4), 0.5, (8, 8)).sum().backward()
    assert model.conv_first.weight.grad is not None


def test_failed_save_leaves_the_old_file(tmp_path, small, monkeypatch):
    path = tmp_path / "a.safetensors"
    vinr.save_checkpoint(small, path)
    before = path.read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        vinr.save_checkpoint(small, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_saved_file_has_the_usual_permissions(tmp_path, small):
    (tmp_path / "other").touch()
    vinr.save_checkpoint(small, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_save_takes_safetensors_only(tmp_path, small):
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        vinr.save_checkpoint(small, tmp_path / "a.pth")


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(self.path),)


@pytest.mark.parametrize("writer", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, small, writer):
    path, witness = tmp_path / "evil.pth", tmp_path / "witness"
    writer({"state_dict": small.state_dict(), "x": RunsCode(witness)}, path)
    with pytest.raises(vinr.CheckpointError, match="refused: its pickle would run code"):
        vinr.VideoINR.from_checkpoint(path)
    assert not witness.exists()


class CallsTheSystem:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


def test_a_function_that_torch_blocks_is_named(tmp_path):
    path, witness = tmp_path / "evil.pth", tmp_path / "witness"
    torch.save({"x": CallsTheSystem(witness)}, path)
    with pytest.raises(vinr.CheckpointError, match=r"refused: its pickle would run code \((posix|nt)\.system\)"):
        vinr.VideoINR.from_checkpoint(path)
    assert not witness.exists()


def changed(state, **changes):
    out = dict(state)
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del out[name]
        else:
            out[name] = value
    return out


WRONG = {
    "missing": (lambda s: changed(s, fusion__bias=None), r"missing: fusion\.bias$"),
    "unexpected": (lambda s: changed(s, extra__weight=torch.zeros(1)), r"unexpected: extra\.weight$"),
    "misshapen": (lambda s: changed(s, fusion__bias=torch.zeros(3)), r"misshapen: fusion\.bias is \[3\], not \[8\]$"),
    "integers": (
        lambda s: changed(s, fusion__bias=torch.zeros(8, dtype=torch.int64)),
        r"not floating-point: fusion\.bias$",
    ),
    "no size to read off": (lambda s: changed(s, conv_first__weight=None), r"missing: conv_first\.weight$"),
    "another network": (lambda s: {"layer.weight": torch.zeros(2, 2)}, r"missing: feat_imnet\.net\.0\.linear\.weight$"),
    "an optimiser state": (lambda s: {"epoch": 1, "optimizers": []}, r"holds no parameters, but epoch, optimizers$"),
    "a tensor": (lambda s: torch.zeros(3), r"holds no parameters, but Tensor$"),
    "nothing": (lambda s: {}, r"holds no parameters, but dict$"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_content_is_named(tmp_path, small, what):
    change, message = WRONG[what]
    path = tmp_path / "wrong.pth"
    torch.save(change(small.state_dict()), path)
    with pytest.raises(vinr.CheckpointError, match=message) as error:
        vinr.VideoINR.from_checkpoint(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 5, 100, 20000, 0.5, 0.99])
def test_truncated_files(tmp_path, small, suffix, keep):
    path = tmp_path / ("whole" + suffix)
    torch.save(small.state_dict(), path) if suffix == ".pth" else vinr.save_checkpoint(small, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(vinr.CheckpointError, match=r"truncated|damaged"):
        vinr.VideoINR.from_checkpoint(path)


def test_a_file_of_another_kind_is_not_called_a_pickle(tmp_path):
    path = tmp_path / "clip.pth"
    path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(2000))
    with pytest.raises(vinr.CheckpointError, match="not a checkpoint"):
        vinr.VideoINR.from_checkpoint(path)


@pytest.mark.parametrize(
    "text",
    ["not json", "[1]", '{"nf": -1}', '{"colour": 3}', '{"nf": "many"}', '{"nf": 16}', '{"nf": 1000000000000}'],
)
def test_wrong_metadata(tmp_path, small, text):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(small.state_dict(), path, metadata={METADATA_KEY: text})
    with pytest.raises(vinr.CheckpointError) as error:
        vinr.VideoINR.from_checkpoint(path)
    assert "\n" not in str(error.value)


def test_metadata_holds_the_constructor_values(tmp_path, small):
    path = tmp_path / "a.safetensors"
    vinr.save_checkpoint(small, path)
    with safetensors.safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()[METADATA_KEY]) == small.config


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match="no such checkpoint file"):
            vinr.VideoINR.from_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_parameters_that_are_not_finite_are_refused(tmp_path, small, value, suffix):
    state = {k: v.clone() for k, v in small.state_dict().items()}
    name = next(k for k in state if not k.startswith(("upconv", "HRconv", "conv_last")))
    state[name].flatten()[-1] = value
    path = tmp_path / f"bad.{suffix}"
    torch.save(state, path) if suffix == "pth" else safetensors.torch.save_file(state, path)
    with pytest.raises(vinr.CheckpointError, match=f"NaN or infinite values in {name}: the file is damaged"):
        vinr.load_network(path)


OTHERS = {
    "MoTIF": ("flow_process.0.weight", "alpha"),
    "LTE": ("coef.weight", "freq.weight", "imnet.layers.0.weight"),
    "LTE-fast": ("coef.weight", "freq.weight", "layers.0.weight"),
    "LIIF": ("imnet.layers.0.weight",),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_checkpoints_of_other_networks_are_named(tmp_path, kind):
    torch.save({"model": {f"module.{name}": torch.zeros(2, 2) for name in OTHERS[kind]}}, tmp_path / "other.pth")
    with pytest.raises(vinr.CheckpointError, match=rf"this is a {kind} checkpoint, whose query docs/drop-in-"):
        vinr.load_network(tmp_path / "other.pth")


@pytest.mark.parametrize(("kind", "frequencies"), [("V3", "freqs"), ("Thera", "components")])
def test_a_flax_checkpoint_is_named(tmp_path, kind, frequencies):
    head = {"kernel": np.zeros((4, 8), np.float32), "bias": np.zeros(8, np.float32)}
    axes = 3 if kind == "V3" else 2
    field = {"out_conv": head, frequencies: np.zeros((axes, 2), np.float32), "k": np.float32(0.1)}
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"model": {"params": field}, "step": 3}))
    with pytest.raises(vinr.CheckpointError, match=f"this is a {kind} checkpoint"):
        vinr.load_network(tmp_path / "other.pkl")
