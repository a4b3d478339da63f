"""The kernels compiled ahead of time: nothing spills, and products run on the tensor cores."""

import json
import os
import subprocess
import sys

import pytest
from vinr_engine.kernels import _runtime

if not _runtime.INSTALLED:
    pytest.skip("Triton is not installed", allow_module_level=True)

CAPABILITIES = (80, 86, 89, 90, 100, 120)


def compiled(capability, match):
    """In a process of its own: kernels of one in which the interpreter runs them cannot be compiled."""
    command = [sys.executable, "-m", "benchmarks.machine_code", "--capability", str(capability), "--match", match]
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(kernels, count):
    assert len(kernels) >= count
    for kernel in kernels:
        if kernel["must_matrix"]:
            spilled = kernel["stack"] + kernel["local_loads"] + kernel["local_stores"]
            assert spilled == 0, kernel
            assert kernel["matrix"] > 0, kernel
        assert kernel["wide_global_loads"] > 0, kernel


def test_a_first_configuration_for_one_gpu():
    check(compiled(90, "deform_conv2d forward (float16|float32 tf32,).* 64 pixels, 8 warps, 2 stages"), 2)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_inference_kernels(capability):
    check(compiled(capability, "forward (float16|bfloat16|float32 tf32)"), 15)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_training_kernels(capability):
    check(compiled(capability, "backward.* (float16|bfloat16|float32 tf32)"), 20)
