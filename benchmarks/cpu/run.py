"""Measure the ops and the whole network, backends side by side in one process.

    python -m benchmarks.cpu [--only NAME ...] [--quick] [--threads N] [--repeats N] [--out DIR] [--name NAME]

For each case every backend first shows that its result is right; one that is not gets no time, and the exit code is 1.
Then the backends run in turn, round after round. Rows are added to DIR/NAME.csv, beside it a plot is drawn, and
`python -m benchmarks.cpu.page` writes the last complete run into docs/speed.md. `vinr bench --base REV` measures
another commit beside this tree instead: see `vinr bench --base REV --help`.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import torch
from rich.console import Console
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import vinr_engine as vinr
from benchmarks.common import machine
from benchmarks.common.measure import (
    Rates,
    Runs,
    Task,
    interleaved,
    machine_rates,
    psnr,
    relative_error,
    timed,
    unit_convolution,
)
from benchmarks.common.text import first_line
from benchmarks.cpu import baselines, cases, memory, report, results
from benchmarks.cpu.cases import BACKENDS, BF16, COMPILE, CONV, EAGER, OURS, Case
from benchmarks.cpu.results import Row
from benchmarks.tolerances import CPU_CASE

UNIT = "unit"
WIDTH = 160  # columns of the tables


@dataclass(frozen=True)
class Options:
    """How much is measured. budget: seconds of a case's timed rounds, after which no further round starts."""

    repeats: int = 20
    budget: float = 15.0
    threads: int = 2
    memory: bool = True
    compile: bool = True
    thorough: bool = True  # a case's least number of rounds counts even beyond the budget


@dataclass(frozen=True)
class Checked:
    """A backend after the correctness gate: the seconds of its first run, or why it is not timed."""

    status: str
    note: str = ""
    error: float | None = None
    psnr_db: float | None = None
    first: float | None = None


