"""Time queries and ops of other networks beside their straight forms, eager and compiled, in one process, in turn.

    python -m benchmarks.family [--only TEXT] [--repeats N] [--no-compile] [--out FILE.csv]

Every form is first held to the straight one. Cases lie in the other files of this folder.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import math
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import family
from benchmarks.common import machine
from benchmarks.common.measure import Task, interleaved, psnr, relative_error
from benchmarks.cpu.results import append_table
from benchmarks.family.case import Case

COLUMNS = (
    "case", "form", "runs", "median_s", "q1_s", "q3_s", "times_faster", "wanted", "error", "psnr_db",
    "cpu", "threads", "variant", "torch", "commit",
)  # fmt: skip
LEAST_PSNR = 35  # dB against the straight form, of products in bfloat16


def all_cases() -> list[Case]:
    """Of all files of this folder, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(family.__path__))
    modules = (importlib.import_module(f"benchmarks.family.{name}") for name in names if name != "__main__")
    return [case for module in modules for case in getattr(module, "CASES", [])]


def forms_of(case: Case, compiled: bool) -> dict[str, Task]:
    """By name, the straight form first."""
    forms = case.make()
    tasks: dict[str, Task] = {"straight": forms.straight}
    if compiled:
        torch.compiler.reset()
        tasks["compiled"] = torch.compile(forms.straight)
    tasks["ours"] = forms.ours
    if forms.rounded is not None:
        tasks["ours bf16"] = forms.rounded
    return tasks


def rows(case: Case, compiled: bool, repeats: int) -> Iterator[list[object]]:
    """A row a form; one that is wrong gets no time, and infinity for its error."""
    with contextlib.nullcontext() if case.step else torch.inference_mode():
        tasks = forms_of(case, compiled and case.compiles)
        expected = tasks["straight"]()
        errors, decibels = {}, {}
        for name in list(tasks):
            found = tasks[name]()  # warms up, too
            errors[name], decibels[name] = relative_error(found, expected), psnr(found, expected)
            right = decibels[name] >= LEAST_PSNR if name == "ours bf16" else errors[name] <= case.tolerance
            if not right:
                yield [case.name, name, 0, "", "", "", "", "", f"{errors[name]:.3g}", f"{decibels[name]:.3g}"]
                del tasks[name]
            del found
        del expected
        runs = interleaved(tasks, repeats, budget=120.0, least=3)
    for name, run in runs.items():
        faster = runs["straight"].median / run.median if "straight" in runs else math.nan
        seconds = (f"{s:.6g}" for s in (run.median, *run.quartiles))
        wanted = "" if case.wanted is None or not name.startswith("ours") else f"{case.wanted:g}"
        yield [case.name, name, len(run.seconds), *seconds, f"{faster:.4g}", wanted,
               f"{errors[name]:.3g}", f"{decibels[name]:.4g}"]  # fmt: skip


def line_of(row: list[object]) -> str:
    name, form, runs, median, q1, q3, faster, wanted, error, decibels = row
    if not runs:
        return f"{name!s:44} {form!s:10} WRONG: relative error {error}, {decibels} dB"
    target = f" (wanted {wanted}x)" if wanted else ""
    span = f"({float(str(q1)):.4g} to {float(str(q3)):.4g})"
    return f"{name!s:44} {form!s:10} {float(str(median)):8.4g} s {span:20} {faster:>6}x{target:15} error {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose names hold this")
    parser.add_argument("--repeats", type=int, default=9, help="rounds; fewer, down to 3, where they take two minutes")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile of the straight form out")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="add the rows to this file")
    parser.add_argument("--list", action="store_true", help="name the cases")
    options = parser.parse_args()
    chosen = [case for case in all_cases() if options.only in case.name]
    if not chosen:
        print(f"no case's name holds {options.only!r}; --list names them", file=sys.stderr)
        return 2
    if options.list:
        print(*(case.name for case in chosen), sep="\n")
        return 0
    torch.manual_seed(0)
    here = machine.describe()
    print(f"{here.cpu}, {here.threads} threads, {here.variant}, torch {here.torch}, commit {here.commit}")
    wrong = False
    for case in chosen:
        found = list(rows(case, not options.no_compile, options.repeats))
        wrong |= any(row[2] == 0 for row in found)
        print(*map(line_of, found), sep="\n", flush=True)
        if options.out:
            about = [here.cpu, here.threads, here.variant, here.torch, here.commit]
            append_table(options.out, COLUMNS, ([*row, *about] for row in found))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
