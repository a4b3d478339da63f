"""Exported graphs: their outputs against the engine's, their metadata, and the video tool on them."""

import copy
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import onnx
import pytest
import torch

import golden_cases
import vinr_engine as vinr
from benchmarks.tolerances import EXPORT, EXPORT_FLOAT16_PSNR, OPENVINO
from export_cases import CASES, EDGES, RESIDUAL, SHRINKING, SMALL, decode, network
from video.clips import panning, read, write
from vinr_engine.cli import main as cli
from vinr_engine.errors import UsageError, VinrError, WeightsError
from vinr_engine.export import ExportedModel, packages, to_onnx
from vinr_engine.export.metadata import PREFIX
from vinr_engine.export.onnx import model as onnx_model
from vinr_engine.export.onnx.graphs import BlockQuery, Encoder
from vinr_engine.export.options import Options
from vinr_engine.export.runtimes.sessions import SESSIONS
from vinr_engine.models import SMALL_VIDEOINR
from vinr_engine.video import enlarge


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports of small networks by their constructor's values and options, each made once."""
    made = {}

    def export(config, **options):
        key = json.dumps([config, options], sort_keys=True)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("model")
            to_onnx(network(config), made[key], **options)
        return made[key]

    return export


def error(runtime, folder, model, cases, rng, frame_upsample=4):
    """The largest error of a runtime over several sizes of one model, against the engine."""
    other = ExportedModel(folder, runtime)
    worst = 0
    for lr, size, times in cases:
        frames = torch.rand(1, 2, 3, *lr, generator=rng)
        with torch.inference_mode():
            expected = model.query(model.encode(frames), frames, times, size, frame_upsample)
        out = decode(other, frames, times, size)
        assert (out.dtype, out.shape) == (torch.float32, expected.shape)
        worst = max(worst, (out - expected).abs().max())
    return worst


SIGNAL_AFTER_OPENVINO = """
import signal, sys
from threading import Thread
from vinr_engine.export import ExportedModel

used = [ExportedModel(sys.argv[1], "openvino")]
ends = Thread(target=used.clear)
ends.start()
ends.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
signal.raise_signal(signal.SIGTERM)
"""


def test_signals_are_handled_after_openvino(own):
    """It changes where the thread handles signals, and must leave it something when the model goes."""
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", SIGNAL_AFTER_OPENVINO, str(own)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "handled"), done.stderr


def psnr(actual, expected):
    return -10 * (actual.double() - expected.double()).square().mean().log10().item()


def test_the_packages_own_network(own, rng):
    model = enlarge.load(SMALL_VIDEOINR)
    assert error("onnxruntime", own, model, [*CASES, *EDGES, SHRINKING], rng) <= EXPORT
    if find_spec("openvino") is not None:
        assert error("openvino", own, model, [*CASES, SHRINKING], rng) <= OPENVINO


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "options"),
    [(SMALL, {}), (RESIDUAL, {}), (SMALL, {"deform_conv": "deform_conv"}), (SMALL, {"frame_upsample": None}),
     (RESIDUAL, {"frame_upsample": 1, "opset": 22}), (SMALL, {"frame_upsample": 1, "opset": 21}),
     (SMALL, {"layers": "whole"})],
    ids=["published options", "residual", "deform_conv", "upsample-input", "upsample-1", "opset-21", "whole"],
)  # fmt: skip
def test_small_networks(exported, rng, config, options):
    folder, model = exported(config, **options), network(config)
    cases = [*CASES, *EDGES]
    assert error("onnxruntime", folder, model, cases, rng, options.get("frame_upsample", 4) or 4) <= EXPORT
    if not options and find_spec("openvino") is not None:
        assert error("openvino", folder, model, CASES, rng) <= OPENVINO


def test_the_query_in_float16(tmp_path, rng):
    """By blocks, on maps and colours that float16 holds: only its weights are rounded."""
    ort = pytest.importorskip("onnxruntime")
    model = network(SMALL)
    options = Options("portable", "grid_sample", "float16", 4, None, None, 20, "blocks")
    path = tmp_path / "query.onnx"
    onnx_model.export_query(copy.deepcopy(model).half(), options).save(path, external_data=False)
    lr, size, times = CASES[0]
    encoder, query = Encoder(model, 4), BlockQuery(model, 4, None, None)
    maps, colours = (t.half().float() for t in encoder(torch.rand(1, 2, 3, *lr, generator=rng)))
    given = {"maps": maps, "colours": colours, "lr_size": torch.tensor(lr), "times": torch.tensor(times)}
    given["size"] = torch.tensor(size)
    expected, _ = query(*(given[name] for name in query.input_names))
    given |= {"maps": maps.half(), "colours": colours.half()}
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image, _ = session.run(None, {name: tensor.numpy() for name, tensor in given.items()})
    assert psnr(torch.from_numpy(image), expected) >= EXPORT_FLOAT16_PSNR


