"""Compiles every shipped GPU kernel for a GPU that is not there, and keeps what its machine code says.

Triton's configurations are those that `kernels/*/compiled.py` describe; CUDA C++ is compiled by nvcc, if there is one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.common import hardware
from benchmarks.common.files import write_bytes
from benchmarks.common.machine import ROOT
from benchmarks.static import machine_code, machine_trace

CACHE = ROOT / "build" / "gpu_static"
TRITON, CUDA = "triton", "cuda"
TRITON_VERSION = version("triton")
# What kernels are of, by their names; those of none are gradients that ops share.
OPS = (
    "bspline_head",
    "deform_attention",
    "deform_conv2d",
    "fourier_field",
    "fourier_mlp",
    "inr_query",
    "local_correlation",
    "nearest_conv",
    "phase_linear",
    "sampled_mlp",
    "splat",
)
CHECKED = ("float16", "bfloat16", "tf32")  # operands whose inference must not spill and must use the tensor cores


@dataclass(frozen=True)
class Kernel:
    """One compiled kernel. shared: bytes a block, None if only its launch knows; the rest as in `MachineCode`.

    compiler: version of the Triton or the nvcc that compiled it
    pixels: a warp's share of a tile, in outputs; executed: its instructions for a tile, by name, see `machine_trace`.
    """

    target: int
    backend: str
    op: str
    kernel: str
    operands: str
    training: bool
    matrix_needed: bool
    warps: int
    registers: int
    stack: int
    local_loads: int
    local_stores: int
    shared: int | None
    matrix: int
    special: int
    instructions: int
    wide_global_loads: int
    compiler: str = ""
    pixels: int = 0
    executed: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.op} {self.kernel}"

    @property
    def checked(self) -> bool:
        return not self.training and self.operands in CHECKED

    @property
    def resident_warps(self) -> int | None:
        """Warps of it that fit a multiprocessor; None if its shared memory is not known."""
        if self.shared is None:
            return None
        blocks = hardware.resident_blocks(self.target, self.registers, self.shared, self.warps)
        return blocks * self.warps

    def faults(self) -> list[str]:
        """Why it may not ship; empty if it may."""
        found = []
        if self.stack or self.local_loads or self.local_stores:
            found.append(f"spills: stack {self.stack} B, local loads {self.local_loads}, stores {self.local_stores}")
        if self.matrix_needed and not self.matrix:
            found.append("no matrix instruction")
        return found if self.checked else []


@dataclass(frozen=True)
class Job:
    """What is compiled in one go: a configuration of Triton's, or a CUDA source."""

    target: int
    backend: str
    name: str
    checked: bool = True
    first: bool = True  # of a kernel's launch configurations


_QUERY = """
#include "inr_query/cuda.cuh"
namespace vinr::cuda {{
using O = Operand<{operand}>;
template <size_t streamed, size_t all> __global__ void decode_shared() {{}}
template <size_t streamed, size_t all> __global__ void colour_shared() {{}}
template __global__ void decode_shared<DecodePass<O>::shared_bytes(false), DecodePass<O>::shared_bytes(true)>();
template __global__ void colour_shared<ColourPass<O>::shared_bytes(false), ColourPass<O>::shared_bytes(true)>();
Error start(const QueryArguments& a, const Workspace& w, DeviceLimits device, Stream stream) {{
    const InrQuery<O> query(a);
    const Error error = query.pack(w, stream);
    return error == kSuccess ? query.run(w, 1, device, stream) : error;
}}
}}
"""
_DEFORM = """
#include "deform_conv2d/cuda.cuh"
namespace vinr::cuda {
template <size_t streamed, size_t all> __global__ void kernel_shared() {}
template __global__ void kernel_shared<deform::kSharedBytes, deform::kSharedBytes>();
Error start(const deform::Parameters& p, deform::Precision precision, Stream stream) {
    return deform::run(p, precision, stream);
}
}
"""
_OPERANDS = {"float16": "Half", "bfloat16": "BFloat16", "tf32": "Tf32", "float32": "float"}
# What is compiled in one go -> source.
SOURCES = {"deform_conv2d": _DEFORM} | {
    f"inr_query {name}": _QUERY.format(operand=operand) for name, operand in _OPERANDS.items()
}
_DEFORM_PRECISIONS = re.compile(r"6kernelILNS1_9PrecisionE(\d)ELb([01])E")
_DEFORM_OPERANDS = ("float16", "bfloat16", "tf32", "tf32x3")  # deform::Precision, in order
_QUERY_KERNEL = re.compile(r"\d((?:decode|colour)(?:_any_width)?|pack_\w+?)_kernelI")
_SHARED_BYTES = re.compile(r"\d(kernel|decode|colour)_sharedILm(\d+)ELm(\d+)E")


