"""Building TensorRT engines ahead of time. None is ever run here: that needs a GPU."""

import json
import types
from pathlib import Path

import onnx
import pytest
import torch

from export_cases import RESIDUAL, SMALL, network
from vinr_engine.cli import main as cli
from vinr_engine.errors import UsageError, WeightsError
from vinr_engine.export import Engine, to_onnx, to_tensorrt
from vinr_engine.export.onnx import model as onnx_model
from vinr_engine.export.options import Options
from vinr_engine.export.tensorrt import build, plugin_library
from vinr_engine.export.tensorrt.engine_files import TARGETS, Limits
from vinr_engine.models import SMALL_VIDEOINR
from vinr_engine.video import enlarge

LIMITS = Limits(((16, 16), (32, 48), (64, 64)), ((16, 16), (128, 192), (256, 256)), (1, 4))

STILL = RESIDUAL | dict(motion_prior=False)


@pytest.fixture
def model():
    return network(RESIDUAL)


def test_the_query_of_the_packages_own_network(tmp_path):
    """In float16, for every GPU that can be built for without it."""
    pytest.importorskip("tensorrt_rtx_bindings")
    _, trt = build.runtime_module("tensorrt-rtx")
    builder = build._Build(trt, TARGETS, LIMITS, None, b"", None)
    model, query = enlarge.load(SMALL_VIDEOINR).half(), tmp_path / "query.onnx"
    options = Options("portable", "grid_sample", "float16", build.FRAME_UPSAMPLE, None, None, 20, "whole")
    onnx_model.export_query(model, options).save(query, external_data=False)
    assert len(builder.run("query", query)) > 10_000
    assert builder.messages == []


def test_the_encoder_of_the_packages_own_network(own):
    pytest.importorskip("tensorrt_rtx_bindings")
    _, trt = build.runtime_module("tensorrt-rtx")
    builder = build._Build(trt, TARGETS, LIMITS, None, b"", None)
    builder.run("encoder", own / "encoder.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "dtype"),
    [(SMALL, "float32"), (STILL, "float32"), (SMALL, "float16"), (STILL, "float16")],
    ids=["float32", "residual float32", "float16", "residual float16"],
)  # fmt: skip
def test_engines_are_built_without_a_gpu(tmp_path, config, dtype):
    pytest.importorskip("tensorrt_rtx_bindings")
    notes = []
    files = to_tensorrt(
        network(config), tmp_path / "m.engine", builder="tensorrt-rtx", dtype=dtype, limits=LIMITS,
        note=notes.append,
    )  # fmt: skip
    assert notes == ["exporting the graphs", "building the query", "building the encoder"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.encoder.engine", "m.json", "m.query.engine"]
    report = json.loads(files.report.read_text())
    assert (report["targets"], report["dtype"], report["profile"]) == (list(TARGETS), dtype, "portable")
    for graph, path in (("encoder", files.encoder), ("query", files.query)):
        assert report["graphs"][graph]["bytes"] == path.stat().st_size > 10_000
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="needs an NVIDIA GPU"):
            Engine(tmp_path / "m.engine")


@pytest.mark.slow
def test_sizes_become_shapes_of_the_plugin(tmp_path):
    """What makes vectors of sizes, which a plugin sees the lengths of, parses; TensorRT-RTX does not know the node."""
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    to_onnx(network(SMALL), tmp_path, profile="plugin")
    query = onnx.load(tmp_path / "query.onnx")
    (node,) = (n for n in query.graph.node if n.op_type == "InrQuery")
    query.graph.node.remove(node)
    del query.graph.output[:]
    query.graph.output.extend(onnx.helper.make_tensor_value_info(n, 1, [None]) for n in node.input[3:7])
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(definition, logger).parse(query.SerializeToString())
    inputs = [definition.get_input(i) for i in range(definition.num_inputs)]
    assert {t.name for t in inputs if t.is_shape_tensor} == {"lr_size", "size"}
    assert [definition.get_output(i).shape for i in range(4)] == [(-1,)] * 4