@pytest.mark.slow
@pytest.mark.parametrize("config", [SMALL, RESIDUAL], ids=["published options", "residual"])
def test_float16(exported, rng, config):
    lr, size, times = CASES[0]
    frames = torch.rand(1, 2, 3, *lr, generator=rng)
    for options in ({}, {"deform_conv": "deform_conv"}, {"layers": "whole"}):
        half = ExportedModel(exported(config, dtype="float16", **options))
        expected = decode(network(config), frames, times, size)
        assert psnr(decode(half, frames, times, size), expected) >= EXPORT_FLOAT16_PSNR
        # Those that a deformable convolution's samples meet stay float32, as the samples are.
        graph = onnx.load(half.pair.encoder).graph
        weights = [t for t in graph.initializer if list(t.dims[2:]) == [3, 3] and t.name.startswith("model.")]
        assert weights
        assert all(t.data_type == onnx.TensorProto.FLOAT16 for t in weights)


@pytest.mark.slow
def test_fixed_times_and_size(exported, rng):
    lr, size, _ = CASES[1]
    fixed = ExportedModel(exported(RESIDUAL, times=[0.0, 0.5, 1.0], size=size))
    frames = torch.rand(1, 2, 3, *lr, generator=rng)
    out, expected = (decode(model, frames, [0.5, 0.0], size) for model in (fixed, network(RESIDUAL)))
    assert (out - expected).abs().max() <= EXPORT
    with pytest.raises(UsageError, match="20x31 alone, not 21x31"):
        decode(fixed, frames, [0.5], (31, 21))
    with pytest.raises(UsageError, match=r"decodes the times 0,0\.5,1 alone, not 0\.25: export it for those"):
        decode(fixed, frames, [0.25], size)


def test_queries_at_once(own, rng, monkeypatch):
    exported, frames = ExportedModel(own), torch.rand(1, 2, 3, 12, 16, generator=rng)
    features = exported.encode_pair(frames[:, 0], frames[:, 1])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert [exported.at_once(size) for size in ((50, 64), (1440, 2560), (4320, 7680))] == [3, 2, 1]
    times = [0.0, 0.2, 0.4, 0.6, 0.8]
    with ThreadPoolExecutor(3) as threads:
        apart = threads.map(lambda t: exported.query(features, frames, [t], (50, 64)), times)
    assert torch.equal(torch.cat(list(apart), 1), exported.query(features, frames, times, (50, 64)))


def test_a_failure_in_the_runtime(own, rng, monkeypatch):
    exported, frames = ExportedModel(own), torch.rand(1, 2, 3, 12, 16, generator=rng)
    features = exported.encode_pair(frames[:, 0], frames[:, 1])
    features.maps["maps"] = features.maps["maps"][..., :-1]
    with pytest.raises(VinrError, match=r"ONNX Runtime failed: .*maps"):
        exported.query(features, frames, [0.5], (24, 32))


def check(folder, model, ours):
    """The checker, shape inference, metadata, and which nodes of our own there are: `ours`, of encoder and query."""
    assert sorted(p.name for p in folder.iterdir()) == ["encoder.onnx", "query.onnx"]
    for name, node in zip(("encoder", "query"), ours, strict=True):
        graph = onnx.load(folder / f"{name}.onnx")
        onnx.checker.check_model(graph, full_check=True)
        facts = {p.key: json.loads(p.value) for p in graph.metadata_props}
        assert facts[f"{PREFIX}.graph"] == name
        assert facts[f"{PREFIX}.config"] == json.loads(json.dumps(model.config))
        assert facts[f"{PREFIX}.version"] == vinr.__version__
        assert {node.op_type for node in graph.graph.node if node.domain == "vinr"} == node
        assert not {node.op_type for node in graph.graph.node if "Sequence" in node.op_type}  # TensorRT has none
        inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True, check_type=True)
        assert inferred.graph.output[0].type.tensor_type.HasField("shape")


