"""The kernels compiled ahead of time: nothing spills, and products run on the tensor cores."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch

from ops.deform_conv2d.samples import SAMPLES
from vinr_engine.kernels.common import runtime

if not runtime.INSTALLED:
    pytest.skip("Triton is not installed", allow_module_level=True)

OLDEST = pathlib.Path(sys.prefix) / "triton-oldest"  # where the Makefile installs it
TESTS = pathlib.Path(__file__).parent.parent
CAPABILITIES = (80, 86, 89, 90, 100, 120)


def output_lines(*arguments, first=()):
    """In a process of its own: kernels of one in which the interpreter runs them cannot be compiled.

    first: folders where it looks for modules before all others.
    """
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [*first, TESTS, TESTS.parent]))
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def compiled(capability, match):
    lines = output_lines("-m", "benchmarks.static.machine_code", "--capability", capability, "--match", match)
    return [json.loads(line) for line in lines]


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
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_launches_compile(dtype):
    """With the arguments of a real launch, which Triton specialises: sizes of 1, strides that 16 divides."""
    names = [s.name for s in SAMPLES if s.batch > 0 and not s.sliced] + ["groups_of_8"]
    lines = output_lines(TESTS / "triton_kernels" / "compile_launches.py", 90, dtype, *names)
    assert [line.split()[0] for line in lines] == ["forward", "backward_samples", "backward_weight"] * len(names)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(torch.cuda.is_available(), reason="it puts a driver of its own in place of the GPU's")
@pytest.mark.parametrize("version", ["installed", "oldest"])
def test_launches_reach_the_driver_as_they_were_given(version):
    """Through Triton's own driver and launcher: tuples of tensors, sizes of 1, what the autotuner keeps."""
    if version == "oldest" and not OLDEST.is_dir():
        pytest.skip("`make gpu-check` installs the oldest Triton")
    ops = (
        "deform_conv2d",
        "inr_query",
        "sampled_mlp",
        "local_correlation",
        "phase_linear",
        "nearest_conv",
        "bspline_head",
        "splat",
        "fourier_mlp",
        "deform_attention",
        "fourier_field",
    )
    first = [OLDEST] if version == "oldest" else []
    lines = output_lines(TESTS / "triton_kernels" / "record_launches.py", 90, *ops, first=first)
    kernels = {"forward", "backward_samples", "backward_weight", "decode", "colour", "sampled_mlp", "sample_rows"}
    kernels |= {"fourier_mlp", "fourier_rows", "fourier_rows_backward"}
    kernels |= {"sample_rows_backward", "mlp_backward", "local_correlation", "local_correlation_backward"}
    kernels |= {"fourier_field", "fourier_field_backward"}
    kernels |= {"deform_attention", "deform_attention_backward"}
    kernels |= {"phase_linear", "phase_linear_backward_maps", "phase_linear_backward_weights"}
    kernels |= {"nearest_conv_add", "nearest_conv_gather"}
    kernels |= {"bspline_head", "bspline_head_backward", "bspline_head_backward_weight"}
    kernels |= {"splat_cells", "splat", "splat_backward", "splat_pull"}
    assert {line.split()[0] for line in lines} == kernels


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_inference_kernels(capability):
    check(compiled(capability, "forward (float16|bfloat16|float32 tf32|tf32)[, ]"), 15)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_training_kernels(capability):
    check(compiled(capability, "backward.* (float16|bfloat16|float32 tf32)"), 20)


def test_the_first_pass_of_the_query():
    check(compiled(90, "inr_query decode float16$"), 1)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_inference_kernels_of_the_query(capability):
    check(compiled(capability, "inr_query (decode|colour) (b?float16|tf32)(,|$)"), 18)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_training_kernels_of_the_query_compile(capability):
    assert len(compiled(capability, "mlp_backward|sample_rows")) == 6


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_kernels_without_matrix_instructions(capability):
    """They take hardly more registers than there are, and load 16 bytes at a time."""
    names = "local_correlation|phase_linear|nearest_conv|bspline_head|deform_attention|fourier_field"
    kernels = compiled(capability, f"^({names}) ")
    assert len(kernels) == 33
    for kernel in kernels:
        assert kernel["stack"] <= 32, kernel
        assert kernel["wide_global_loads"] > 0, kernel


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_splatting_kernels(capability):
    kernels = compiled(capability, "splat")
    assert len(kernels) == 16
    for kernel in kernels:
        assert kernel["stack"] <= 32, kernel  # a register or two too many
        assert kernel["wide_global_loads"] > 0 or "of 64 channels" not in kernel["name"], kernel