def nvcc() -> str | None:
    """Path of nvcc; None without one."""
    return shutil.which("nvcc")


def jobs(target: int) -> Iterator[Job]:
    """Everything that ships for a target."""
    seen = set()
    from vinr_engine.kernels.common.aot import configurations

    for configuration in configurations(target):
        kernel = configuration.name.split(",")[0] if "deform_conv2d" in configuration.name else configuration.name
        checked = not configuration.training and operands_of(configuration.name) in CHECKED
        yield Job(target, TRITON, configuration.name, checked, kernel not in seen)
        seen.add(kernel)
    if nvcc():
        for name in SOURCES:
            yield Job(target, CUDA, name, "float32" not in name)


def operands_of(name: str) -> str:
    """What a configuration of this name multiplies: "float16", "bfloat16", "tf32", "tf32x3" or "ieee"."""
    words = re.split(r"[ ,]+", name)
    return next((w for w in words if w in (*CHECKED, "tf32x3", "ieee")), "ieee")


def compile_all(
    wanted: Iterable[Job], processes: int = 2, cache: Path = CACHE
) -> Iterator[tuple[Job, list[Kernel], str]]:
    """Each job, as it is done, with its kernels, or with what its compiler says."""
    with ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (str(cache),)) as pool:
        futures = {pool.submit(run, job, cache): job for job in wanted}
        try:
            for done in as_completed(futures):
                error = done.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield futures[done], [] if error else done.result(), f"{type(error).__name__}: {error}" if error else ""
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare(cache: str) -> None:
    os.environ.setdefault("TRITON_CACHE_DIR", os.path.join(cache, "triton"))


def run(job: Job, cache: Path = CACHE) -> list[Kernel]:
    """Compile a job, unless these sources were compiled for it already."""
    own = [Path(module.__file__ or "") for module in (machine_code, machine_trace)]
    text = _kept(
        cache / f"{_key(job, [*_sources(job.backend), *own, Path(__file__)])}.json",
        lambda: json.dumps(
            [asdict(k) for k in (_triton(job) if job.backend == TRITON else _cuda(job, cache))]
        ).encode(),
    )
    return [Kernel(**k) for k in json.loads(text)]


