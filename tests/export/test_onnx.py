"""Exported graphs: their outputs against the engine's, their metadata, and the video tool on them."""

import json

import numpy as np
import onnx
import pytest
import torch
from vinr_engine.export import ExportedModel, to_onnx
from vinr_engine.export.onnx_model import METADATA

import golden_cases
import vinr_engine as vinr
from tolerances import EXPORT, EXPORT_FLOAT16_PSNR, OPENVINO
from video.clips import panning, read, write
from vinr_engine import cli
from vinr_engine.video.errors import UsageError, WeightsError

SMALL = dict(
    nf=8, groups=2, front_blocks=1, back_blocks=1, hr_features=12, feat_hidden=(16,), flow_hidden=(16, 24),
    encode_hidden=(16, 32),
)  # fmt: skip
# Two sizes of one model, the second with sides that need padding; and where their outputs are no whole multiple.
CASES = [((8, 12), (32, 48), [0.0, 0.5]), ((13, 9), (31, 20), [0.25, 0.75, 1.0])]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = vinr.VideoINR(**SMALL).eval()
    for name, parameter in network.named_parameters():
        if "conv_offset_mask" in name:  # its zeros would sample the regular grid alone
            torch.nn.init.normal_(parameter, std=0.2)
    return network


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Exports of the small network by their options, each made once."""
    made = {}

    def export(**options):
        key = json.dumps(options, sort_keys=True)
        if key not in made:
            folder = tmp_path_factory.mktemp("model")
            to_onnx(model, folder, **options)
            made[key] = folder
        return made[key]

    return export


def decode(network, frames, times, size):
    """What the video tool does with a network, for one pair of frames."""
    with torch.inference_mode():
        pair = [network.pyramid(frame[:, i]) for frame in [frames] for i in (0, 1)]
        return network.query(network.encode_pyramids(*pair), frames, times, size)


def psnr(actual, expected):
    return -10 * (actual.double() - expected.double()).square().mean().log10().item()


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "size", "times"), CASES)
@pytest.mark.parametrize(
    ("options", "runtime"),
    [({}, "onnxruntime"), ({"deform_conv": "deform_conv"}, "onnxruntime"), ({}, "openvino"),
     ({"frame_upsample": None}, "onnxruntime"), ({"frame_upsample": 1, "opset": 22}, "onnxruntime")],
    ids=["grid_sample", "deform_conv", "openvino", "upsample-input", "upsample-1"],
)  # fmt: skip
def test_small_network(model, exported, rng, options, runtime, lr, size, times):
    pytest.importorskip(runtime)
    frames = torch.rand(1, 2, 3, *lr, generator=rng)
    with torch.inference_mode():
        expected = model.query(model.encode(frames), frames, times, size, options.get("frame_upsample", 4) or 4)
    out = decode(ExportedModel(exported(**options), runtime), frames, times, size)
    assert out.dtype == torch.float32
    assert (out - expected).abs().max() <= (OPENVINO if runtime == "openvino" else EXPORT)


@pytest.mark.slow
def test_float16(model, exported, rng):
    lr, size, times = CASES[0]
    frames = torch.rand(1, 2, 3, *lr, generator=rng)
    for deform_conv in ("grid_sample", "deform_conv"):
        half = ExportedModel(exported(dtype="float16", deform_conv=deform_conv))
        assert psnr(decode(half, frames, times, size), decode(model, frames, times, size)) >= EXPORT_FLOAT16_PSNR
        weights = [t for t in onnx.load(half.pair.encoder).graph.initializer if len(t.dims) == 4]
        assert weights
        assert all(t.data_type == onnx.TensorProto.FLOAT16 for t in weights)


@pytest.mark.slow
def test_fixed_times_and_size(model, exported, rng):
    lr, size, _ = CASES[1]
    fixed = ExportedModel(exported(times=[0.0, 0.5, 1.0], size=size))
    frames = torch.rand(1, 2, 3, *lr, generator=rng)
    out, expected = (decode(network, frames, [0.5, 0.0], size) for network in (fixed, model))
    assert (out - expected).abs().max() <= EXPORT
    with pytest.raises(UsageError, match="20x31 alone, not 21x31"):
        decode(fixed, frames, [0.5], (31, 21))
    with pytest.raises(UsageError, match="times"):
        decode(fixed, frames, [0.25], size)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"profile": "plugin"}, {"profile": "plugin", "dtype": "float16"}])
def test_checker_and_metadata(model, exported, options):
    folder = exported(**options)
    assert sorted(p.name for p in folder.iterdir()) == ["encoder.onnx", "query.onnx"]
    for name in ("encoder", "query"):
        graph = onnx.load(folder / f"{name}.onnx")
        onnx.checker.check_model(graph, full_check=True)
        facts = {p.key: json.loads(p.value) for p in graph.metadata_props}
        assert facts[f"{METADATA}.graph"] == name
        assert facts[f"{METADATA}.config"] == json.loads(json.dumps(model.config))
        assert facts[f"{METADATA}.version"] == vinr.__version__
        ours = {node.op_type for node in graph.graph.node if node.domain == "vinr"}
        node = "DeformConv2d" if name == "encoder" else "InrQuery"
        assert ours == ({node} if options else set())
        inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True, check_type=True)
        assert inferred.graph.output[0].type.tensor_type.HasField("shape")


@pytest.mark.slow
@pytest.mark.parametrize("deform_conv", ["grid_sample", "deform_conv"])
def test_golden(tmp_path, deform_conv):
    """The published network, two sizes from one dynamic model."""
    case = golden_cases.tensors("scale4_test", torch.float32)
    to_onnx(golden_cases.model(case["seed"], torch.float32), tmp_path, deform_conv=deform_conv)
    network = ExportedModel(tmp_path)
    for name in ("scale4_test", "anisotropic_test"):
        case = golden_cases.tensors(name, torch.float32)
        out = decode(network, case["frames"][:1], case["times"][:, 0].tolist(), tuple(case["size"].tolist()))
        assert (out - case["out"][:1]).abs().max() <= EXPORT


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"dtype": "float16", "deform_conv": "deform_conv"}, {}])
def test_golden_in_other_forms(tmp_path, options):
    case = golden_cases.tensors("scale4_test", torch.float32)
    to_onnx(golden_cases.model(case["seed"], torch.float32), tmp_path, **options)
    network = ExportedModel(tmp_path, "onnxruntime" if options else "openvino")
    out = decode(network, case["frames"][:1], case["times"][:, 0].tolist(), tuple(case["size"].tolist()))
    if options:
        assert psnr(out, case["out"][:1]) >= EXPORT_FLOAT16_PSNR
    else:
        assert (out - case["out"][:1]).abs().max() <= OPENVINO


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.slow
def test_from_a_checkpoint_to_a_video(tmp_path, model, capsys):
    vinr.save_checkpoint(model, tmp_path / "w.safetensors")
    clip = write(tmp_path / "in.mp4", panning(3, 16, 12))
    code, out, err = run(capsys, "export", "onnx", tmp_path / "m", "--weights", tmp_path / "w.safetensors")
    assert (code, err) == (0, "")
    assert out.count("MB\n") == 2
    options = ("--space", 2, "--time", 2, "--quiet")
    for name, source in (("a", ("--runtime", "onnxruntime", "--model", tmp_path / "m")),
                         ("b", ("--weights", tmp_path / "w.safetensors"))):  # fmt: skip
        assert run(capsys, "upscale", clip, tmp_path / name, *options, *source) == (0, "", "")
    a, b = (np.stack([f.to_ndarray(format="rgb24") for f in read(sorted((tmp_path / n).iterdir())[1])]) for n in "ab")
    assert np.abs(a.astype(int) - b).max() <= 1


@pytest.mark.parametrize(
    ("options", "text"),
    [({"opset": 18}, "--opset must be one of 20, 21, 22, got 18"), ({"profile": "tensorrt"}, "--profile"),
     ({"deform_conv": "im2col"}, "--deform-conv"), ({"dtype": "bfloat16"}, "--dtype"),
     ({"frame_upsample": 0}, "--frame-upsample"), ({"times": [1.5]}, "--times"), ({"times": []}, "--times"),
     ({"size": (1, 8)}, "--size")],
)  # fmt: skip
def test_refused_options(model, tmp_path, options, text):
    with pytest.raises(UsageError, match=text):
        to_onnx(model, tmp_path / "m", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_wrong_files(model, exported, tmp_path, capsys):
    folder = exported()
    with pytest.raises(UsageError, match="exists: choose another name, or --overwrite"):
        to_onnx(model, folder)
    with pytest.raises(WeightsError, match="no such model"):
        ExportedModel(tmp_path / "none")
    with pytest.raises(WeightsError, match=r"no encoder\.onnx with its query\.onnx"):
        ExportedModel(tmp_path)
    for name in ("encoder", "query"):
        (tmp_path / f"{name}.onnx").write_bytes((folder / f"{name}.onnx").read_bytes()[:-200])
    with pytest.raises(WeightsError, match="truncated"):
        ExportedModel(tmp_path)
    wrong = [("format", "99", "export it again"), ("graph", '"query"', "graphs query and query"),
             ("options", "{}", "exported apart"), ("config", "not json", "not exported by")]  # fmt: skip
    for key, value, text in wrong:
        for name in ("encoder", "query"):
            graph = onnx.load(folder / f"{name}.onnx")
            if name == "encoder":
                next(p for p in graph.metadata_props if p.key == f"{METADATA}.{key}").value = value
            onnx.save(graph, tmp_path / f"{name}.onnx")
        with pytest.raises(WeightsError, match=text):
            ExportedModel(tmp_path)
    with pytest.raises(UsageError, match="--runtime must be one of onnxruntime, openvino, got 'torch'"):
        ExportedModel(folder, "torch")
    with pytest.raises(UsageError, match=r"--provider Magic: this ONNX Runtime has .*CPUExecutionProvider"):
        ExportedModel(folder, provider="Magic")
    with pytest.raises(UsageError, match="plugin profile is for TensorRT"):
        ExportedModel(exported(profile="plugin"))
    code, out, err = run(capsys, "upscale", "a.mp4", "b.mp4", "--runtime", "onnxruntime")
    assert code == 2
    assert err.count("\n") == 1
    assert "--model go together" in err


def test_a_residual_network_is_refused(tmp_path):
    network = vinr.VideoINR(**SMALL, residual=True)
    with pytest.raises(UsageError, match=r"residual network.*give --weights"):
        to_onnx(network, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_options_that_exclude_each_other(tmp_path, capsys):
    for options, text in (
        (["--runtime", "onnxruntime"], "--model go together"),
        (["--model", "m"], "--model go together"),
        (["--runtime", "onnxruntime", "--model", "m", "--untrained"], "--runtime excludes"),
        (["--runtime", "onnxruntime", "--model", str(tmp_path)], "no encoder.onnx with its query.onnx"),
        (["--runtime", "magic", "--model", "m"], "--runtime must be one of onnxruntime, openvino"),
    ):
        code, out, err = run(capsys, "upscale", "a.mp4", "b.mp4", *options)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert text in err


def test_a_missing_package_is_named(monkeypatch):
    from vinr_engine.export import packages

    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="onnx and onnxscript not installed: pip install onnx onnxscript"):
        packages.require("onnx", "onnxscript")
