"""The extension with its CUDA kernels, as a whole: it links, and loads with a PyTorch that has no CUDA."""

import json
import os
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys

import pytest

from simt import nvcc

ROOT = pathlib.Path(__file__).parents[1]

RESOLVE = """
#include "common/cuda/current_stream.h"
extern "C" int ask(int device, void** stream) {
    const auto get = vinr::get_current_stream();
    return get ? get(device, stream) : -1;
}
"""
STANDS_FOR_TORCH_CUDA = """
extern "C" int aoti_torch_get_current_cuda_stream(int device, void** stream) {
    *stream = reinterpret_cast<void*>(1000L + device);
    return 0;
}
"""
ASK = """
import ctypes, sys
if len(sys.argv) > 2:
    ctypes.CDLL(sys.argv[2], mode=ctypes.RTLD_LOCAL)  # as Python loads what torch consists of
stream = ctypes.c_void_p()
print(ctypes.CDLL(sys.argv[1]).ask(3, ctypes.byref(stream)), stream.value)
"""


def library(folder, name, source):
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(shlex.split(compiler)[0]) is None:
        pytest.skip(f"no C++ compiler: {compiler!r} is not on PATH")
    (folder / f"{name}.cpp").write_text(source, encoding="utf-8")
    flags = ["-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{name}.so"]
    command = [*shlex.split(compiler), *flags, f"-I{ROOT / 'csrc'}", folder / f"{name}.cpp", "-o"]
    subprocess.run([*command, folder / f"{name}.so", "-ldl"], check=True)
    return folder / f"{name}.so"


def test_the_current_stream_is_torchs_where_it_has_cuda(tmp_path):
    asking, torch_cuda = (
        library(tmp_path, "asking", RESOLVE), library(tmp_path, "libtorch_cuda", STANDS_FOR_TORCH_CUDA)
    )  # fmt: skip

    def ask(*libraries):
        command = [sys.executable, "-c", ASK, *libraries]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert ask(asking) == ["-1", "None"]
    assert ask(asking, torch_cuda) == ["0", "1003"]


NVCC = """#!{python}
import json, pathlib, sys
if "--list-gpu-arch" in sys.argv:
    print(*("compute_" + target for target in "75 80 86 87 89 90 100 110 120".split()), sep="\\n")
else:
    pathlib.Path({said!r}).write_text(json.dumps(sys.argv))
"""


def code_asked_for(tmp_path, monkeypatch, targets):
    """Machine code and PTX for which setup.py calls nvcc, which a script stands for."""
    said, compiler = tmp_path / "said.json", tmp_path / "nvcc"
    compiler.write_text(NVCC.format(python=sys.executable, said=str(said)))
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("VINR_BUILD_EXT", "0")
    monkeypatch.setenv("VINR_CUDA", "0")
    monkeypatch.setenv("VINR_CUDA_TARGETS", targets)
    monkeypatch.setattr("setuptools.setup", lambda **arguments: None)
    runpy.run_path(str(ROOT / "setup.py"))["_compile_cuda"]("csrc/inr_query/cuda.cu", str(tmp_path / "temp"))
    flags = [flag for flag in json.loads(said.read_text()) if flag.startswith("-gencode")]
    return [re.fullmatch(r"-gencode=arch=compute_(\w+),code=(sm|compute)_\1", flag).group(2, 1) for flag in flags]


def runs_on(code, capability):
    """CUDA's rule: machine code of the same major and no newer minor version, or PTX that is no newer."""
    return any(
        int(target) <= capability and (kind == "compute" or int(target) // 10 == capability // 10)
        for kind, target in code
    )


@pytest.mark.parametrize("targets", ["", "90,120", "90"])
def test_every_gpu_from_the_oldest_target_on_has_code(tmp_path, monkeypatch, targets):
    """Compute capability 11.0 too, which lies between two targets."""
    code = code_asked_for(tmp_path, monkeypatch, targets)
    machine = [target for kind, target in code if kind == "sm"]
    assert machine == (targets or "80,86,89,90,100,120").split(",")
    for capability in (80, 86, 87, 89, 90, 100, 103, 110, 120, 121, 130):
        assert runs_on(code, capability) == (capability >= int(machine[0]))
    assert len(code) == len(set(code)) <= len(machine) + 2  # each PTX makes the extension larger


def build(folder, targets):
    """Only what is not compiled yet: objects stay in the checkout's build folder."""
    environment = os.environ | {"VINR_CUDA": "1", "VINR_CUDA_TARGETS": targets}
    command = [sys.executable, "setup.py", "build_ext", "--build-lib", folder]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


LOAD = """
import torch
from vinr_engine import cuda, backends
for op in ("inr_query", "deform_conv2d", "deform_conv2d_packed"):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"vinr::{op}", "CUDA"), op
assert cuda.BUILT
for status in backends.report():
    print(status.name, status.reason)
"""


@pytest.mark.slow
def test_it_links_and_loads(tmp_path):
    nvcc.path()
    built = build(tmp_path / "built", "90")
    assert built.returncode == 0, built.stderr[-2000:]
    (extension,) = (tmp_path / "built" / "vinr_engine").glob(
        "_C.*"
    )  # not below where Python starts: it would import this
    environment = os.environ | {"VINR_EXTENSION": str(extension)}

    def run(*command):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    reasons = dict(line.partition(" ")[::2] for line in run("-c", LOAD).splitlines())
    assert reasons["cpu"] == ""
    info = run("-m", "vinr_engine.cli", "info")
    (line,) = [line for line in info.splitlines() if line.startswith("backend cuda")]
    if reasons["cuda"]:
        assert reasons["cuda"] in ("this PyTorch is built without CUDA", "PyTorch finds no NVIDIA GPU here")
        assert line.split(maxsplit=2)[2] == f"cannot run: {reasons['cuda']}"
    else:
        assert line.split() == ["backend", "cuda", "ready"]


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["75", "90,1", "sm_90", "90,../x"])
def test_unknown_targets_are_refused(tmp_path, targets):
    nvcc.path()
    built = build(tmp_path, targets)
    assert built.returncode != 0
    assert built.stderr.splitlines()[-1] == (
        f"VINR_CUDA_TARGETS must list GPUs from 80 up that nvcc knows, such as 80,86,89,90,100,120, got {targets!r}"
    )
    assert not any(tmp_path.iterdir())
