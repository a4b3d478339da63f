"""What nvcc and its tools say of device code; needs no GPU."""

import importlib.util
import pathlib
import re
import shutil
import subprocess
from dataclasses import dataclass

import pytest

ROOT = pathlib.Path(__file__).parents[2]
TARGETS = ("80", "86", "89", "90", "100", "120")


@dataclass(frozen=True)
class Kernel:
    name: str
    registers: int
    stack: int  # bytes a thread in local memory
    spills: int  # bytes of stores and loads
    matrix_instructions: int | None  # None where no disassembler was found


def _disassembler():
    """cuobjdump of the CUDA toolkit, or the one that Triton brings."""
    if found := shutil.which("cuobjdump"):
        return found
    triton = importlib.util.find_spec("triton")
    if triton is None or triton.origin is None:
        return None
    path = pathlib.Path(triton.origin).parent / "backends/nvidia/bin/cuobjdump"
    return str(path) if path.exists() else None


def _matrix_instructions(cubin):
    """HMMA, HGMMA and UTCHMMA instructions by kernel."""
    tool = _disassembler()
    if tool is None:
        return None
    sass = subprocess.run([tool, "-sass", cubin], capture_output=True, text=True, check=True).stdout
    functions = re.split(r"^\s*Function : ", sass, flags=re.MULTILINE)[1:]
    return {text.split(maxsplit=1)[0]: len(re.findall(r"\b(?:HMMA|HGMMA|UTCHMMA)\b", text)) for text in functions}


def path():
    """nvcc; skips the test where there is none."""
    return shutil.which("nvcc") or pytest.skip("nvcc is not on PATH")


def kernels(source, target, folder):
    """Compiles a .cu text for sm_<target>; one Kernel for each. Warnings are errors. Skips the test without nvcc."""
    file, cubin = folder / "kernels.cu", folder / f"sm_{target}.cubin"
    file.write_text(source, encoding="utf-8")
    command = [path(), "-std=c++17", "-O3", f"-arch=sm_{target}", f"-I{ROOT / 'csrc'}", "-Werror", "all-warnings"]
    command += ["-Xptxas", "-v", "-cubin", file, "-o", cubin]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    matrix = _matrix_instructions(cubin)
    found = []
    for text in run.stderr.split("Compiling entry function '")[1:]:
        name, registers = text.split("'", 1)[0], int(re.search(r"Used (\d+) registers", text)[1])
        # bytes of stack frame, of spill stores and of spill loads
        stack, *spills = (int(number) for number in re.search(r"(\d+) bytes st.* (\d+) .* (\d+) bytes", text).groups())
        found.append(Kernel(name, registers, stack, sum(spills), None if matrix is None else matrix[name]))
    return found
