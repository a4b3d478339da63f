"""Everything about a GPU in one command: is it right, how fast, and one file to send back.

    python -m benchmarks.gpu [--out FILE] [--only NAME ...] [--quick]

First every op on every backend is held to the reference in float64, forward and backward. Then what is right is timed
by events, with a cold cache and inputs in rotation, backends in turn, beside eager, torch.compile and torchvision's
deform_conv2d where it is installed. Per cent are of the GPU's own peaks, measured by a large product and a large copy.
FILE (gpu.json) is written after each case: an error is recorded there and the rest goes on. --dry-run goes the same way
on the CPU with tiny sizes and the host's clock; its times mean nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.gpu_cases import PRECISIONS, TOLERANCES, Case
from benchmarks.gpu_session import Plan, Session, first_line

NO_GPU = (
    "no NVIDIA GPU that PyTorch can use: run this where `python -c 'import torch; print(torch.cuda.is_available())'` "
    "prints True, or rehearse it here with --dry-run"
)


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


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 if a result is wrong or a case failed, 2 for wrong usage, 3 without a GPU."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="[%(default)s]")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="cases whose name contains NAME")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no 4K")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, tiny, to see that it runs")
    parser.add_argument("--device", default="cuda:0", help="which GPU [%(default)s]")
    options = parser.parse_args(argv)
    if not options.dry_run and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 3
    try:
        device = torch.device("cpu" if options.dry_run else options.device)
    except RuntimeError as error:
        parser.error(first_line(error))
    chosen = plan(options.dry_run, options.quick)
    if not any(name in case.name for name in options.only or [""] for case in (*chosen.checks, *chosen.times)):
        parser.error(f"no case is called so: {', '.join(sorted({c.name for c in (*chosen.checks, *chosen.times)}))}")
    console = Console()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    session = Session(device, chosen, options.out, console, options.only)
    session.run()
    for rate in session.report.frames_per_second:
        console.print("{output}, {form}, {precision}: {frames_per_second:.2f} frames/s".format(**rate))
    for row in session.bad:
        console.print(f"{row.status}: {row.case}, {row.form}, {row.precision}: {row.note}", style="red", soft_wrap=True)
    console.print(f"written: {options.out}; please send it back", soft_wrap=True)
    return 1 if session.bad else 0


if __name__ == "__main__":
    sys.exit(main())
