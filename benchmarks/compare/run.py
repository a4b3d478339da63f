"""Measure another commit and this tree in turn, case by case, and say which cases are slower now.

    python -m benchmarks.compare --base REV [--case PATTERN ...] [--rounds N] [--out FILE] [--json]

REV is checked out and built in build/bench. One process measures it, another this tree with its uncommitted changes:
each case four times, one right after the other and each first in every second turn, so that whatever else the machine
does hits both. Each round starts both processes anew, since where memory comes to lie makes all calls of one process
some percent slower than those of the next. The ratio is the median of this / base over the rounds. Its interval is
between two of the rounds' ratios, chosen by the sign test so that it holds the true median with 95 %, however times are
distributed. A case is slower if its whole interval lies above 1.03, and faster if it lies below 0.97.

Exit codes: 0 no case is slower, 1 some are, 2 nothing could be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
ROUNDS = 10
TURNS = 4  # a round
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


@dataclass(frozen=True)
class Round:
    """Median seconds of a call of both. missing: why it was not measured; calls: a sample."""

    base_s: float = 0.0
    this_s: float = 0.0
    calls: int = 0
    missing: str = ""


def measured(case: str, ask: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Round:
    """A round of one case. ask: hands a request to the worker of that name, and gives its answer."""
    ready = {name: ask(name, {"case": case}) for name in (BASE, THIS)}
    lacking = [f"{name}: {answer['missing']}" for name, answer in ready.items() if "missing" in answer]
    if lacking:
        return Round(missing="; ".join(lacking))
    calls = max(1, math.ceil(SAMPLE / max(min(answer["seconds"] for answer in ready.values()), 1e-6)))
    seconds: dict[str, list[float]] = {BASE: [], THIS: []}
    for i in range(TURNS):
        for name in (BASE, THIS) if i % 2 == 0 else (THIS, BASE):
            seconds[name].append(ask(name, {"calls": calls})["seconds"] / calls)
    return Round(statistics.median(seconds[BASE]), statistics.median(seconds[THIS]), calls)


def row(case: str, rounds: Sequence[Round]) -> Row:
    """What all rounds of one case say."""
    if missing := next((each.missing for each in rounds if each.missing), ""):
        return Row(case, NOT_MEASURED, note=missing)
    base, this = [each.base_s for each in rounds], [each.this_s for each in rounds]
    found = compare(base, this)
    return Row(
        case, found.verdict, statistics.median(base), statistics.median(this),
        found.median, found.low, found.high, max(each.calls for each in rounds),
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
        "--rounds", type=int, default=ROUNDS, help=f"of fresh processes, at least {LEAST_ROUNDS} [%(default)s]"
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


@contextlib.contextmanager
def _workers(trees: Mapping[str, Path], threads: int) -> Iterator[dict[str, Child]]:
    workers: dict[str, Child] = {}
    try:
        for name, folder in trees.items():
            command = [sys.executable, "-m", "benchmarks.compare.worker", str(folder), "--threads", str(threads)]
            workers[name] = Child(command, lambda at: PATIENCE)
        yield workers
    finally:
        for worker in workers.values():
            worker.stop()


def _ask(worker: Child, request: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = worker.ask(request, lambda at: PATIENCE)
    return answer


def _compare(options: argparse.Namespace, names: Sequence[str]) -> int:
    commit = tree.commit_of(ROOT, options.base)
    if source := tree.stale(ROOT):
        raise tree.TreeError(f"{source} is newer than the extension of this tree: build it (make build)")
    print(f"building {commit[:12]}, if it is not built yet", file=sys.stderr)
    trees = {BASE: tree.built(ROOT, commit), THIS: ROOT}
    this = tree.commit_of(ROOT, "HEAD")[:12] + (" with uncommitted changes" if tree.changed(ROOT) else "")
    # Two workers share the cores: threads of one that spin while they wait would slow the other at random.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    rounds: dict[str, list[Round]] = {case: [] for case in names}
    variants: dict[str, str] = {}
    for number in range(1, options.rounds + 1):
        with _workers(trees, options.threads) as workers:
            variants = {name: worker.greeting["variant"] for name, worker in workers.items()}
            for case in names:
                if not any(each.missing for each in rounds[case]):
                    print(f"round {number} of {options.rounds}: {case}", file=sys.stderr)
                    rounds[case].append(measured(case, lambda name, request: _ask(workers[name], request)))
    rows = [row(case, rounds[case]) for case in names]
    host = machine.describe()
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
