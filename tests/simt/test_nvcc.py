import subprocess

import pytest
from torch.utils.cpp_extension import include_paths

from simt import nvcc

DEFORM_CONV2D = """
#include "deform_conv2d/cuda.cuh"
namespace vinr::cuda {
Error start(const deform::Parameters& p, deform::Precision precision, Stream stream) {
    return deform::run(p, precision, stream);
}
}
"""


@pytest.mark.parametrize("target", [t if t == "80" else pytest.param(t, marks=pytest.mark.slow) for t in nvcc.TARGETS])
def test_deform_conv2d_compiles_to_matrix_instructions_with_no_spills(target, tmp_path):
    kernels = nvcc.kernels(DEFORM_CONV2D, target, tmp_path)
    assert len(kernels) == 8  # four precisions, by 16 bytes and one by one
    for kernel in kernels:
        assert kernel.spills == kernel.stack == 0, kernel
        assert kernel.registers <= 80, kernel  # three blocks of 256 threads
        if kernel.matrix_instructions is None:
            pytest.skip("neither cuobjdump nor Triton, which brings one, to look for matrix instructions")
        assert kernel.matrix_instructions > 0, kernel


INR_QUERY = """
#include "inr_query/cuda.cuh"
namespace vinr::cuda {
Error start(const QueryArguments& a, const Workspace& w, DeviceLimits device, Stream stream) {
    const InrQuery<Operand<OPERAND>> query(a);
    const Error error = query.pack(w, stream);
    return error == kSuccess ? query.run(w, 1, device, stream) : error;
}
}
"""


@pytest.mark.parametrize(
    ("operand", "target"),
    [
        pytest.param(operand, target, marks=() if (operand, target) == ("Half", "90") else pytest.mark.slow)
        for operand in ("Half", "BFloat16", "Tf32", "float")
        for target in nvcc.TARGETS
    ],
)
def test_inr_query_compiles_to_matrix_instructions_with_no_spills(operand, target, tmp_path):
    kernels = nvcc.kernels(INR_QUERY.replace("OPERAND", operand), target, tmp_path)
    assert len(kernels) == 7  # both passes in two forms, three of packing
    for kernel in kernels:
        assert kernel.spills == kernel.stack == 0, kernel
        if "pack" in kernel.name or operand == "float":
            continue
        if kernel.matrix_instructions is None:
            pytest.skip("neither cuobjdump nor Triton, which brings one, to look for matrix instructions")
        assert kernel.matrix_instructions > 0, kernel


@pytest.mark.slow
@pytest.mark.parametrize("op", ["deform_conv2d", "inr_query"])
def test_bindings_compile(op, tmp_path):
    """Against the stable ABI's headers, with or without a CUDA build of torch."""
    command = [nvcc.path(), "-std=c++17", "-arch=sm_80", f"-I{nvcc.ROOT / 'csrc'}", "-Werror", "all-warnings"]
    command += [f"-isystem={folder}" for folder in include_paths()]
    command += ["-DTORCH_TARGET_VERSION=0x020a000000000000", "-Xcompiler", "-fPIC,-Wall,-Wextra,-Werror"]
    command += ["-c", nvcc.ROOT / "csrc" / op / "cuda.cu", "-o", tmp_path / "binding.o"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
