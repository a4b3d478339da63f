"""What `benchmarks.gpu` checks and times on a GPU, and in a rehearsal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.gpu_cases import PRECISIONS, TOLERANCES, Case


@dataclass(frozen=True)
class Plan:
    """Sizes, and how much is measured."""

    checks: tuple[Case, ...]
    times: tuple[Case, ...]
    videos: Mapping[str, tuple[int, int]]  # name of an output size -> rows and columns of its frames at a quarter
    scale: int = 4
    side: int = 8192
    copied: int = 1 << 30
    rounds: int = 30
    least: int = 3  # rounds, whatever they take
    blocks: int | None = None  # of the encoder, front and back, if not those of the published network
    budget: float = 20.0


def plan(dry: bool, quick: bool) -> Plan:
    """What is run on a GPU, or to rehearse it."""
    videos = {"720p": (6, 10)} if dry else {"720p": (180, 320), "4K": (540, 960)}
    h, w = (6, 7) if dry else (45, 61)  # neither a multiple of a tile
    precisions = ("float32", "float16") if dry else PRECISIONS
    small, scale = (videos["720p"], 2) if dry else ((64, 64), 4)
    checks = [Case(op, h, w, precisions, scale) for op in TOLERANCES]
    precisions = ("float32",) if dry else precisions
    times = [Case(op, *videos["720p"], precisions) for op in ("deform_conv2d", "deform_conv2d step")]
    times += [Case("sampled_mlp", *videos["720p"], precisions, scale)]
    times += [Case("query step", *small, precisions[:2], scale, frames=1 if dry else 3)]
    for name, (rows, columns) in videos.items():
        if not quick or name == "720p":
            times += [Case(op, rows, columns, precisions, scale) for op in ("query", "encoder")]
    if dry:
        return Plan(tuple(checks), tuple(times), videos, scale, 64, 1 << 16, rounds=2, budget=1.0, least=1, blocks=1)
    return Plan(tuple(checks), tuple(times), videos, rounds=10 if quick else 30)
