"""Which tests `make gpu-test` runs."""

import os
import pathlib
import subprocess
import sys

import pytest
import torch

TESTS = pathlib.Path(__file__).parent


def collected(*arguments, **variables):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=TESTS.parent, env=os.environ | variables, capture_output=True, text=True, check=False
    )


def test_the_kernels_tests_are_tests_of_a_gpu():
    names = [f"tests/triton_kernels/test_{name}.py" for name in ("golden", "sine", "machine_code")]
    done = collected("-m", "gpu", *names)
    assert sorted(line.partition(": ")[0] for line in done.stdout.splitlines() if line) == names[:2]


@pytest.mark.slow
def test_without_a_gpu_there_is_no_such_evidence():
    done = collected("-m", "gpu", "tests/triton_kernels/test_sine.py", VINR_TEST_REQUIRE_GPU="1")
    if torch.cuda.is_available():
        assert done.returncode == 0
    else:
        assert done.returncode == 4
        assert "PyTorch finds no NVIDIA GPU here" in done.stderr
