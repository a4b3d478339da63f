"""Times, rates of the machine, and errors."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Task = Callable[[], object]
BURST = 10  # runs of the unit convolution that make one of its measurements


@dataclass(frozen=True)
class Runs:
    """Seconds of every run of one task."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile; the fastest and the slowest where there are fewer than four runs."""
        if len(self.seconds) < 4:
            return min(self.seconds), max(self.seconds)
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third


def timed(task: Task) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def interleaved(
    tasks: Mapping[str, Task], repeats: int, budget: float = math.inf, least: int = 1, clock: Callable = timed
) -> dict[str, Runs]:
    """Rounds in which each task runs once, each round starting with another task.

    Stops after `repeats` rounds, or after `least` when one more would not fit in `budget` seconds. Warming up is the
    caller's: the correctness gate does it.
    """
    names = list(tasks)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    spent = 0.0
    for done in range(repeats):
        if done >= least and spent * (done + 1) / done > budget:
            break
        first = done % len(names)
        for name in names[first:] + names[:first]:
            elapsed = clock(tasks[name])
            seconds[name].append(elapsed)
            spent += elapsed
    return {name: Runs(tuple(values)) for name, values in seconds.items()}


@dataclass(frozen=True)
class Rates:
    """What the machine can do: operations a second of a large matrix product, bytes a second of a large copy."""

    matrix: dict[str, float]  # dtype name -> operations a second
    copy: float


def machine_rates(repeats: int = 5, n: int = 2048) -> Rates:
    """Measured now; the copy reads and writes 128 MB each."""
    matrix = {}
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(n, n).to(dtype) for _ in range(2))
        torch.mm(a, b)
        matrix[name] = 2 * n**3 / min(timed(lambda a=a, b=b: torch.mm(a, b)) for _ in range(repeats))  # type: ignore[misc]
    source = torch.ones(1 << 25)
    target = torch.zeros_like(source)
    copy = 2 * 4 * source.numel() / min(timed(lambda: target.copy_(source)) for _ in range(repeats))
    return Rates(matrix, copy)


def unit_convolution(h: int = 64, w: int = 112) -> Callable[[], float]:
    """Gives seconds of a channels-last 3x3 convolution 64 -> 64: the unit that tells one machine from another."""
    x, weight = (t.to(memory_format=torch.channels_last) for t in (torch.randn(1, 64, h, w), torch.randn(64, 64, 3, 3)))
    bias = torch.randn(64)

    def measure() -> float:
        with torch.inference_mode():
            return statistics.median(timed(lambda: F.conv2d(x, weight, bias, padding=1)) for _ in range(BURST))

    measure()
    return measure


def tensors_of(result: object) -> list[Tensor]:
    """A task's result as a list of tensors."""
    if isinstance(result, Tensor):
        return [result]
    assert isinstance(result, Iterable)
    return [t for t in result if isinstance(t, Tensor)]


def relative_error(actual: object, expected: object) -> float:
    """The largest of max |a - e| / max |e| over tensors; infinite where shapes differ or something is not finite."""
    pairs = list(zip(tensors_of(actual), tensors_of(expected), strict=True))
    worst = 0.0
    for a, e in pairs:
        if a.shape != e.shape or not torch.isfinite(a).all():
            return math.inf
        worst = max(worst, ((a.float() - e.float()).abs().max() / e.float().abs().max().clamp(min=1e-30)).item())
    return worst


def psnr(actual: object, expected: object, peak: float | None = None) -> float:
    """Decibels over all tensors; `peak` is the largest expected magnitude by default, 1 for pictures."""
    pairs = [(a.double(), e.double()) for a, e in zip(tensors_of(actual), tensors_of(expected), strict=True)]
    if any(a.shape != e.shape for a, e in pairs):
        return -math.inf
    squares = sum(((a - e) ** 2).sum().item() for a, e in pairs)
    mean = squares / max(1, sum(e.numel() for _, e in pairs))
    if not math.isfinite(mean):
        return -math.inf
    top = peak or max(e.abs().max().item() for _, e in pairs)
    return math.inf if mean == 0 else 10 * math.log10(top**2 / mean)
