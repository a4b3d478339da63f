"""Times on a GPU: events around a run that finds a cold cache. On the CPU, for rehearsals, the host's clock."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measure import timed

HEAD_START = 20_000_000  # the GPU's cycles, about 10 ms: some thousand launches
FLUSH = 1 << 28  # bytes, or four times the second cache
GIGABYTE = 1e9
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Rotating:
    """A function of arguments, called with the next of several sets of them each time."""

    def __init__(self, function: Callable[..., object], arguments: Sequence[Sequence[object]]) -> None:
        self.function, self.arguments, self.turn = function, arguments, 0

    def __call__(self) -> object:
        given = self.arguments[self.turn % len(self.arguments)]
        self.turn += 1
        return self.function(*given)


class Clock:
    """Seconds of a call on `device`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._flush: Tensor | None = None
        if device.type == "cuda":
            cache = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)
            self._flush = torch.empty(max(FLUSH, 4 * cache), dtype=torch.int8, device=device)

    def __call__(self, task: Callable[[], object]) -> float:
        if self._flush is None:
            return timed(task)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._flush.zero_()  # clears what the last call left in the second cache
        # The host gets ahead meanwhile: what launches cost it does not count where the GPU could hide it.
        torch.cuda._sleep(HEAD_START)
        start.record()
        task()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    def free_bytes(self) -> int | None:
        """Bytes that can still be allocated; None where nobody says."""
        if self.device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(free) + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)


@dataclass(frozen=True)
class Peaks:
    """What was measured: operations a second of a large product, by precision; bytes a second of a large copy."""

    matrix: dict[str, float]
    copy: float


def measure_peaks(clock: Clock, side: int, copied: int, repeats: int = 10) -> Peaks:
    """Medians of products of side x side matrices, and of a copy of `copied` bytes, which are read and written."""
    matrix = {}
    for name, dtype in DTYPES.items():
        a, b = (torch.randn(side, side, device=clock.device).to(dtype) for _ in range(2))
        with tf32(name == "tf32"):
            torch.mm(a, b)
            times = [clock(lambda a=a, b=b: torch.mm(a, b)) for _ in range(repeats)]  # type: ignore[misc]
        matrix[name] = 2 * side**3 / statistics.median(times)
    source = torch.ones(copied, dtype=torch.int8, device=clock.device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = statistics.median(clock(lambda: target.copy_(source)) for _ in range(repeats))
    return Peaks(matrix, 2 * copied / seconds)


class tf32:  # noqa: N801
    """Inside, torch's own float32 products round their operands to TF32, or do not; whatever was set before."""

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed

    def __enter__(self) -> None:
        self._before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.allowed

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self._before
