"""The process that a cost is measured in: one peer at one size, nothing else loaded. It answers `cost`.

    python -m benchmarks.quality.peers.worker PEER WIDTHxHEIGHT --threads N [--weights FILE] [--dtype D]

Requests are lines of JSON, and so are answers: {"kept": n} restores a clip of n kept frames at twice the rate and gives
its CPU seconds (user and system, all threads) and pictures; {} gives the process's peak memory so far in bytes.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.served import Answer, Say, own_stdout, serve

from .listed import Restore, Settings, chosen
from .stages import Frame

HALVES = [Fraction(n, 2) for n in range(3)]
STATUS = Path("/proc/self/status")


def cpu_seconds() -> float:
    """User and system seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_bytes() -> int | None:
    """The high-water mark of this process's resident set; None where the system does not tell.

    Not getrusage's: Linux hands that one on from the process that started this one.
    """
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024


def threading(threads: int) -> dict[str, str]:
    """The environment of a process that uses so many threads, which sleep while they wait.

    Left alone they spin: beside other work one waits for another that has no core, and CPU seconds count that.
    """
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}


def moving(width: int, height: int) -> Iterator[Frame]:
    """For ever: a picture of soft spots and fine grain that slides by two pixels a frame, rounded to 8 bits."""
    random = np.random.default_rng(1)
    coarse = random.random((3, height // 8 + 2, width // 8 + 2))
    picture = np.repeat(np.repeat(coarse, 8, 1), 8, 2)[:, :height, :width] * 0.8
    picture = np.rint((picture + 0.2 * random.random((3, height, width))) * 255) / 255
    while True:
        yield np.ascontiguousarray(picture, np.float32)
        picture = np.roll(picture, (1, 2), (1, 2))


def restored(restore: Restore, kept: int, size: tuple[int, int]) -> dict[str, Any]:
    """CPU seconds and pictures of a clip of `kept` frames of (width, height) = `size`."""
    source = moving(*size)
    frames = [next(source) for _ in range(kept)]
    start = cpu_seconds()
    pictures = sum(1 for _ in restore(iter(frames), [HALVES] * (kept - 1)))
    return {"cpu": cpu_seconds() - start, "pictures": pictures}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.peers.worker")
    parser.add_argument("peer")
    parser.add_argument("size")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    answers = own_stdout()
    os.environ.update(threading(options.threads))  # before any library that reads it is loaded

    def begin(say: Say) -> tuple[str, Answer]:
        (peer,) = chosen(options.peer)
        width, height = map(int, options.size.split("x"))
        restore = peer.start(Settings(options.weights, options.dtype))

        def answer(request: dict[str, Any]) -> dict[str, Any]:
            if "kept" in request:
                return restored(restore, request["kept"], (width, height))
            return {"peak": peak_bytes()}

        return peer.key, answer

    return serve(begin, sys.stdin, answers)


if __name__ == "__main__":
    sys.exit(main())
