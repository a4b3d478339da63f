"""Measure another commit and this tree in turn, case by case, and say which cases are slower now.

    python -m benchmarks.compare --base REV [--case PATTERN ...] [--rounds N] [--out FILE] [--json]

REV is checked out and built in build/bench. One process measures it, another this tree with its uncommitted changes.
In each round both run the same case, one right after the other and each first in every second round, so that whatever
else the machine does hits both. The ratio is the median of this / base over the rounds. Its interval is between two of
the rounds' ratios, chosen by the sign test so that it holds the true median with 95 %, however times are distributed.
A case is slower if its whole interval lies above 1.03, and faster if it lies below 0.97.

Exit codes: 0 no case is slower, 1 some are, 2 nothing could be measured.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import ROOT
from benchmarks.common import machine
from benchmarks.common.child import Child, Died
from benchmarks.common.files import write_json
from benchmarks.common.screen import Screen, screen
from benchmarks.common.text import duration
from benchmarks.compare import tree
from benchmarks.compare.verdict import FASTER, LEAST_ROUNDS, SLOWER, compare
from benchmarks.compare.worker import EVERY, bf16_products

BASE, THIS = "base", "this"
ROUNDS = 20
SAMPLE = 0.1  # seconds that a sample takes at least: shorter ones measure the clock and the scheduler
PATIENCE = 600.0  # seconds that a worker may be silent
NOT_MEASURED = "not measured"
STYLES = {SLOWER: "red", FASTER: "green", NOT_MEASURED: "dim"}


@dataclass(frozen=True)
class Row:
    """A case: median seconds of a call of both, the ratio this / base with its interval, and the verdict."""

    case: str
    verdict: str
    base_s: float | None = None
    this_s: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    calls: int = 0  # a sample
    note: str = ""


def measured(case: str, ask: Callable[[str, dict[str, Any]], dict[str, Any]], rounds: int) -> Row:
    """One case. ask: hands a request to the worker of that name, and gives its answer."""
    ready = {name: ask(name, {"case": case}) for name in (BASE, THIS)}
    lacking = [f"{name}: {answer['missing']}" for name, answer in ready.items() if "missing" in answer]
    if lacking:
        return Row(case, NOT_MEASURED, note="; ".join(lacking))
    calls = max(1, math.ceil(SAMPLE / max(min(answer["seconds"] for answer in ready.values()), 1e-6)))
    seconds: dict[str, list[float]] = {BASE: [], THIS: []}
    for i in range(rounds):
        for name in (BASE, THIS) if i % 2 == 0 else (THIS, BASE):
            seconds[name].append(ask(name, {"calls": calls})["seconds"] / calls)
    found = compare(seconds[BASE], seconds[THIS])
    return Row(
        case, found.verdict, statistics.median(seconds[BASE]), statistics.median(seconds[THIS]),
        found.median, found.low, found.high, calls,
    )  # fmt: skip


def chosen(patterns: Sequence[str]) -> list[str]:
    """Names of the cases that this machine has. Raises ValueError if none fits a pattern, with wildcards or a part."""
    names = [c.name for c in EVERY if c.precision == "float32" or bf16_products()]
    wanted = [n for n in names if not patterns or any(fnmatch.fnmatch(n, f"*{p}*") for p in patterns)]
    if not wanted:
        raise ValueError(f"no case fits {', '.join(patterns)}: choose among {'; '.join(names)}")
    return wanted


def show(rows: Sequence[Row], title: str, out: Screen) -> None:
    """The table."""
    cells = [
        [r.case, duration(r.base_s), duration(r.this_s), "" if r.ratio is None else f"{r.ratio:.3f}",
         "" if r.low is None else f"{r.low:.3f} to {r.high:.3f}", r.verdict + (f": {r.note}" if r.note else "")]
        for r in rows
    ]  # fmt: skip
    head = ["case", BASE, THIS, "this / base", "95 % interval", ""]
    out.table(title, head, cells, [STYLES.get(row.verdict, "") for row in rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code, see above."""
    parser = argparse.ArgumentParser(
        prog="vinr bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", required=True, metavar="REV", help="the commit that this tree is compared with")
    parser.add_argument(
        "--case", action="append", default=[], metavar="PATTERN", help="cases with PATTERN in their name, as in a shell"
    )
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"of each case, at least {LEAST_ROUNDS} [%(default)s]"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="[%(default)s]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write what --json prints")
    parser.add_argument("--json", action="store_true", help="print JSON, no table")
    options = parser.parse_args(argv)
    if options.rounds < LEAST_ROUNDS or options.threads < 1:
        parser.error(f"--rounds must be at least {LEAST_ROUNDS}, --threads positive")
    try:
        names = chosen(options.case)
    except ValueError as error:
        parser.error(str(error))
    try:
        return _compare(options, names)
    except (tree.TreeError, Died) as error:
        print(f"vinr bench: error: {error}", file=sys.stderr)
        return 2


def _compare(options: argparse.Namespace, names: Sequence[str]) -> int:
    commit = tree.commit_of(ROOT, options.base)
    if source := tree.stale(ROOT):
        raise tree.TreeError(f"{source} is newer than the extension of this tree: build it (make build)")
    print(f"building {commit[:12]}, if it is not built yet", file=sys.stderr)
    trees = {BASE: tree.built(ROOT, commit), THIS: ROOT}
    this = tree.commit_of(ROOT, "HEAD")[:12] + (" with uncommitted changes" if tree.changed(ROOT) else "")
    workers: dict[str, Child] = {}

    def ask(name: str, request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = workers[name].ask(request, lambda at: PATIENCE)
        return answer

    # Two workers share the cores: threads of one that spin while they wait would slow the other at random.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    rows: list[Row] = []
    try:
        for name, folder in trees.items():
            command = [sys.executable, "-m", "benchmarks.compare.worker", str(folder)]
            workers[name] = Child([*command, "--threads", str(options.threads)], lambda at: PATIENCE)
        for number, case in enumerate(names, 1):
            print(f"{number} of {len(names)}: {case}", file=sys.stderr)
            rows.append(measured(case, ask, options.rounds))
    finally:
        for worker in workers.values():
            worker.stop()
    host = machine.describe()
    variants = {name: worker.greeting["variant"] for name, worker in workers.items()}
    about = {
        "cpu": host.cpu, "threads": options.threads, "torch": host.torch, "kernels": variants,
        BASE: commit[:12], THIS: this, "rounds": options.rounds,
    }  # fmt: skip
    result = {"about": about, "cases": [asdict(row) for row in rows]}
    if options.out:
        write_json(options.out, result)
    if options.json:
        print(json.dumps(result, indent=1, allow_nan=False))
    else:
        kernels = " and ".join(sorted(set(variants.values())))
        title = f"{host.cpu}, {options.threads} threads, kernels {kernels}, torch {host.torch}\n"
        show(rows, title + f"base {commit[:12]}, this {this}, {options.rounds} rounds", screen())
    if all(row.verdict == NOT_MEASURED for row in rows):
        return 2
    return int(any(row.verdict == SLOWER for row in rows))
