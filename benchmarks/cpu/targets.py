"""What must be reached on two cores with AVX-512, and whether a run did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.cpu.cases import BF16, COMPILE, CONV, EAGER, FLOAT32
from benchmarks.cpu.results import Results

QUERY, STEP, ENCODER = "query 64x112 x4", "query step 32x32 x4", "encoder 64x112"
LARGER, LARGEST = "encoder 320x180", "encoder 640x360"
CLIP, FRAME = "clip 64x112 x4 x8", "frame 320x180 x4"
TRAINING = "training step 32x32 x4"
DEFORM, DEFORM_STEP = "deform_conv2d 64x112", "deform_conv2d step 64x112"

REACHED, MISSED, NOT_MEASURED, VOIDED = "reached", "not reached", "not measured", "void"


@dataclass(frozen=True)
class Target:
    """`measure` gives None where a run lacks it; `baseline` is the case and backend that must not be void."""

    what: str
    limit: float
    measure: Callable[[Results], float | None]
    unit: str = "x"
    at_most: bool = False
    baseline: tuple[str, str] | None = None

    @property
    def demand(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.limit:g}{self.unit}"

    def show(self, results: Results) -> str:
        value = self.measure(results)
        return "" if value is None else f"{value:.3g}{self.unit}"

    def verdict(self, results: Results) -> str:
        value = self.measure(results)
        if value is None:
            return NOT_MEASURED
        if self.baseline and results.is_void(*self.baseline):
            return VOIDED
        return REACHED if (value <= self.limit if self.at_most else value >= self.limit) else MISSED


def _faster(what: str, limit: float, case: str, over: str, backend: str) -> Target:
    return Target(what, limit, lambda r: r.speedup(case, over, backend), baseline=(case, over))


def _convolutions(case: str) -> Callable[[Results], float | None]:
    return lambda r: r.speedup(case, FLOAT32, CONV)


def _gflops_beside_convolution(results: Results) -> float | None:
    query, conv = results.row(QUERY, FLOAT32), results.row(DEFORM, CONV)
    if query is None or conv is None or not query.gflops or not conv.gflops:
        return None
    return query.gflops / conv.gflops


def _matrix_share(results: Results) -> float | None:
    row = results.row(QUERY, BF16)
    return row.matrix_percent / 100 if row and row.matrix_percent else None


def _rate_kept(results: Results) -> float | None:
    larger, largest = results.row(LARGER, FLOAT32), results.row(LARGEST, FLOAT32)
    if larger is None or largest is None or not larger.gflops or not largest.gflops:
        return None
    return largest.gflops / larger.gflops


def _memory_share(case: str) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        eager, ours = results.row(case, EAGER), results.row(case, FLOAT32)
        return eager.peak_mb / ours.peak_mb if eager and ours and eager.peak_mb and ours.peak_mb else None

    return measure


def _peak(results: Results) -> float | None:
    row = results.row(FRAME, FLOAT32)
    return row.peak_mb if row else None


def _psnr(case: str) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        row = results.row(case, BF16)
        return row.psnr_db if row else None

    return measure


TARGETS = (
    _faster("query, float32, against eager", 8, QUERY, EAGER, FLOAT32),
    _faster("query, float32, against torch.compile", 6, QUERY, COMPILE, FLOAT32),
    Target("query, GFLOP/s of hoisted work beside F.conv2d's", 0.75, _gflops_beside_convolution),
    _faster("query, bf16, against eager", 12, QUERY, EAGER, BF16),
    Target("deform_conv2d, times F.conv2d of its shape", 2.5, _convolutions(DEFORM), at_most=True),
    Target("deform_conv2d, forward and backward, the same", 5, _convolutions(DEFORM_STEP), at_most=True),
    Target("query, bf16, of the matrix rate", 0.75, _matrix_share),
    _faster("encoder, float32, against eager", 4, ENCODER, EAGER, FLOAT32),
    _faster("encoder, bf16, against eager", 6, ENCODER, EAGER, BF16),
    _faster("encoder at 320x180, float32, against eager", 4, LARGER, EAGER, FLOAT32),
    _faster("encoder at 320x180, bf16, against eager", 6, LARGER, EAGER, BF16),
    Target("encoder at 640x360, float32, GFLOP/s beside those at 320x180", 0.95, _rate_kept),
    _faster("clip, x4 space x8 time, float32, against eager", 6, CLIP, EAGER, FLOAT32),
    _faster("clip, bf16, against eager", 10, CLIP, EAGER, BF16),
    _faster("query training step, against eager autograd", 4, STEP, EAGER, FLOAT32),
    Target("its peak memory, times less than eager's", 15, _memory_share(STEP)),
    _faster("training step, batch 4 at 32x32, three times, against eager", 8, TRAINING, EAGER, FLOAT32),
    _faster("the same, bf16, against eager", 11, TRAINING, EAGER, BF16),
    Target("its peak memory, times less than eager's", 2, _memory_share(TRAINING)),
    Target("peak memory of a 1280x720 frame, float32", 450, _peak, " MB", at_most=True),
    Target("query, bf16 against float32, PSNR", 48, _psnr(QUERY), " dB"),
    Target("whole network, bf16 against float32, PSNR", 45, _psnr(CLIP), " dB"),
)