def _kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of a file, made if it is not there. It appears whole: another process may be writing it too."""
    if not path.exists():
        write_bytes(path, make())
    return path.read_bytes()


def _sources(backend: str) -> list[Path]:
    return sorted((ROOT / "kernels").rglob("*.py") if backend == TRITON else (ROOT / "csrc").rglob("*.*h"))


def _key(job: Job, sources: Iterable[Path]) -> str:
    """Of what is compiled from these sources, by the compiler that is installed."""
    version = TRITON_VERSION if job.backend == TRITON else SOURCES[job.name] + _nvcc_text()
    key = hashlib.sha256(f"{job} {version}".encode())
    for source in sources:
        key.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return key.hexdigest()[:32]


def nvcc_version() -> str:
    """Such as "13.0"; empty where nvcc says something else."""
    said = re.search(r"release (\d+\.\d+)", _nvcc_text())
    return said[1] if said else ""


@functools.cache
def _nvcc_text() -> str:
    return subprocess.run([nvcc() or "nvcc", "--version"], capture_output=True, text=True, check=True).stdout


def _kernel(job: Job, facts: machine_code.MachineCode, code: machine_code.Code, **about: Any) -> Kernel:
    counted = {f.name: getattr(facts, f.name) for f in fields(Kernel) if hasattr(facts, f.name)}
    try:
        executed = dict(machine_trace.follow(code).tile()) if about["pixels"] else {}
    except RuntimeError:  # the estimate then says so
        executed = {}
    compiler = TRITON_VERSION if job.backend == TRITON else nvcc_version()
    return Kernel(job.target, job.backend, **about, **counted, compiler=compiler, executed=executed)


def _triton(job: Job) -> list[Kernel]:
    from vinr_engine.kernels.common import aot

    (configuration,) = [c for c in aot.configurations(job.target) if c.name == job.name]
    compiled = aot.compile_for(configuration, job.target)
    ((facts, code),) = machine_code.read_all(compiled.asm["cubin"]).values()
    op = next((op for op in OPS if op in job.name), "gradients")
    constants = configuration.constexprs
    tile = constants["TILE_Y"] * constants["TILE_X"] if op == "inr_query" else 0
    return [
        _kernel(
            job, facts, code, op=op, kernel=job.name.replace(op, "").strip(), operands=operands_of(job.name),
            training=configuration.training, matrix_needed=configuration.matrix,
            warps=configuration.num_warps, shared=compiled.metadata.shared, pixels=tile // configuration.num_warps,
        )
    ]  # fmt: skip


def _cubin(job: Job) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder) / "kernels.cu", Path(folder) / "kernels.cubin"
        source.write_text(SOURCES[job.name], encoding="utf-8")
        command = [nvcc() or "nvcc", "-std=c++17", "-O3", f"-arch=sm_{job.target}", f"-I{ROOT / 'csrc'}", "-cubin"]
        done = subprocess.run([*command, source, "-o", cubin], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"nvcc, {job.name} for sm_{job.target}:\n{done.stderr}")
        return cubin.read_bytes()


def _cuda(job: Job, cache: Path) -> list[Kernel]:
    found = machine_code.read_all(_kept(cache / f"{_key(job, _sources(CUDA))}.cubin", lambda: _cubin(job)))
    dynamic = {m[1]: (int(m[2]), int(m[3])) for name in found if (m := _SHARED_BYTES.search(name))}
    return [
        _cuda_kernel(job, name, facts, code, dynamic)
        for name, (facts, code) in found.items()
        if not _SHARED_BYTES.search(name)
    ]


def _cuda_kernel(
    job: Job,
    name: str,
    facts: machine_code.MachineCode,
    code: machine_code.Code,
    dynamic: Mapping[str, tuple[int, int]],
) -> Kernel:
    static = facts.static_shared - (hardware.RESERVED if job.target >= 90 and facts.static_shared else 0)
    if match := _DEFORM_PRECISIONS.search(name):
        operands, which = _DEFORM_OPERANDS[int(match[1])], "kernel"
        title = f"forward {operands}, {'by 16 bytes' if match[2] == '1' else 'by channel'}"
    elif match := _QUERY_KERNEL.search(name):
        operands = job.name.split()[-1].replace("float32", "ieee")
        which = match[1]
        title = f"{which.replace('_', ' ')} {operands}"
    else:
        raise RuntimeError(f"no kernel is known by the name {name}")
    shared = None if "any_width" in which else static
    if which in dynamic:
        streamed, everything = dynamic[which]
        fits = everything <= hardware.LIMITS[job.target].block_shared
        shared = static + (everything if fits else streamed)
    share = (
        32 if operands in ("float16", "bfloat16") else 16
    )  # pixels that a warp holds in registers, O::kRowTiles * 16
    return _kernel(
        job, facts, code, op=job.name.split()[0], kernel=title, operands=operands, training=False,
        matrix_needed="pack" not in which, warps=8, shared=shared, pixels=share if which in ("decode", "colour") else 0,
    )  # fmt: skip
