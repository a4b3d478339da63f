import importlib.util
import os

# Before torch loads OpenMP: threads that spin while they wait make a test on a busy machine a hundred times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Before cuBLAS is first used, which needs it where torch must be deterministic.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import pytest
import torch

# Triton asks at each kernel's definition. Without a GPU its interpreter runs the kernels.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

import vinr_engine as vinr
from vinr_engine import backends
from vinr_engine.kernels.common import runtime

# A suite that silently skipped the compiled ops would prove nothing about them.
if os.environ.get("VINR_TEST_REQUIRE_EXTENSION", "0") == "1" and backends.extension().path is None:
    raise pytest.UsageError(backends.extension().error)
# And one without a GPU nothing about GPUs.
if os.environ.get("VINR_TEST_REQUIRE_GPU", "0") == "1" and not torch.cuda.is_available():
    raise pytest.UsageError("PyTorch finds no NVIDIA GPU here")

# Tests of what is not installed are skipped, so that the rest can run on a machine that only computes. Where all of it
# is installed by this repository's own means, a package that is missing is an error.
missing = [name for name in ("av", "torchmetrics") if importlib.util.find_spec(name) is None]
if os.environ.get("VINR_TEST_REQUIRE_PACKAGES", "0") == "1" and missing:
    raise pytest.UsageError(f"not installed: {', '.join(missing)}")

# Where a test says float32, a GPU's convolutions have to be of float32 too; as PyTorch comes, cuDNN rounds to TF32.
torch.backends.cudnn.allow_tf32 = False


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    """The Triton kernels' tests count as tests of a GPU: they run on it where there is one."""
    for item in items:
        if "triton_device" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(params=[s.name for s in backends.report() if s.available and s.name in ("cpu", "reference")])
def backend(request):
    """Runs a test once for each backend that is made for CPU tensors."""
    with vinr.backend(request.param):
        yield request.param


@pytest.fixture(params=torch.ops.vinr.cpu_variants().split(",") if backends.extension().path is not None else [])
def variant(request, monkeypatch):
    """Runs a test once for each instruction set of this machine, on the cpu backend."""
    monkeypatch.setenv("VINR_CPU", request.param)
    assert torch.ops.vinr.cpu_variant() == request.param
    with vinr.backend("cpu"):
        yield request.param


@pytest.fixture
def triton_device():
    """The device of the triton backend's tensors: a GPU, or the CPU with an interpreter that rounds as a GPU does."""
    if reason := runtime.unavailable():
        pytest.skip(reason)
    if not runtime.INTERPRETED:
        yield "cuda"
        return
    from interpreter import exact_interpreter, inexact

    if reason := inexact():
        pytest.skip(reason)
    with exact_interpreter():
        yield "cpu"


@pytest.fixture
def device(triton_device):
    """The device of tensors for the triton backend, which runs the test."""
    with vinr.backend("triton"):
        yield triton_device


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)
