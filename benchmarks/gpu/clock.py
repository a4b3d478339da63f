"""Times on a GPU: events around a run that finds a cold cache. On the CPU, for rehearsals, the host's clock."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.common.measure import timed

HEAD_START = 20_000_000  # the GPU's cycles, about 10 ms: some thousand launches
FLUSH = 1 << 28  # bytes, or four times the second cache
GIGABYTE = 1e9
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "default": torch.float32, "float16": torch.float16,
          "bfloat16": torch.bfloat16}  # fmt: skip
# Whether torch's own float32 products round their operands to TF32, in matrix products and in cuDNN's convolutions. As
# PyTorch comes only the latter do, and so for whoever calls a network as it is, under autocast too.
STRICT, EVERYWHERE, AS_IT_COMES = (False, False), (True, True), (False, True)
TF32 = {"float32": STRICT, "tf32": EVERYWHERE, "default": AS_IT_COMES, "float16": AS_IT_COMES, "bfloat16": AS_IT_COMES}
# The product that a precision is measured by: the work of a network as it comes is mostly its convolutions'.
PEAK = {"default": "tf32"}


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
        if name in PEAK:
            continue
        a, b = (torch.randn(side, side, device=clock.device).to(dtype) for _ in range(2))
        with tf32(*TF32[name]):
            torch.mm(a, b)
            times = [clock(lambda a=a, b=b: torch.mm(a, b)) for _ in range(repeats)]  # type: ignore[misc]
        matrix[name] = 2 * side**3 / statistics.median(times)
    source = torch.ones(copied, dtype=torch.int8, device=clock.device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = statistics.median(clock(lambda: target.copy_(source)) for _ in range(repeats))
    return Peaks(matrix, 2 * copied / seconds)


class tf32:  # noqa: N801
    """Inside, torch's own float32 products round their operands to TF32, or do not; whatever was set before.

    The state is read and put back by the newer of PyTorch's two ways to say it, which never raises, and set by the
    older, which keeps both in step: code of PyTorch that asks by the one while the other says something else raises.
    """

    def __init__(self, products: bool, convolutions: bool) -> None:
        self.products, self.convolutions = products, convolutions

    @staticmethod
    def _state() -> tuple[str, str, str]:
        b = torch.backends
        return b.cuda.matmul.fp32_precision, b.cudnn.conv.fp32_precision, b.cudnn.rnn.fp32_precision  # type: ignore

    @staticmethod
    def _set(products: bool, convolutions: bool) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of later versions, that there is a newer way
            torch.backends.cuda.matmul.allow_tf32 = products
            torch.backends.cudnn.allow_tf32 = convolutions

    def __enter__(self) -> None:
        self._before = self._state()
        self._set(self.products, self.convolutions)

    def __exit__(self, *_: object) -> None:
        products, convolutions, recurrent = self._before
        self._set(products == "tf32", convolutions == "tf32")
        torch.backends.cuda.matmul.fp32_precision = products
        torch.backends.cudnn.conv.fp32_precision = convolutions  # type: ignore[attr-defined]
        torch.backends.cudnn.rnn.fp32_precision = recurrent  # type: ignore[attr-defined]