def test_checker_and_metadata(own):
    check(own, enlarge.load(SMALL_VIDEOINR), (set(), set()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "options"), [(SMALL, {}), (SMALL, {"dtype": "float16"}), (RESIDUAL, {})],
    ids=["float32", "float16", "residual"],
)  # fmt: skip
def test_checker_of_the_plugin_profile(exported, config, options):
    check(exported(config, profile="plugin", **options), network(config), ({"DeformConv2d"}, {"InrQuery"}))


@pytest.mark.slow
@pytest.mark.parametrize("deform_conv", ["grid_sample", "deform_conv"])
def test_golden(tmp_path, deform_conv):
    """The published network, two sizes from one dynamic model; in OpenVINO what it has nodes for."""
    model = golden_cases.model(golden_cases.tensors("scale4_test", torch.float32)["seed"], torch.float32)
    to_onnx(model, tmp_path, deform_conv=deform_conv)
    runtimes = {"onnxruntime": EXPORT}
    if deform_conv == "grid_sample" and find_spec("openvino") is not None:
        runtimes["openvino"] = OPENVINO
    for runtime, tolerance in runtimes.items():
        for out, expected in golden(ExportedModel(tmp_path, runtime), model):
            assert (out - expected).abs().max() <= tolerance


@pytest.mark.slow
@pytest.mark.parametrize("deform_conv", ["grid_sample", "deform_conv"])
def test_golden_in_float16(tmp_path, deform_conv):
    model = golden_cases.model(golden_cases.tensors("scale4_test", torch.float32)["seed"], torch.float32)
    to_onnx(model, tmp_path, deform_conv=deform_conv, dtype="float16")
    for out, expected in golden(ExportedModel(tmp_path), model):
        assert psnr(out, expected) >= EXPORT_FLOAT16_PSNR


def golden(exported, model):
    """What an exported published network makes of a stored case, and what is stored; then of a case of another size,
    stored for other weights, and what the engine makes of that.
    """
    case, other = (golden_cases.tensors(name, torch.float32) for name in ("scale4_test", "anisotropic_test"))
    for stored, expected in ((case, case["out"]), (other, None)):
        inputs = stored["frames"], stored["times"][:, 0].tolist(), tuple(stored["size"].tolist())
        yield decode(exported, *inputs), decode(model, *inputs) if expected is None else expected


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_from_nothing_to_a_video(own, tmp_path, capsys):
    """The second of two commands; the first made `own`. The pictures are those of `vinr upscale`, same weights."""
    clip = write(tmp_path / "in.mp4", panning(3, 16, 12))
    options = ("--space", 2, "--time", 2, "--quiet")
    for name, source in (("a", ("--runtime", "onnxruntime", "--model", own)), ("b", ("--weights", SMALL_VIDEOINR))):
        assert run(capsys, "upscale", clip, tmp_path / name, *options, *source) == (0, "", "")
    a, b = (np.stack([f.to_ndarray(format="rgb24") for f in read(sorted((tmp_path / n).iterdir())[1])]) for n in "ab")
    assert np.abs(a.astype(int) - b).max() <= 1


@pytest.mark.parametrize(
    ("options", "text"),
    [({"opset": 18}, "--opset must be one of 20, 21, 22, got 18"), ({"profile": "tensorrt"}, "--profile"),
     ({"deform_conv": "im2col"}, "--deform-conv"), ({"dtype": "bfloat16"}, "--dtype"),
     ({"layers": "columns"}, "--layers"),
     ({"frame_upsample": 0}, "--frame-upsample"), ({"times": [1.5]}, "--times"), ({"times": []}, "--times"),
     ({"size": (1, 8)}, "--size")],
)  # fmt: skip
def test_refused_options(tmp_path, options, text):
    with pytest.raises(UsageError, match=text):
        to_onnx(network(SMALL), tmp_path / "m", **options)
    assert list(tmp_path.iterdir()) == []


