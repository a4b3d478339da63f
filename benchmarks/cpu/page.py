"""Write the last complete run into the section of docs/speed.md between the two markers.

python -m benchmarks.cpu.page [--csv FILE] [--page FILE] [--check]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.machine import ROOT
from benchmarks.common.markdown import replaced, table
from benchmarks.common.text import digits, duration
from benchmarks.cpu import results, targets
from benchmarks.cpu.cases import BACKENDS, BF16, CASES, COMPILE, CONV, EAGER, FLOAT32, VIDEO_SIZES
from benchmarks.cpu.report import FACTORS, frame_rate
from benchmarks.cpu.results import Results

BEGIN = "<!-- benchmarks: written by `python -m benchmarks.cpu.page` from here -->"
END = "<!-- benchmarks: to here -->"
SHOWN = (EAGER, COMPILE, FLOAT32, BF16)
NOTHING = "No run is stored here yet; `make bench` makes one.\n"


def _cell(found: Results, case: str, backend: str) -> str:
    row = found.row(case, backend)
    if row is None:
        return ""
    if row.median_s is None:
        return {results.UNAVAILABLE: "not available", results.RED: "wrong result"}.get(row.status, "")
    ratio = found.speedup(case, EAGER, backend)
    faster = f" ({digits(ratio, 'x')})" if ratio and backend != EAGER else ""
    return duration(row.median_s) + faster + (" **void**" if row.status == results.VOID else "")


def _where(found: Results) -> str:
    row = next((r for r in found.rows if r.unit_s), found.rows[0])
    took = duration(row.unit_s)
    unit = f" A channels-last 3x3 convolution 64 -> 64 of 64 x 112 pixels takes {took}." if took else ""
    return (
        f"{row.cpu}, {row.threads} threads, kernels {row.variant}, torch {row.torch}, commit {row.commit}, "
        f"{row.run[:10]}.{unit}\n"
    )


def section(found: Results, picture: str | None = None) -> str:
    """The text between the markers."""
    if not found.rows:
        return NOTHING
    cases = [c.name for c in CASES if any(r.case == c.name and r.median_s for r in found.rows)]
    times = table(
        ["median", *(BACKENDS[b] for b in SHOWN)], ([name, *(_cell(found, name, b) for b in SHOWN)] for name in cases)
    )
    convs = [(name, found.time(name, CONV)) for name in cases]
    beside = [f"{name}: {duration(t)}" for name, t in convs if t]
    reached = table(
        ["must reach, on two cores with AVX-512", "demanded", "measured", ""],
        ([t.what, t.demand, t.show(found), t.verdict(found)] for t in targets.TARGETS),
    )
    columns = [(f, b) for f in FACTORS for b in (EAGER, FLOAT32, BF16)]
    speeds = table(
        ["output frames a second, 4x in space", *(f"{f}x in time, {b}" for f, b in columns)],
        ([size, *(frame_rate(found.frames_per_second(size, b, f)) for f, b in columns)] for size in VIDEO_SIZES),
    )
    parts = [_where(found), times]
    apart = {row.case: row.commit for row in found.rows if row.run != found.rows[0].run}
    if apart:
        listed = "; ".join(f"{case}, at commit {commit}" for case, commit in apart.items())
        parts.append(f"Measured later, on the same machine: {listed}.\n")
    if beside:
        parts.append(f"{BACKENDS[CONV]}, of the same shape: {'; '.join(beside)}.\n")
    if picture:
        parts.append(f"![Times faster than eager, and frames a second]({picture})\n")
    parts += [speeds, reached]
    if found.void:
        parts.append("**Void**: where the published form ran over 15 % slower than it should, no ratio to it counts.\n")
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; with --check 1 if the page is not what the CSV says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, default=results.FOLDER / "cpu.csv")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "speed.md")
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args(argv)
    found = Results.last(results.read(options.csv) if options.csv.exists() else [])
    drawing = options.csv.with_suffix(".svg")
    picture = Path(os.path.relpath(drawing, options.page.parent)).as_posix() if drawing.exists() else None
    text = options.page.read_text(encoding="utf-8")
    try:
        new = replaced(text, section(found, picture), (BEGIN, END))
    except ValueError as error:
        parser.error(str(error))
    if options.check:
        return int(new != text)
    options.page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