class _LowPrecisionOps(TorchDispatchMode):
    """Collects the names of the ops that are handed bf16 tensors, or told to round to bf16 by their argument for it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        leaves = tree_leaves((args, kwargs or {}))
        low = any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bfloat16 for leaf in leaves)
        named = {**dict(zip((a.name for a in func._schema.arguments), args, strict=False)), **(kwargs or {})}
        if low or named.get("operands") == "bfloat16":
            self.names.add(func.name())
        return func(*args, **(kwargs or {}))


def bf16_refusal(case: Case) -> str:
    """Why this case has no bf16 form; empty if it has. A form that computes in float32 unasked is none."""
    seen = _LowPrecisionOps()
    try:
        with seen:
            case.tasks(tiny=True)[BF16]()
    except Exception as error:
        return first_line(error)
    wanted = cases.LOW_PRECISION_OPS.get(case.case.kind, "vinr::inr_query")
    if not any(wanted in name for name in seen.names):
        return f"no op {wanted} was handed bf16: it would run in float32"
    return ""


def check(case: Case, tasks: Mapping[str, Task]) -> dict[str, Checked]:
    """Run each backend once and hold its result to that of the first."""
    relative, least_psnr = CPU_CASE[case.case.op]
    peak = 1.0 if case.case.op in cases.PICTURES else None
    checked: dict[str, Checked] = {}
    expected: object = None
    for name, task in tasks.items():
        if name == BF16 and (refusal := bf16_refusal(case)):
            checked[name] = Checked(results.UNAVAILABLE, refusal)
            continue
        out: list[object] = []
        try:
            first = timed(lambda task=task, out=out: out.append(task()))  # type: ignore[misc]
        except vinr.BackendError as error:
            checked[name] = Checked(results.UNAVAILABLE, first_line(error))
            continue
        except Exception as error:
            checked[name] = Checked(results.RED, first_line(error))
            continue
        if name == CONV:  # another operation
            checked[name] = Checked(results.OK, first=first)
            continue
        if expected is None:
            note = "" if name == EAGER else "too long in eager: not held against the published form at this size"
            expected, checked[name] = out[0], Checked(results.OK, note, 0.0, first=first)
            continue
        wrong_by, decibels = relative_error(out[0], expected), psnr(out[0], expected, peak)
        right = decibels >= least_psnr if name == BF16 else wrong_by <= relative
        bound = f"PSNR {decibels:.1f} dB, at least {least_psnr:g} needed" if name == BF16 else f"error {wrong_by:.2g}"
        note = "" if right else bound + ("" if name == BF16 else f", at most {relative:g} allowed")
        checked[name] = Checked(results.OK if right else results.RED, note, wrong_by, decibels, first)
    return checked


def measure(case: Case, tasks: Mapping[str, Task], checked: Mapping[str, Checked], options: Options) -> dict[str, Runs]:
    """Seconds of the backends that passed, and of the unit convolution between them."""
    right = {name: tasks[name] for name, c in checked.items() if c.status == results.OK}
    first = {name: checked[name].first or 0.0 for name in right}
    unit = unit_convolution()
    least = min(case.rounds, options.repeats) if options.thorough else 1
    if sum(first.values()) > options.budget and least == 1 and COMPILE not in right:
        # One more round would take too long: the checked runs count.
        return {name: Runs((seconds,)) for name, seconds in first.items()} | {UNIT: Runs((unit(),))}

    def clock(task: Callable[[], object]) -> float:
        return unit() if task is unit else timed(task)

    return interleaved({**right, UNIT: unit}, options.repeats, options.budget, least, clock)


def complete(row: Row, case: Case, runs: Runs, unit: float, rates: Rates) -> Row:
    """`row` with its times and what follows from them."""
    seconds = runs.median
    low, high = runs.quartiles
    work = case.case.work(row.backend in OURS)
    product = rates.matrix["bf16" if row.backend == BF16 else "float32"]
    row = replace(
        row, runs=len(runs.seconds), median_s=seconds, q1_s=low, q3_s=high, min_s=min(runs.seconds),
        max_s=max(runs.seconds), unit_s=unit, gflop=work.operations / 1e9, gbyte=work.bytes / 1e9,
        gflops=work.operations / seconds / 1e9, gbytes_per_s=work.bytes / seconds / 1e9,
        matrix_percent=100 * work.operations / seconds / product, copy_percent=100 * work.bytes / seconds / rates.copy,
    )  # fmt: skip
    verdict = baselines.judge(case.case.op, row.backend, case.pixels, seconds, unit)
    if verdict is None:
        return row
    row = replace(row, expected_s=verdict.expected)
    return replace(row, status=results.VOID, note=str(verdict)) if verdict.void else row


def rows_of(case: Case, options: Options, blank: Callable[[str], Row], rates: Rates) -> list[Row]:
    """Check and time one case; one row a backend."""
    context = contextlib.nullcontext() if case.case.step else torch.inference_mode()
    wanted = [b for b in case.backends if options.compile or b != COMPILE]
    rows = {name: blank(name) for name in wanted}
    with context:
        if case.timed:
            every = case.tasks()
            tasks = {name: every[name] for name in wanted}
            checked = check(case, tasks)
            runs = measure(case, tasks, checked, options)
            for name, c in checked.items():
                bound = CPU_CASE[case.case.op][name == BF16]
                row = replace(
                    rows[name], status=c.status, note=c.note, error=c.error, psnr_db=c.psnr_db, tolerance=bound
                )
                rows[name] = complete(row, case, runs[name], runs[UNIT].median, rates) if name in runs else row
        else:
            rows = {name: replace(row, status=results.MEMORY_ONLY) for name, row in rows.items() if name in case.memory}
            if BF16 in rows and (refusal := bf16_refusal(case)):
                rows[BF16] = replace(rows[BF16], status=results.UNAVAILABLE, note=refusal)
    for name in case.memory if options.memory else ():
        if name in rows and rows[name].status not in (results.RED, results.UNAVAILABLE):
            peak = memory.peak_elsewhere(case.name, name, options.threads)
            rows[name] = replace(rows[name], peak_mb=None if peak is None else peak / 1e6)
    return list(rows.values())


def run(chosen: Sequence[Case], options: Options, console: Console, whole: bool) -> list[Row]:
    """Measure the cases, showing each as it is done."""
    torch.set_num_threads(options.threads)
    host = machine.describe()
    started = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    rates = machine_rates()
    console.print(report.heading(host, rates))
    rows: list[Row] = []
    for number, case in enumerate(chosen, 1):

        def blank(backend: str, case: Case = case) -> Row:
            return Row(started, whole, case.name, case.case.op, backend, case.case.h, case.case.w, **asdict(host))

        with console.status(f"{number} of {len(chosen)}: {case.name}"):
            new = rows_of(case, options, blank, rates)
        rows += new
        console.print(report.case_table(new))
    return rows


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vinr bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="cases whose name contains NAME")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--quick", action="store_true", help="few repeats, no memory, no torch.compile, small cases")
    parser.add_argument("--repeats", type=int, default=Options.repeats, help="rounds at most [%(default)s]")
    parser.add_argument(
        "--budget", type=float, default=Options.budget, help="seconds a case's rounds may take [%(default)s]"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=results.FOLDER, metavar="DIR", help="[benchmarks/results]")
    parser.add_argument("--name", default="cpu", help="of the files in DIR [%(default)s]")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 if a result is wrong, 2 for wrong usage."""
    parser = arguments()
    options = parser.parse_args(argv)
    if options.list:
        print("\n".join(f"{case.name:28}{', '.join(case.backends)}" for case in cases.CASES))
        return 0
    if options.repeats < 1 or options.threads < 1 or options.budget <= 0:
        parser.error("--repeats, --threads and --budget must be positive")
    try:
        chosen = cases.chosen(options.only)
    except ValueError as error:
        parser.error(str(error))
    plan = Options(options.repeats, options.budget, options.threads)
    if options.quick:
        chosen = [case for case in chosen if case.pixels <= baselines.PIXELS and case.timed]
        plan = replace(
            plan,
            repeats=min(3, plan.repeats),
            budget=min(5.0, plan.budget),
            memory=False,
            compile=False,
            thorough=False,
        )
        if not chosen:
            parser.error("--quick leaves none of these cases: it takes maps of at most 64x112")
    console = Console()
    if console.width < WIDTH:
        console = Console(width=WIDTH)
    rows = run(chosen, plan, console, whole=not options.quick and not options.only)
    path = options.out / f"{options.name}.csv"
    results.append(path, rows)
    found = results.Results(rows)
    console.print(report.frame_rates(found), report.summary(found))
    console.print(f"written: {path}", soft_wrap=True)
    _draw(found, options.out / options.name, console)
    for row in found.void:
        console.print(f"{row.case}, {BACKENDS[row.backend]}: {row.note}", style="yellow")
    for row in found.red:
        console.print(f"{row.case}, {BACKENDS[row.backend]}: wrong result: {row.note}", style="red")
    return 1 if found.red else 0


def _draw(found: results.Results, stem: Path, console: Console) -> None:
    try:
        from benchmarks.cpu import plot
    except ImportError:
        console.print("no plot: matplotlib is not installed; `make bench` installs it")
        return
    written = plot.draw(found, stem)
    console.print("nothing to plot" if not written else "drawn: " + ", ".join(map(str, written)), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
