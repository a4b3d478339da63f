"""The TensorRT plugin library, built by CMake and nvcc, in TensorRT's own registry. Its kernels need a GPU to run."""

import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from tensorrt_plugins import BAD, DEFORM, QUERY, headers
from vinr_engine.errors import UsageError
from vinr_engine.export.tensorrt import plugin_library

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trt():
    """TensorRT's lean runtime, which has the whole plugin registry."""
    return pytest.importorskip("tensorrt_lean_bindings")


@pytest.fixture(scope="module")
def library():
    """For one kind of GPU; kept between runs, as CMake sees what changed."""
    for tool in ("cmake", "nvcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on PATH")
    folder = ROOT / "build" / "tensorrt80"
    options = [f"-DTENSORRT_INCLUDE_DIR={headers()}", "-DCMAKE_CUDA_ARCHITECTURES=80-real"]
    for command in (["cmake", "-S", ROOT / "export/tensorrt", "-B", folder, *options], ["cmake", "--build", folder]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in (done.stdout + done.stderr).lower()
    return folder / "libvinr_tensorrt.so"


def create(trt, name, fields, phase="BUILD"):
    """The plugin that the ONNX parser would make of a node's attributes; None if it is refused."""
    arrays = [np.array(v, np.int32) if isinstance(v, list) else np.array([v], np.float32) for v in fields.values()]
    types = [trt.PluginFieldType.INT32 if a.dtype == np.int32 else trt.PluginFieldType.FLOAT32 for a in arrays]
    collection = trt.PluginFieldCollection([trt.PluginField(*f) for f in zip(fields, arrays, types, strict=True)])
    creator = trt.get_plugin_registry().get_creator(name, "1", "vinr")
    return creator.create_plugin("node", collection, getattr(trt.TensorRTPhase, phase))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_registry_takes_it(trt, library, capfd):
    plugin_library.load(trt, library)
    plugin_library.load(trt, library)  # finds it loaded
    registry = trt.get_plugin_registry()
    ours = {(c.name, c.plugin_version) for c in registry.all_creators if c.plugin_namespace == "vinr"}
    assert ours == {("DeformConv2d", "1"), ("InrQuery", "1")}
    for name, fields in (("DeformConv2d", DEFORM), ("InrQuery", QUERY)):
        assert [f.name for f in registry.get_creator(name, "1", "vinr").field_names] == list(fields)
        for phase in ("BUILD", "RUNTIME"):
            plugin = create(trt, name, fields, phase)  # which its interfaces do not keep alive
            core = plugin.get_capability_interface(trt.PluginCapabilityType.CORE)
            assert (core.plugin_name, core.plugin_version, core.plugin_namespace) == (name, "1", "vinr")
    capfd.readouterr()
    for name, wrong, message in BAD:
        if any(value is None or isinstance(value, bytes) for value in wrong.values()):
            continue  # not what Python's PluginField can say
        assert create(trt, name, (DEFORM if name == "DeformConv2d" else QUERY) | wrong) is None
        assert f"vinr::{name}: {message}" in "".join(capfd.readouterr())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_stands_alone(library):
    """It needs neither CUDA's runtime nor TensorRT beside it, and exports what TensorRT asks for, nothing else."""
    dynamic = subprocess.run(["readelf", "-dW", library], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"NEEDED.*\[(.*)\]", dynamic)
    assert needed
    assert not [name for name in needed if re.match("libcu|libnv", name)]
    symbols = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    ours = [line.split()[2] for line in symbols.splitlines() if line.split()[1] == "T"]
    assert sorted(ours) == ["getCreators", "setLoggerFinder"]
    assert os.fsencode(ROOT) not in library.read_bytes()


def test_what_is_no_plugin_library_is_refused(trt, tmp_path, monkeypatch):
    monkeypatch.delenv(plugin_library.VARIABLE, raising=False)
    with pytest.raises(UsageError, match=r"needs the plugin library .* by --plugin-library or VINR_TENSORRT_PLUGINS"):
        plugin_library.find(None)
    with pytest.raises(UsageError, match="no such plugin library"):
        plugin_library.find(tmp_path / "none.so")
    file = tmp_path / "x.so"
    file.write_text("not a library")
    monkeypatch.setenv(plugin_library.VARIABLE, str(file))
    assert plugin_library.find(None) == file.resolve()
    if all(trt.get_plugin_registry().get_creator(n, "1", "vinr") is None for n in plugin_library.PLUGINS):
        with pytest.raises(UsageError, match=r"x\.so: TensorRT 11.* does not load it as a plugin library"):
            plugin_library.load(trt, file)
