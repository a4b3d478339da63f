"""What a further output frame costs: CPU seconds and peak memory, each peer and size in a process of its own.

CPU seconds are user and system, of all threads. Clips of two lengths are restored in turn, and the difference counts:
what happens once drops out. The median of the repeats is reported.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.common.child import Child, Died

from .listed import Peer, Settings

SIZES = ("160x90", "320x180")
SHORT, LONG = 3, 7
"""Kept frames of the two clips."""
PATIENCE = 1200.0
"""Seconds that one clip may take on a busy machine."""
MEMORY = "memory"
FILE = "file"


@dataclass(frozen=True)
class Row:
    """where: MEMORY, from arrays to arrays, or FILE, by `vinr upscale`. Seconds are of one further output frame."""

    peer: str  # its key
    size: str
    where: str
    cpu_s: float
    least_s: float
    most_s: float
    repeats: int
    peak_mb: float | None  # of the whole process, in 10**6 bytes; None where the system does not tell


def row(peer: str, size: str, where: str, seconds: Sequence[float], peak: int | None) -> Row:
    """From seconds of a further frame by repeat, and bytes."""
    median, least, most = (round(f(seconds), 5) for f in (statistics.median, min, max))
    return Row(peer, size, where, median, least, most, len(seconds), None if peak is None else round(peak / 1e6, 1))


def command(peer: Peer, size: str, settings: Settings, threads: int) -> list[str]:
    """The process that measures."""
    words = [sys.executable, "-m", "benchmarks.quality.peers.worker", peer.key, size]
    words += ["--threads", str(threads), "--dtype", settings.dtype]
    return words if settings.weights is None else [*words, "--weights", os.path.abspath(settings.weights)]


def in_memory(peer: Peer, size: str, settings: Settings, threads: int, repeats: int, step: Callable[[], None]) -> Row:
    """One row. step: called after each repeat. Raises Died, saying why, if the process fails."""

    def patience(at: str | None) -> float:
        return PATIENCE

    child = Child(command(peer, size, settings, threads), patience)
    try:
        child.ask({"kept": SHORT}, patience)  # once for what is made at the first call
        seconds = []
        for _ in range(repeats):
            short, long = (child.ask({"kept": kept}, patience) for kept in (SHORT, LONG))
            seconds.append((long["cpu"] - short["cpu"]) / (long["pictures"] - short["pictures"]))
            step()
        return row(peer.key, size, MEMORY, seconds, child.ask({}, patience)["peak"])
    finally:
        child.stop()


def run(
    peers: Sequence[Peer], sizes: Sequence[str], settings: Settings, threads: int, repeats: int,
    step: Callable[[], None],
) -> list[Row]:  # fmt: skip
    """All rows from memory to memory; see `in_memory`. Raises RuntimeError naming the peer whose process fails."""
    rows = []
    for size in sizes:
        for peer in peers:
            try:
                rows.append(in_memory(peer, size, settings, threads, repeats, step))
            except Died as error:
                raise RuntimeError(f"{peer.name} at {size}: {error}") from None
    return rows


def size_of(text: str) -> tuple[int, int]:
    """(width, height). Raises ValueError."""
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) >= 8 for part in parts):
        raise ValueError(f"a size must be WIDTHxHEIGHT, at least 8x8, got {text!r}")
    return int(parts[0]), int(parts[1])


def default_threads() -> int:
    """One a core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
