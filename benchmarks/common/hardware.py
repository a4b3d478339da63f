"""What GPUs can do, from their makers' documents: limits of a multiprocessor, peaks of a card, rates of its pipes.

Sources, by the letters that the tables name:
  G  CUDA C++ Programming Guide, "Compute Capabilities", technical specifications; CCCL's arch_traits has the same
  I  the same, "Arithmetic Instructions", results a clock cycle and multiprocessor
  A  NVIDIA A100 Tensor Core GPU datasheet (SXM, 80 GB) and architecture whitepaper
  L  NVIDIA Ada GPU Architecture whitepaper, appendix A (GeForce RTX 4090)
  H  NVIDIA H100 Tensor Core GPU datasheet and architecture whitepaper (SXM5)
  B  NVIDIA RTX Blackwell GPU Architecture whitepaper, appendix A (GeForce RTX 5090)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WARP = 32
SCHEDULERS = 4  # of a multiprocessor, each issuing an instruction of a warp a cycle; every target here


@dataclass(frozen=True)
class Limits:
    """What the resident blocks of one multiprocessor share, and what a block may have."""

    warps: int
    blocks: int
    shared: int  # bytes a multiprocessor, 1 KB of them reserved for each block
    registers: int = 65536

    @property
    def block_shared(self) -> int:
        """Bytes that a block may ask for."""
        return self.shared - RESERVED


RESERVED = 1024  # bytes of shared memory a block that the system takes
SHARED_UNIT, REGISTER_UNIT = 128, 256  # what a block's shared bytes and a warp's registers are rounded up to

# Compute capability -> limits. [G]
LIMITS: Mapping[int, Limits] = {
    80: Limits(64, 32, 164 << 10),
    86: Limits(48, 16, 100 << 10),
    89: Limits(48, 24, 100 << 10),
    90: Limits(64, 32, 228 << 10),
    100: Limits(64, 32, 228 << 10),
    120: Limits(48, 24, 100 << 10),
}


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def resident_blocks(capability: int, registers: int, shared: int, warps: int) -> int:
    """How many blocks of `warps` warps fit a multiprocessor; registers a thread, bytes of shared memory a block."""
    limits = LIMITS[capability]
    # A scheduler's warps share its quarter of the registers.
    by_registers = limits.registers // SCHEDULERS // _up(max(registers, 1) * WARP, REGISTER_UNIT) * SCHEDULERS // warps
    by_shared = limits.shared // _up(shared + RESERVED, SHARED_UNIT)
    return min(limits.blocks, limits.warps // warps, by_registers, by_shared)


@dataclass(frozen=True)
class Gpu:
    """A card. peaks: operations a second of dense products with float32 sums, by operands; copy: bytes a second."""

    name: str
    capability: int
    multiprocessors: int
    clock: float  # Hz at which the peaks of products are stated
    peaks: Mapping[str, float]
    copy: float
    source: str

    def matrix_rate(self, operands: str) -> float:
        """Multiply-adds a cycle and scheduler."""
        return self.peaks[operands] / 2 / self.clock / self.multiprocessors / SCHEDULERS


def _peaks(half: float, tf32: float, single: float) -> dict[str, float]:
    """tf32x3: three products of tf32 each. ieee: no tensor cores."""
    rates = {"float16": half, "bfloat16": half, "tf32": tf32, "tf32x3": tf32 / 3, "ieee": single}
    return {name: rate * 1e12 for name, rate in rates.items()}


GPUS = (
    Gpu("A100", 80, 108, 1.410e9, _peaks(312, 156, 19.5), 2039e9, "A"),
    Gpu("RTX 4090", 89, 128, 2.520e9, _peaks(165.2, 82.6, 82.6), 1008e9, "L"),
    Gpu("H100", 90, 132, 1.830e9, _peaks(989.4, 494.7, 66.9), 3352e9, "H"),
    Gpu("RTX 5090", 120, 170, 2.407e9, _peaks(209.5, 104.8, 104.8), 1792e9, "B"),
)


def gpu_of(capability: int) -> Gpu | None:
    """The card that stands for a target; None for 8.6 and 10.0, which are compiled for and have no row."""
    return next((gpu for gpu in GPUS if gpu.capability == capability), None)


# Cycles of a scheduler for an instruction of a warp, by pipe. [I]
SPECIAL_CYCLES = 8  # 16 lanes a multiprocessor: sines, exponentials, reciprocals, conversions between int and float


def float_cycles(capability: int) -> int:
    """Of a float32 addition, product or multiply-add: 8.0 has 64 lanes a multiprocessor, later ones 128."""
    return 2 if capability == 80 else 1


SHARED_BYTES = 128  # a cycle and multiprocessor, from shared memory and the first cache together
MMA_SYNC_REACHED = 0.63  # of the H100's dense peak, where mma.sync stands in for wgmma: as reported by others


def roofline(gpu: Gpu, operands: str, operations: float, moved: float) -> float:
    """Seconds that the card's peaks allow; `moved` in bytes."""
    return max(operations / gpu.peaks[operands], moved / gpu.copy)
