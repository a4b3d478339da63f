"""The programs in examples/, each in a process of its own; those that export are in tests/export."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, *arguments):
    done = subprocess.run([sys.executable, EXAMPLES / name, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_query():
    errors = re.findall(r"halfway (\S+) from", run("query.py"))
    assert len(errors) == 2
    assert all(float(error) < 0.05 for error in errors)


def test_train_loop():
    losses = [float(loss) for loss in re.findall(r"loss (\S+)", run("train_loop.py", "8"))]
    assert len(losses) == 8
    assert losses[-1] < losses[0]


def test_liif():
    assert "auto: [1, 72, 96, 3]" in run("liif.py")


def test_softsplat():
    assert "auto: [1, 3, 96, 128] with gradients" in run("softsplat.py")


def test_lte():
    assert "auto: [1, 6912, 3]" in run("lte.py")


def test_deform_attention():
    assert "auto: [2, 1, 48, 24, 32]" in run("deform_attention.py")


def test_v3():
    assert "auto: [5, 48, 64, 3]" in run("v3.py")


def test_each_is_run_by_a_test():
    text = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_examples.py"))
    assert [path.name for path in sorted(EXAMPLES.glob("*.py")) if f'"{path.name}"' not in text] == []


@pytest.mark.parametrize("name", ["bf_stvsr.py", "motif.py"])
def test_forward_splatting(name):
    said = run(name)
    assert said.count("[1, 3, 3, 96, 128]") == 2
    assert float(re.search(r"largest difference (\S+)", said)[1]) < 1e-3
