"""The programs in examples/ that export."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from benchmarks.tolerances import EXPORT
from tensorrt_plugins import headers

ROOT = pathlib.Path(__file__).parents[2]


def run(name, *arguments, **variables):
    return subprocess.run(
        [sys.executable, ROOT / "examples" / name, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )


@pytest.mark.slow
def test_export_onnx(tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    done = run("export_onnx.py", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    (difference,) = re.findall(r"picture \[1, 1, 3, 100, 150\], at most (\S+) from PyTorch's", done.stdout)
    assert float(difference) <= EXPORT


def test_tensorrt_plugin_without_its_tools():
    done = run("tensorrt_plugin.py", "--headers", ".", PATH="")
    assert (done.returncode, done.stderr) == (1, "cmake is not on PATH\n")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_tensorrt_plugin():
    for tool in ("cmake", "nvcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on PATH")
    folder = ROOT / "build" / "tensorrt80"  # as in test_plugin_library.py
    done = run("tensorrt_plugin.py", "--headers", headers(), "--gpu", "80-real", "--build", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"vinr export tensorrt model.engine --plugin-library {folder / 'libvinr_tensorrt.so'}" in done.stdout