@pytest.mark.parametrize(
    ("options", "text"),
    [({"targets": ["SM75"]}, "--gpu must be of SM80, SM86, SM89, SM120, got SM75"),
     ({"builder": "magic"}, "--builder must be one of tensorrt, tensorrt-rtx, got 'magic'"),
     ({"builder": "tensorrt"}, "tensorrt is not installed: pip install tensorrt"),
     ({"targets": ["SM86"]}, "^tensorrt-rtx is not installed: pip install tensorrt-rtx"),
     ({"dtype": "bfloat16"}, "--dtype must be one of float32, float16"),
     ({"workspace": -5}, "--workspace must be positive")],
)  # fmt: skip
def test_refused_options(model, tmp_path, monkeypatch, options, text):
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=text):
        to_tensorrt(model, tmp_path / "m.engine", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("builder", "options", "text"),
    [("tensorrt", {}, "the plugin profile needs the plugin library"),
     ("tensorrt", {"plugin_library": "none.so"}, r"none\.so: no such plugin library"),
     ("tensorrt", {"profile": "portable", "plugin_library": "x.so"}, "--plugin-library is for the plugin profile"),
     ("tensorrt", {"profile": "both"}, "--profile must be one of portable, plugin, got 'both'"),
     ("tensorrt-rtx", {"profile": "plugin"}, "--profile plugin is for tensorrt"),
     ("tensorrt-rtx", {"plugin_library": "x.so"}, "--plugin-library is for the plugin profile"),
     ("tensorrt", {"profile": "portable", "timing_cache": Path(__file__).parent}, "--timing-cache .*: Is a directory"),
     ("tensorrt-rtx", {"timing_cache": "x"}, "--timing-cache is for tensorrt")],
)  # fmt: skip
def test_each_builder_has_its_profile(model, tmp_path, monkeypatch, builder, options, text):
    monkeypatch.setattr(build, "runtime_module", lambda *_: (builder, types.SimpleNamespace(__version__="0")))
    monkeypatch.delenv(plugin_library.VARIABLE, raising=False)
    with pytest.raises(UsageError, match=text):
        to_tensorrt(model, tmp_path / "m.engine", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_builder_that_does_not_load(monkeypatch):
    """It is not passed over for another: the one that is asked for, or comes first, says why."""

    def broken(module):
        raise ImportError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(build, "find_spec", lambda module: True)
    monkeypatch.setattr(build, "import_module", broken)
    with pytest.raises(UsageError, match=r"tensorrt is installed, but tensorrt does not load: libnvinfer\.so\.10"):
        build.runtime_module(None)
    with pytest.raises(UsageError, match="tensorrt-rtx is installed, but tensorrt_rtx does not load"):
        build.runtime_module(None, ["SM86"])


def test_refused_limits_and_names(model, tmp_path):
    with pytest.raises(UsageError, match="--frames must be rising sizes MIN,OPT,MAX"):
        Limits(frames=((64, 64), (32, 320), (540, 960)))
    with pytest.raises(UsageError, match="times must be rising numbers"):
        Limits(times=(4, 2))
    with pytest.raises(UsageError, match=r"an engine's name ends in \.engine"):
        to_tensorrt(model, tmp_path / "m.onnx")
    with pytest.raises(WeightsError, match="no such engine"):
        Engine(tmp_path / "m.engine")
    (tmp_path / "m.json").write_text("[]")
    with pytest.raises(WeightsError, match="not a report of vinr export tensorrt"):
        Engine(tmp_path / "m.engine")


def test_a_wrong_size_on_the_command_line(capsys):
    code = cli.main(["export", "tensorrt", "m.engine", "--untrained", "--frames", "64x64"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err == "vinr: --frames must be MIN,OPT,MAX, each as WxH, got '64x64'\n"
