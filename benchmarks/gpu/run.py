"""Everything about a GPU in one command: is it right, how fast, and one file to send back.

    python -m benchmarks.gpu [--part checks|times] [--out FILE] [--only NAME ...] [--deadline S] [--resume] [--quick]

First every op on every backend is held to the reference in float64, forward and backward. Then what is right is timed
by events, with a cold cache and inputs in rotation, backends in turn, beside eager, torch.compile and torchvision's
deform_conv2d where it is installed, and beside what the stored static report expects. Per cent are of the GPU's own
peaks, measured by a large product and a large copy. Another process computes. FILE (gpu.json) is written after each
case: an error, a crash or a hang is recorded there and the rest goes on in a new process.

--deadline S ends after S seconds, between cases if it can; --resume goes on with FILE where the last call ended, if
commit, device and plan are the same. It runs in a bare checkout, with torch, numpy and safetensors installed, and reads
the commit from build_info.json where git has none. --dry-run goes the same way on the CPU with tiny sizes and the
host's clock; its times mean nothing.

Exit codes: 0 all is right, 1 a result is wrong or a case failed, 2 wrong usage, 3 no GPU, 4 not finished by the
deadline: run it again with --resume.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.common.screen import screen
from benchmarks.common.text import first_line
from benchmarks.gpu.plan import plan
from benchmarks.gpu.session import PARTS, Session, worker_command

UNFINISHED = 4  # exit code
NO_GPU = (
    "no NVIDIA GPU that PyTorch can use: run this where `python -c 'import torch; print(torch.cuda.is_available())'` "
    "prints True, or rehearse it here with --dry-run"
)


def gpu_device(name: str, dry: bool) -> torch.device:
    """The device of `--device`, cuda:0 if it has no number. Raises ValueError unless it is a GPU that is there."""
    if dry:
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError, OverflowError) as error:
        raise ValueError(first_line(error)) from None
    if device.type != "cuda":
        raise ValueError(f"{name} is no NVIDIA GPU, such as cuda:0; --dry-run rehearses on the CPU")
    index, count = device.index or 0, torch.cuda.device_count()
    if torch.cuda.is_available() and index >= count:
        raise ValueError(f"there is no {name}, but {count} from cuda:0 on")
    return torch.device("cuda", index)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code, see above."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="[%(default)s]")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="cases whose name contains NAME")
    parser.add_argument("--part", choices=list(PARTS), help="one of the two; times check first what is not checked yet")
    parser.add_argument("--resume", action="store_true", help="keep what FILE has of the same commit, device and plan")
    parser.add_argument(
        "--deadline", type=float, default=math.inf, metavar="S", help="end within S seconds, see below [none]"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, one size")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, tiny, to see that it runs")
    parser.add_argument(
        "--timeout",
        type=float,
        default=120.0,
        metavar="S",
        help="of one form of one case, in seconds; more where much is compiled [%(default)g]",
    )
    parser.add_argument("--device", default="cuda:0", help="which GPU [%(default)s]")
    options = parser.parse_args(argv)
    if not options.timeout > 0:
        parser.error(f"--timeout must be more than 0 s, got {options.timeout:g}")
    if not options.deadline > 0:
        parser.error(f"--deadline must be more than 0 s, got {options.deadline:g}")
    try:
        device = gpu_device(options.device, options.dry_run)
    except ValueError as error:
        parser.error(f"--device: {error}")
    if device.type == "cuda" and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 3
    chosen = plan(options.dry_run, options.quick)
    names = sorted({case.name for case in (*chosen.checks, *chosen.times)})
    if not any(name in known for name in options.only or [""] for known in names):
        parser.error(f"no case is called so: {', '.join(names)}")
    out = screen()
    command = worker_command(device, options.quick)
    if options.dry_run:  # threads that spin while they wait take minutes of a busy machine
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parts = (options.part,) if options.part else tuple(PARTS)
    session = Session(
        device,
        chosen,
        options.out,
        out,
        options.only,
        command,
        options.timeout,
        parts,
        options.resume,
        options.deadline,
    )
    session.run()
    for rate in session.report.frames_per_second:
        out.line("{case}, {form}, {precision}: {frames_per_second:.2f} frames/s of {output}".format(**rate))
    for row in session.bad:
        out.line(f"{row.status}: {row.case}, {row.form}, {row.precision}: {row.note}", "red")
    if session.out_of_time:
        out.line(f"not finished, run it again with --resume; so far: {options.out}")
        return UNFINISHED
    out.line(f"written: {options.out}; please send it back")
    if session.report.error:
        out.line(f"the run ended early: {session.report.error}", "red")
    return 0 if session.report.finished and not session.bad else 1


if __name__ == "__main__":
    sys.exit(main())
