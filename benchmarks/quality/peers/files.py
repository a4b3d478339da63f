"""Our own network from file to file, by `vinr upscale`, and what a process costs before its first picture."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from benchmarks.common.machine import ROOT

from . import cost
from .listed import OURS, Settings
from .stages import FACTOR
from .worker import moving, peak_bytes, threading

SHORT, LONG = 4, 8
"""Frames of the two files."""
TINY = (16, 16)
"""(width, height) of the clip of two frames that start-up is measured with: next to nothing is computed."""
PEAK = ("-m", "benchmarks.quality.peers.files")
"""`vinr` in a process that tells its peak memory at the end."""
TORCH, UPSCALE = "import torch", "vinr upscale, two frames of 16x16"


@dataclass(frozen=True)
class Start:
    """A whole process: medians of its wall and CPU seconds (user and system)."""

    what: str
    wall_s: float
    cpu_s: float
    repeats: int


def write(path: Path, frames: int, size: tuple[int, int]) -> None:
    """The worker's moving picture as H.264 in 4:2:0."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "10"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for frame in islice(moving(*size), frames):
            image = np.rint(frame.transpose(1, 2, 0) * 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@dataclass(frozen=True)
class Process:
    """A whole process: seconds by the clock, CPU seconds, and what it printed."""

    wall_s: float
    cpu_s: float
    printed: str


def process(words: Sequence[str], threads: int, bytecode: Path | None = None) -> Process:
    """Python with these arguments, to its end. Raises RuntimeError with what it said if it fails.

    bytecode: a folder that keeps compiled modules from process to process, whatever this one's environment says.
    """

    def children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    environment = os.environ | threading(threads)
    if bytecode is not None:
        environment |= {"PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONDONTWRITEBYTECODE": ""}
    start, before = time.perf_counter(), children()
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    found = Process(time.perf_counter() - start, children() - before, done.stdout)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(words)} failed: {done.stderr.strip()[-500:]}")
    return found


def upscale(source: Path, target: Path, settings: Settings) -> list[str]:
    """The words of `vinr` that enlarge a file."""
    words = ["upscale", str(source), str(target), "--space", str(FACTOR), "--time", "2", "--quiet", "--overwrite"]
    words += ["--device", "cpu", "--dtype", settings.dtype]
    return words if settings.weights is None else [*words, "--weights", str(settings.weights.absolute())]


def from_file(
    sizes: Sequence[str], settings: Settings, threads: int, repeats: int, step: Callable[[], None]
) -> list[cost.Row]:
    """A row of our network for each size. step: called after each repeat."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "out.mp4")
        for size in sizes:
            sources = {n: Path(folder, f"{size}_{n}.mp4") for n in (SHORT, LONG)}
            for n, source in sources.items():
                write(source, n, cost.size_of(size))
            seconds: list[float] = []
            peaks: list[int | None] = []
            for _ in range(repeats):
                short, long = (process([*PEAK, *upscale(sources[n], target, settings)], threads) for n in (SHORT, LONG))
                # Twice as many pictures as frames: the last one is held.
                seconds.append((long.cpu_s - short.cpu_s) / (2 * (LONG - SHORT)))
                peaks.append(json.loads(long.printed.splitlines()[-1]))
                step()
            known = [peak for peak in peaks if peak is not None]
            rows.append(cost.row(OURS, size, cost.FILE, seconds, max(known, default=None)))
    return rows


def starts(settings: Settings, threads: int, repeats: int, step: Callable[[], None]) -> list[Start]:
    """Of `import torch` alone and of `vinr upscale`, in turn. step: called after each repeat."""
    found: dict[str, list[Process]] = {TORCH: [], UPSCALE: []}
    with tempfile.TemporaryDirectory() as folder:
        source, target, bytecode = (Path(folder, name) for name in ("in.mp4", "out.mp4", "bytecode"))
        write(source, 2, TINY)
        words = {
            TORCH: ["-c", "import torch"],
            UPSCALE: ["-m", "vinr_engine.cli", *upscale(source, target, settings)],
        }
        for each in words.values():
            process(each, threads, bytecode)  # reads files that later ones find in memory, and compiles modules
        for _ in range(repeats):
            for what, each in words.items():
                found[what].append(process(each, threads, bytecode))
            step()
    medians = [
        (what, statistics.median(one.wall_s for one in each), statistics.median(one.cpu_s for one in each))
        for what, each in found.items()
    ]
    return [Start(what, round(wall, 3), round(cpu, 3), repeats) for what, wall, cpu in medians]


def main() -> int:
    """`vinr` with the arguments given; its last line is its peak memory in bytes, as JSON."""
    from vinr_engine.cli.__main__ import run

    code = run()
    print(json.dumps(peak_bytes()))
    return code


if __name__ == "__main__":
    sys.exit(main())
