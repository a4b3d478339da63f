"""The kit from its packing to the report, on a host like one with a GPU, but for that: torch 2.11, Triton 3.6, no av.

It installs that torch, some gigabytes, into an environment of its own; VINR_KIT_PYTHON names a Python that has all of
it already.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.kit import build, pieces, report

ROOT = Path(__file__).parents[3]
HOST = ("torch==2.11.0", "triton==3.6.0", "torchvision==0.26.0", "numpy", "ninja", "pybind11", "pytest",
        "pytest-timeout", "hypothesis", "typer", "rich", "safetensors", "accelerate", "tensorboard", "matplotlib",
        "scikit-image", "scikit-learn")  # fmt: skip
CALLS = 4  # of ten minutes each, at most


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """The host's Python."""
    if named := os.environ.get("VINR_KIT_PYTHON"):
        return named
    base = shutil.which("python3.12") or sys.executable
    if subprocess.run([base, "-c", "pass"], capture_output=True, check=False).returncode:
        base = sys.executable  # a version manager's name for a Python that is not there
    folder = tmp_path_factory.mktemp("host") / "venv"
    subprocess.run([base, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *HOST], check=True)
    return python


def version_of(python):
    command = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_from_packing_to_the_report(host, tmp_path):
    assert subprocess.run([host, "-c", "import av"], capture_output=True, check=False).returncode, "the host has av"
    kit = tmp_path / "kit"
    build.make(kit, "90", version_of(host), cuda=shutil.which("nvcc") is not None)
    assert sum(path.stat().st_size for path in kit.iterdir()) < build.MOST
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("VINR_", "PYTHON", "TRITON_"))}
    command = [host, kit / "run", "all", "--dry-run", "--deadline", "540", "--out", "results", "--state", "state"]
    for _ in range(CALLS):
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        if done.returncode != 4:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    results = report.read(tmp_path / "results", rehearsal=True)
    assert {piece["name"]: piece["status"] for piece in results["pieces"]} == {
        piece.name: "done" for piece in pieces.PIECES
    }
    assert all(piece["found"] for piece in results["pieces"])
    assert (tmp_path / "results" / "weights_fp16.safetensors").is_file()
    assert len(list((tmp_path / "results").iterdir())) <= 8  # what a lent machine gives back
    device = json.loads(json.dumps(report.merge(None, results)))
    text = report.whole([device])
    for piece in pieces.PIECES:
        assert piece.title in text
    assert "| query 10x6 x2 | float32 |" in text
    with pytest.raises(report.ReportError, match="is of a rehearsal"):
        report.read(tmp_path / "results")
