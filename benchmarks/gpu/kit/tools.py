"""NVIDIA's tools over the small launches of `launches.py`: compute-sanitizer, and ncu's counters of the query.

    python -m benchmarks.gpu.kit.tools memcheck|racecheck|ncu --out FILE --folder DIR [--dry-run]

--dry-run makes the same launches on the CPU without the tool. Exit code 3 where the tool is not there.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.files import write_json
from benchmarks.gpu.kit import pieces

LAUNCHES = [sys.executable, "-m", "benchmarks.gpu.kit.launches"]
SANITIZERS = ("memcheck", "racecheck")
FOUND_ERRORS = 86  # compute-sanitizer's exit code for what it found, to tell it from the program's
# Sections of ncu, by which nothing depends on how a GPU names its metrics.
SECTIONS = ("SpeedOfLight", "LaunchStats", "Occupancy", "MemoryWorkloadAnalysis", "ComputeWorkloadAnalysis",
            "WarpStateStats", "InstructionStats")  # fmt: skip
COUNTED = ("query published float16 cuda", "query published float16 triton")
COUNTED_SIZE = "180x320"
KERNELS = r"regex:(decode|colour)"
_ERRORS = re.compile(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): (.+)")


def run(command: Sequence[str], log: Path) -> tuple[int, str]:
    """Exit code and output, which also goes to `log` and to the screen."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    log.write_text(done.stdout, encoding="utf-8")
    print(done.stdout, flush=True)
    return done.returncode, done.stdout


def sanitized(tool: str, code: int, output: str) -> dict[str, Any]:
    """What compute-sanitizer found, from its exit code and its output."""
    launched = re.findall(r"^(?:deform_conv2d|query) .*$", output, re.MULTILINE)
    said = _ERRORS.findall(output)
    reports = [line for line in output.splitlines() if line.startswith("=========")]
    summary = said[-1] if said else f"no summary, exit code {code}"
    return {"tool": tool, "summary": f"{summary}; {len(launched)} launches", "exit_code": code, "launches": launched,
            "clean": code == 0 and bool(said), "reports": [] if code == 0 else reports[:200]}  # fmt: skip


def counters(table: Iterable[str]) -> list[dict[str, Any]]:
    """Kernels with their metrics, from what `ncu --csv --page details` prints; other lines are passed over."""
    lines = list(table)
    head = next((n for n, line in enumerate(lines) if line.startswith('"ID"')), None)
    if head is None:
        return []
    kernels: dict[str, dict[str, Any]] = {}
    for row in csv.DictReader(line for line in lines[head:] if line.startswith('"')):
        kernel = kernels.setdefault(row["ID"], {"kernel": row["Kernel Name"], "block": row["Block Size"],
                                                "grid": row["Grid Size"], "metrics": {}})  # fmt: skip
        name, value = row.get("Metric Name"), row.get("Metric Value")
        if name and value:
            kernel["metrics"][name] = {"value": number(value), "unit": row.get("Metric Unit") or ""}
    return list(kernels.values())


def number(text: str) -> float | str:
    """A number with or without separators of thousands; other text as it is."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return text


def count(folder: Path, ncu: str | None, size: str) -> dict[str, Any]:
    """The query's kernels, one call of each backend."""
    found: list[dict[str, Any]] = []
    codes = []
    for name in COUNTED:
        launch = [*LAUNCHES, "--match", name, "--size", size]
        backend = name.split()[-1]
        if ncu is None:
            code, _ = run([*launch, "--dry-run"], folder / f"{backend}.log")
        else:
            sections = [part for section in SECTIONS for part in ("--section", section)]
            command = [ncu, "--csv", "--page", "details", "--target-processes", "all", "--clock-control", "none",
                       "--kernel-name-base", "function", "--kernel-name", KERNELS, *sections, *launch]  # fmt: skip
            code, output = run(command, folder / f"{backend}.log")
            found += [{"backend": backend, **kernel} for kernel in counters(output.splitlines())]
        codes.append(code)
    summary = f"{len(found)} kernels" if ncu else "rehearsed without the tool"
    return {"size": size, "summary": summary, "kernels": found, "exit_codes": codes}


def main(argv: Sequence[str] | None = None) -> int:
    parser = pieces.arguments(__doc__)
    parser.add_argument("tool", choices=(*SANITIZERS, "ncu"))
    options = parser.parse_args(argv)
    program = "ncu" if options.tool == "ncu" else "compute-sanitizer"
    path = shutil.which(program)
    if not options.dry_run and path is None:
        print(f"{program} is not on PATH: it comes with the CUDA toolkit")
        return 3
    if options.tool == "ncu":
        found = count(options.folder, None if options.dry_run else path, "9x10" if options.dry_run else COUNTED_SIZE)
        write_json(options.out, found)
        return 0 if not any(found["exit_codes"]) and (found["kernels"] or options.dry_run) else 1
    if options.dry_run:
        code, _ = run([*LAUNCHES, "--dry-run"], options.folder / "launches.log")
        write_json(options.out, {"tool": options.tool, "summary": "rehearsed without the tool", "exit_code": code})
        return 1 if code else 0
    # Of CUDA alone: Triton's kernels are many and are compiled again under the tool.
    cuda = [LAUNCHES[0], "-m", "benchmarks.gpu.kit.launches", "--match", "cuda"]
    watched = [str(path), "--tool", options.tool, "--error-exitcode", str(FOUND_ERRORS), *cuda]
    code, output = run(watched, options.folder / f"{options.tool}.log")
    found = sanitized(options.tool, code, output)
    write_json(options.out, found)
    return 0 if found["clean"] else 1


if __name__ == "__main__":
    sys.exit(main())
