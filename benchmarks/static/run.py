"""What every shipped GPU kernel takes of a GPU that is not there: the static report.

    python -m benchmarks.static [--target 90 ...] [--kernel REGEX] [--out FILE ...] [--check [--quick]]

compiles the Triton and CUDA kernels for each target and reads their machine code: registers, local memory, shared
memory, matrix instructions, occupancy, and what the roofline of a card allows. --also FOLDER compiles by the Triton
that is installed there too, such as the oldest that is allowed. --check prints a line for each inference kernel in
float16, bfloat16 or tf32 that uses local memory or has no matrix instruction, and for each kernel that asks for more
shared memory than a block may have; if there is one, or one does not compile, it exits with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks.common import hardware
from benchmarks.static import compiler, report
from benchmarks.static.compiler import CUDA, TRITON, TRITON_VERSION, Job, Kernel


def quick(job: Job) -> bool:
    """What continuous integration compiles: each kernel for one target, and all that is checked, but one launch
    configuration of each Triton kernel, at the sizes that are usual. On the oldest and the newest target alone:
    bfloat16, which differs from float16 in a few conversions, the sampled MLP in TF32, which takes longest, the Fourier
    MLP, which has its layers, and widths other than the published. Its sine stands for all activations."""
    if each_once(job):
        return True
    if not job.checked or (
        job.target not in ENDS
        and any(part in job.name for part in ("bfloat16", "sampled_mlp forward tf32", "fourier_mlp", "any width"))
    ):
        return False
    return job.backend == CUDA or (job.first and not rare(job))


def each_once(job: Job) -> bool:
    """One launch configuration of each kernel, those of training too, for one target, and what is rare in float16
    alone: what continuous integration compiles by the oldest Triton."""
    return job.target == ONE and job.first and (" float16" in job.name or not rare(job))


def rare(job: Job) -> bool:
    """Sizes that are not usual, activations for which the sine stands, and of float32 kernels that come in several
    widths all but one."""
    if any(part in job.name for part in ("64-bit offsets", "no upsampling", "relu")):
        return True
    return any(f" of {width}" in job.name for width in OTHER_WIDTHS)


OTHER_WIDTHS = (
    "3 channels", "24 channels", "32 channels", "130 channels", "144 channels", "32 sines", "512 sines by 2 axes",
)  # fmt: skip
ONE = 90
ENDS = (min(hardware.LIMITS), max(hardware.LIMITS))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    targets = list(hardware.LIMITS)
    parser.add_argument("--target", type=int, action="append", choices=targets, help="compute capability times ten")
    parser.add_argument(
        "--kernel", default="", metavar="REGEX", help="only what is called so, such as 'triton inr_query'"
    )
    parser.add_argument("--out", type=Path, action="append", default=[], help="write .csv, .json or .md too")
    parser.add_argument("--check", action="store_true", help="print faults alone; exit with 1 if there are any")
    parser.add_argument("--quick", action="store_true", help="the part that continuous integration compiles")
    parser.add_argument(
        "--also", type=Path, metavar="FOLDER", help="a folder that pip installed another Triton into (--target)"
    )
    parser.add_argument("--raw", type=Path, help=argparse.SUPPRESS)  # how the process of --also gives its kernels back
    parser.add_argument("--jobs", type=int, default=2, help="processes [%(default)s]")
    parser.add_argument("--cache", type=Path, default=compiler.CACHE, help="folder of what was compiled before")
    return parser


def compiled(wanted: Sequence[Job], processes: int, cache: Path) -> tuple[list[Kernel], list[str]]:
    """Kernels in the order of `wanted`, and a line for each job that does not compile."""
    kernels: dict[Job, list[Kernel]] = {}
    errors = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("compiling", total=len(wanted))
        for job, found, error in compiler.compile_all(wanted, processes, cache):
            kernels[job] = found
            progress.update(task, advance=1, description=f"sm_{job.target} {job.backend} {job.name}"[:60])
            if error:
                version = f"{TRITON_VERSION} " if job.backend == TRITON else ""
                errors.append(f"sm_{job.target} {job.backend} {version}{job.name}: does not compile: {error}")
    return [kernel for job in wanted for kernel in kernels[job]], errors


def by_another(folder: Path, options: argparse.Namespace) -> tuple[list[Kernel], list[str]]:
    """The kernels of Triton in a process that finds the one in `folder` first, and what does not compile there."""
    with tempfile.TemporaryDirectory() as place:
        raw = Path(place) / "kernels.json"
        command = [sys.executable, "-m", "benchmarks.static", "--raw", str(raw), "--kernel", options.kernel,
                   "--jobs", str(options.jobs), "--cache", str(options.cache)]  # fmt: skip
        command += [part for target in options.target or () for part in ("--target", str(target))]
        command += [flag for flag in ("--check", "--quick") if getattr(options, flag[2:])]
        paths = [str(folder.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(command, env=variables, cwd=compiler.ROOT, check=False)
        if done.returncode or not raw.is_file():
            return [], [f"--also {folder}: ended with exit code {done.returncode}"]
        found = json.loads(raw.read_text(encoding="utf-8"))
        return [Kernel(**kernel) for kernel in found["kernels"]], found["errors"]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 if a kernel has a fault or does not compile, 2 for wrong usage."""
    parser = arguments()
    options = parser.parse_args(argv)
    for path in options.out:
        if path.suffix not in report.WRITERS:
            parser.error(f"--out takes {', '.join(report.WRITERS)}, got {path.name}")
    if options.jobs < 1:
        parser.error("--jobs must be positive")
    from vinr_engine.kernels.common import runtime

    if not runtime.INSTALLED or runtime.INTERPRETED:
        parser.error(
            "it needs Triton" if not runtime.INSTALLED else "unset TRITON_INTERPRET: its kernels do not compile"
        )
    if compiler.nvcc() is None:
        print("nvcc is not on PATH: Triton's kernels alone are looked at", file=sys.stderr)
    try:
        pattern = re.compile(options.kernel)
    except re.error as error:
        parser.error(f"--kernel is no regular expression: {error}")
    if options.also is not None and not (options.also / "triton").is_dir():
        parser.error(f"--also {options.also}: no Triton is installed there")
    every = [job for target in options.target or hardware.LIMITS for job in compiler.jobs(target)]
    wanted = [job for job in every if pattern.search(f"{job.backend} {job.name}")]
    if options.raw is not None:
        wanted = [job for job in wanted if job.backend == TRITON]
    if options.quick and options.raw is not None:
        wanted = [job for job in wanted if each_once(job)]
    elif options.quick or options.check:
        wanted = [job for job in wanted if (quick(job) if options.quick else job.checked)]
    if not wanted and options.raw is None:
        parser.error("no kernel is called so")
    kernels, errors = compiled(wanted, options.jobs, options.cache)
    if options.raw is not None:
        found = {"kernels": [asdict(kernel) for kernel in kernels], "errors": errors}
        options.raw.write_text(json.dumps(found), encoding="utf-8")
        return 0
    if options.also is not None:
        others, failed = by_another(options.also, options)
        kernels, errors = [*kernels, *others], [*errors, *failed]
    if not options.check:
        report.show(kernels, Console())
    for path in options.out:
        report.WRITERS[path.suffix](path, kernels)
    faults = [
        f"sm_{k.target} {k.backend} {k.compiler} {k.name}: {fault}" for k in kernels for fault in report.faults(k)
    ]
    for line in (*errors, *faults):
        print(line)
    if options.check:
        backends = sorted({f"{k.backend} {k.compiler}" for k in kernels if k.checked})
        found = f"{len(faults)} faults" + (f", {len(errors)} do not compile" if errors else "")
        counts = f"{len(kernels)} kernels compiled, {sum(k.checked for k in kernels)} checked"
        print(f"{counts}, {found}: {', '.join(backends)}")
    return 1 if errors or faults else 0


if __name__ == "__main__":
    sys.exit(main())