def test_wrong_files(own, tmp_path, capsys):
    folder = own
    with pytest.raises(UsageError, match="exists: choose another name, or --overwrite"):
        to_onnx(network(SMALL), folder)
    with pytest.raises(WeightsError, match="no such model"):
        ExportedModel(tmp_path / "none")
    with pytest.raises(WeightsError, match=r"no encoder\.onnx with its query\.onnx"):
        ExportedModel(tmp_path)
    for name in ("encoder", "query"):
        (tmp_path / f"{name}.onnx").write_bytes((folder / f"{name}.onnx").read_bytes()[:-200])
    with pytest.raises(WeightsError, match="truncated"):
        ExportedModel(tmp_path)
    wrong = [("format", "99", "in format 99, this version reads format 3: export it again"),
             ("graph", '"query"', "graphs query and query"),
             ("weights", '"0"', "exported apart"), ("weights", "0", "metadata are damaged"),
             ("config", "not json", "metadata are damaged")]  # fmt: skip
    for key, value, text in wrong:
        for name in ("encoder", "query"):
            graph = onnx.load(folder / f"{name}.onnx")
            if name == "encoder":
                next(p for p in graph.metadata_props if p.key == f"{PREFIX}.{key}").value = value
            onnx.save(graph, tmp_path / f"{name}.onnx")
        with pytest.raises(WeightsError, match=text):
            ExportedModel(tmp_path)
    for name in ("encoder", "query"):
        graph = onnx.load(folder / f"{name}.onnx")
        options = next(p for p in graph.metadata_props if p.key == f"{PREFIX}.options")
        options.value = options.value.replace('"portable"', '"plugin"')
        onnx.save(graph, tmp_path / f"{name}.onnx")
    with pytest.raises(UsageError, match="plugin profile is for TensorRT"):
        ExportedModel(tmp_path)
    with pytest.raises(UsageError, match="--runtime must be one of onnxruntime, openvino, got 'torch'"):
        ExportedModel(folder, "torch")
    with pytest.raises(UsageError, match=r"--provider Magic: this ONNX Runtime has .*CPUExecutionProvider"):
        ExportedModel(folder, provider="Magic")
    code, out, err = run(capsys, "upscale", "a.mp4", "b.mp4", "--runtime", "onnxruntime")
    assert code == 2
    assert err.count("\n") == 1
    assert "--model go together" in err


def test_options_that_exclude_each_other(tmp_path, capsys):
    for options, text in (
        (["--runtime", "onnxruntime"], "--model go together"),
        (["--model", "m"], "--model go together"),
        (["--runtime", "onnxruntime", "--model", "m", "--untrained"], "--runtime excludes"),
        (["--runtime", "onnxruntime", "--model", "m", "--backend", "cuda"], "--runtime excludes"),
        (["--runtime", "tensorrt", "--model", str(tmp_path / "m.engine")], "no such engine"),
        (["--runtime", "tensorrt", "--model", "m.engine", "--provider", "CUDA"], "--provider is for onnxruntime"),
        (["--runtime", "onnxruntime", "--model", str(tmp_path)], "no encoder.onnx with its query.onnx"),
        (["--runtime", "magic", "--model", "m"], "--runtime must be one of onnxruntime, openvino, tensorrt"),
    ):
        code, out, err = run(capsys, "upscale", "a.mp4", "b.mp4", *options)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert text in err


def test_a_missing_package_is_named(own, monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name in ("onnxscript", *SESSIONS) else True)
    with pytest.raises(UsageError, match="onnxscript not installed: pip install onnxscript"):
        to_onnx(network(RESIDUAL), own.with_name("other"))
    for runtime in SESSIONS:
        with pytest.raises(UsageError, match=f"{runtime} not installed: pip install {runtime}"):
            ExportedModel(own, runtime)


def test_float16_where_the_provider_lacks_it(own, monkeypatch):
    ort = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["OpenVINOExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(UsageError, match="--provider OpenVINO does not take float16 graphs: export with --dtype float"):
        SESSIONS["onnxruntime"](own / "query.onnx", "OpenVINO", "float16")
    with pytest.raises(UsageError, match="--provider CUDA: this ONNX Runtime has OpenVINO"):
        SESSIONS["onnxruntime"](own / "query.onnx", "CUDA", "float16")


def test_the_provider_that_asks_a_server_is_not_taken(own, monkeypatch):
    ort = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["AzureExecutionProvider", "CPUExecutionProvider"])
    assert SESSIONS["onnxruntime"](own / "query.onnx", None, "float32").serial
    with pytest.raises(UsageError, match="--provider Azure: this ONNX Runtime has CPUExecutionProvider"):
        SESSIONS["onnxruntime"](own / "query.onnx", "Azure", "float32")
