"""Where Triton's compilers fail, `auto` goes on without it, and says so; no other error is answered so."""

import logging
import subprocess

import pytest
import torch

import vinr_engine as vinr
from ops.deform_conv2d.samples import Sample
from ops.inr_query.samples import cast, problem
from vinr_engine import backends
from vinr_engine.ops import op as op_module
from vinr_engine.ops.inr_query import Arguments

triton = pytest.importorskip("triton")
from triton.compiler.errors import CompilationError  # noqa: E402
from triton.runtime.errors import OutOfResources, PTXASError  # noqa: E402

from vinr_engine.kernels.common import runtime  # noqa: E402
from vinr_engine.kernels.deform_conv2d import launch as deform_launch  # noqa: E402
from vinr_engine.kernels.inr_query import backward as query_backward  # noqa: E402
from vinr_engine.kernels.inr_query import launch as query_launch  # noqa: E402
from vinr_engine.kernels.sampled_mlp import launch as mlp_launch  # noqa: E402

FAILURES = [
    PTXASError("ptxas died"),
    OutOfResources(300000, 232448, "shared memory"),
    subprocess.CalledProcessError(1, ["gcc"]),
    RuntimeError("Failed to find C compiler. Please specify via CC environment variable."),
    RuntimeError("PassManager::run failed"),
]
OTHERS = [
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    ValueError("shapes"),
    torch.cuda.OutOfMemoryError("CUDA out of memory"),
    KeyError("x"),
]


class AsOnGpu:
    """The Triton backend's conditions, with tensors of the CPU taken and the interpreter not told from a GPU."""

    INTERPRETED = False

    def __getattr__(self, name):
        return getattr(runtime, name)


@pytest.fixture
def triton_first(triton_device, monkeypatch):
    """`auto` tries the triton backend before all others."""
    monkeypatch.setattr(backends, "triton_runtime", AsOnGpu())
    monkeypatch.setattr(op_module, "runtime", AsOnGpu())
    monkeypatch.setattr(backends, "ORDER", ("triton", "cpu", "cuda", "reference"))
    for op in op_module.OPS.values():
        monkeypatch.setattr(op, "given_up", {})
    return triton_device


def fails(error, calls):
    def compiler(*arguments, **options):
        calls.append(1)
        raise error

    return compiler


def query():
    return vinr.ops.inr_query(*cast(problem(), torch.float32))[0]


def convolve():
    input, offset, weight, bias, mask = Sample("any").tensors(torch.float32)
    return vinr.ops.deform_conv2d(input, offset, weight, bias, padding=1, mask=mask)


def mlp():
    generator = torch.Generator().manual_seed(0)
    maps, at = torch.randn(1, 4, 5, 6, generator=generator), torch.rand(1, 7, 2, generator=generator)
    return vinr.ops.sampled_mlp([maps], [at], [(torch.ones(3, 4), torch.zeros(3))])


OPS = {"inr_query": (query, query_launch, "inr_query"), "deform_conv2d": (convolve, deform_launch, "forward"),
       "sampled_mlp": (mlp, mlp_launch, "sampled_mlp")}  # fmt: skip


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_compilers_errors_are_known(error):
    assert type(error).__name__ in runtime.compiler_failure(error)


def test_a_front_end_error_is_known():
    assert runtime.compiler_failure(CompilationError(None, None, "outputs is not in list")).startswith("Compilation")


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: type(error).__name__)
def test_other_errors_are_not_taken_for_them(error):
    assert runtime.compiler_failure(error) == ""


@pytest.mark.parametrize("op", OPS)
def test_auto_goes_on_once_and_says_so(triton_first, op, monkeypatch, caplog):
    call, module, name = OPS[op]
    with vinr.backend("reference"):
        expected = call()
    calls = []
    monkeypatch.setattr(module, name, fails(PTXASError("ptxas died"), calls))
    with vinr.backend("auto"), caplog.at_level(logging.WARNING, "vinr_engine"):
        for _ in range(2):
            torch.testing.assert_close(call(), expected, rtol=1e-4, atol=1e-4)
    assert len(calls) == 1
    (record,) = [r for r in caplog.records if "instead" in r.getMessage()]
    assert f"{op} runs on the " in record.getMessage()
    assert "PTXASError" in record.getMessage()


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("error", OTHERS[:1])
def test_an_error_of_a_kernel_that_ran_is_raised(triton_first, op, error, monkeypatch):
    call, module, name = OPS[op]
    calls = []
    monkeypatch.setattr(module, name, fails(error, calls))
    with vinr.backend("auto"):
        for _ in range(2):
            with pytest.raises(RuntimeError, match="illegal memory access"):
                call()
    assert len(calls) == 2


@pytest.mark.parametrize("op", OPS)
def test_a_backend_asked_for_by_name_raises(triton_first, op, monkeypatch):
    call, module, name = OPS[op]
    monkeypatch.setattr(module, name, fails(PTXASError("ptxas died"), []))
    with vinr.backend("triton"):
        for _ in range(2):
            with pytest.raises(vinr.BackendError, match=f"{op}: backend 'triton' has no kernel .*PTXASError") as raised:
                call()
            assert isinstance(raised.value.__cause__, PTXASError)


def test_gradients_without_a_kernel(triton_first, monkeypatch):
    """What was computed by Triton cannot be differentiated by another backend; from the next call on all of it is."""
    monkeypatch.setattr(query_backward, "inr_query_backward", fails(PTXASError("ptxas died"), []))
    arguments = cast(problem(), torch.float32)
    arguments[0].requires_grad_()
    with vinr.backend("auto"):
        with pytest.raises(vinr.BackendError, match="no kernel for the gradients of inr_query"):
            vinr.ops.inr_query(*arguments)[0].sum().backward()
        out = vinr.ops.inr_query(*arguments)[0]
        (found,) = torch.autograd.grad(out.sum(), arguments[0])
        with torch.no_grad():  # needs no gradients
            *given, feat, flow, encode, u = arguments
            call = Arguments(*given, (feat, flow, encode), u, torch.float32, False)
            assert op_module.OPS["inr_query"].select(call) == "triton"
    with vinr.backend("reference"):
        (expected,) = torch.autograd.grad(vinr.ops.inr_query(*arguments)[0].sum(), arguments[0])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_a_compiled_graph_has_no_break(triton_first):
    compiled = torch.compile(convolve_arguments, fullgraph=True, backend="eager")
    input, offset, weight, bias, mask = Sample("any").tensors(torch.float32)
    with vinr.backend("auto"):
        torch.testing.assert_close(compiled(input, offset, weight, bias, mask), convolve(), rtol=1e-4, atol=1e-4)


def convolve_arguments(input, offset, weight, bias, mask):
    return vinr.ops.deform_conv2d(input, offset, weight, bias, padding=1, mask=mask)
