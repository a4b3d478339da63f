"""What kernels have to do for an output pixel, and what a frame of the query takes by its machine code alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.cases import FRAME, GROUPS, TAPS, Case
from benchmarks.common import hardware, work
from benchmarks.common.hardware import Gpu
from benchmarks.common.work import LIIF, Work
from benchmarks.static.compiler import Kernel
from benchmarks.static.machine_code import is_matrix

SCALE = 4
OFFSETS = 3 * GROUPS * TAPS  # of deformable convolution: two coordinates and a mask for each tap of each group
TRAFFIC = 1.5  # the bytes that both passes move are at most this many times the least: tests/simt, test_traffic
MATRIX_SHAPE = re.compile(r"(HMMA)\.(16)(8)(\d+)\.|(HGMMA)\.(\d+)x(\d+)x(\d+)\.")
WARPGROUP = 4


def pixels(kernel: Kernel) -> int:
    """Outputs that the time by the roofline is of: a frame, or its low-resolution maps for deform_conv2d."""
    return FRAME[0] * FRAME[1] // (SCALE**2 if kernel.op == "deform_conv2d" else 1)


def work_of(kernel: Kernel) -> Work | None:
    """Operations and the least bytes for an output pixel at scale 4; None where it is not a pass over pixels."""
    size = 2 if kernel.operands in ("float16", "bfloat16") else 4
    maps = 4 if kernel.backend == "cuda" else size  # the CUDA kernels read float32 maps
    name, features, colours = kernel.kernel, work.HR, 0 if "no upsampling" in kernel.kernel else work.COLOURS
    product = Case("deform_conv2d", 1, 1).work().operations
    if kernel.op == "deform_conv2d":
        if name.startswith("backward_samples"):  # reads input, offsets, gradient; adds to float32, writes offsets'
            return Work(product, (2 * work.NF + 2 * OFFSETS) * size + 4 * work.NF)
        return Work(product, (2 * work.NF + OFFSETS) * size)
    if "any width" in name or "pack" in name:
        return None
    if name.startswith("decode"):
        macs = work.mlp_macs(3, work.FEAT) + work.mlp_macs(features + colours + 1, work.FLOW)
        read = (work.FEAT[0] + work.FLOW[0] + colours * SCALE**2) * maps / SCALE**2
        return Work(2 * macs, read + features * size + 16)
    if name.startswith("colour"):
        macs = work.mlp_macs(2 * (features + colours) + 1, work.ENCODE)
        read = (2 * work.ENCODE[0] + colours * SCALE**2) * maps / SCALE**2
        return Work(2 * macs, read + features * size + 16 + 12)
    if kernel.op == "sampled_mlp":  # positions and four inputs of float32 in, three colours out
        return Work(Case("sampled_mlp", 1, 1).work().operations, LIIF[0] * size / SCALE**2 + 8 + 16 + 12)
    return None


@dataclass(frozen=True)
class Pass:
    """Seconds of one pass over a frame, if each part of the GPU were the only limit.

    issue: of instructions; matrix, floats, special: of their pipes; shared: of shared memory and the first cache;
    memory: of 1.5 times the least bytes. padding: multiply-adds that the code does, over those needed.
    """

    gpu: Gpu
    kernel: Kernel
    issue: float
    matrix: float
    floats: float
    special: float
    shared: float
    memory: float
    padding: float

    @property
    def seconds(self) -> float:
        return max(self.issue, self.matrix, self.floats, self.special, self.shared, self.memory)


def estimate(kernel: Kernel, gpu: Gpu) -> Pass:
    """One pass of the query. Raises ValueError where its loops were not followed to the end."""
    needed = work_of(kernel)
    assert needed is not None
    frame = FRAME[0] * FRAME[1]
    tiles = frame / kernel.pixels  # shares of a warp
    cycle = 1 / (gpu.clock * gpu.multiprocessors)  # of all multiprocessors
    scheduler = cycle / hardware.SCHEDULERS
    executed = kernel.executed
    if not executed:
        raise ValueError(f"{kernel.name}: its loops were not followed")
    products = _products(executed)
    macs = products or needed.operations / 2 * kernel.pixels
    padding = macs / (needed.operations / 2 * kernel.pixels)
    if not 0.97 <= padding <= 1.5:  # vectors such as the time's are added without a product
        raise ValueError(f"{kernel.name}: {macs:.0f} multiply-adds counted, {padding:.2f} times those needed")
    reached = hardware.MMA_SYNC_REACHED if kernel.target == 90 and any(n.startswith("HMMA") for n in executed) else 1
    memory = needed.bytes * frame * TRAFFIC / gpu.copy
    return Pass(
        gpu, kernel, sum(executed.values()) * tiles * scheduler,
        macs / gpu.matrix_rate(kernel.operands) / reached * tiles * scheduler,
        _count(executed, "FADD", "FMUL", "FFMA") * hardware.float_cycles(kernel.target) * tiles * scheduler,
        _count(executed, "MUFU", "F2I", "I2F", "I2FP", "F2F", "FRND") * hardware.SPECIAL_CYCLES * tiles * scheduler,
        _moved(executed) / hardware.SHARED_BYTES * tiles * cycle, memory, padding,
    )  # fmt: skip


def query(kernels: Iterable[Kernel], operands: str = "float16") -> list[tuple[Gpu, Kernel, Kernel]]:
    """Both passes of the query with upsampled colours, for each backend and card that they were compiled for."""
    found: dict[tuple[int, str], dict[str, Kernel]] = {}
    for kernel in kernels:
        if kernel.op == "inr_query" and kernel.kernel in (f"decode {operands}", f"colour {operands}"):
            found.setdefault((kernel.target, kernel.backend), {})[kernel.kernel.split()[0]] = kernel
    cards = [(hardware.gpu_of(target), both) for (target, _), both in sorted(found.items())]
    return [(gpu, both["decode"], both["colour"]) for gpu, both in cards if gpu is not None and len(both) == 2]


def _count(executed: Mapping[str, int], *names: str) -> int:
    return sum(count for name, count in executed.items() if name.split(".")[0] in names)


def _products(executed: Mapping[str, int]) -> float:
    """Multiply-adds of a warp, from the shapes in the names; 0 where an instruction does not name its shape."""
    total = 0.0
    for name, count in executed.items():
        if not is_matrix(name):
            continue
        match = MATRIX_SHAPE.match(name)
        if match is None:
            return 0.0
        m, n, k = (int(g) for g in (match.group(2, 3, 4) if match[1] else match.group(6, 7, 8)))
        total += count * m * n * k / (1 if match[1] else WARPGROUP)
    return total


def _moved(executed: Mapping[str, int]) -> int:
    """Bytes that a warp's loads and stores take from or put into shared memory or the first cache."""
    total = 0
    for name, count in executed.items():
        first, *suffixes = name.split(".")
        if first == "LDSM":
            total += count * 128 * int(suffixes[-1] if suffixes[-1].isdigit() else 1)
        elif first in ("LDS", "STS", "LDG", "STG", "LDGSTS"):
            width = next((int(s) // 8 for s in suffixes if s in ("64", "128")), 4)
            total += count * width * hardware.WARP
    return total
