"""One run of `benchmarks.gpu`: checks, times, and the report that grows with each case."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_cases
from benchmarks.gpu_cases import Case
from benchmarks.gpu_child import Child, Died
from benchmarks.gpu_plan import Plan
from benchmarks.gpu_worker import FAILED, OK, REFERENCE, WRONG, Row
from benchmarks.screen import Screen
from benchmarks.text import duration

TIME_FACTOR = 8  # frames for each pair


@dataclass
class Report:
    """What the file holds."""

    about: dict[str, Any] = field(default_factory=dict)
    peaks: dict[str, Any] = field(default_factory=dict)
    checks: list[Row] = field(default_factory=list)
    times: list[Row] = field(default_factory=list)
    frames_per_second: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""  # that ended the run
    finished: bool = False


def worker_command(device: torch.device, quick: bool) -> list[str]:
    """Starts what computes."""
    return [sys.executable, "-m", "benchmarks.gpu_worker", str(device), *(["--quick"] if quick else [])]


class Session:
    """One run: a device, a plan, and the report that grows.

    Another process computes. Where it dies, or is silent for `timeout` seconds, the form that it was at gets a row that
    says so, and a new process does that case again without it.
    """

    def __init__(
        self,
        device: torch.device,
        plan: Plan,
        path: Path,
        screen: Screen,
        only: Sequence[str],
        command: Sequence[str],
        timeout: float = 600.0,
    ) -> None:
        self.device, self.plan, self.path, self.screen, self.only = device, plan, path, screen, only
        self.command, self.timeout = command, timeout
        self.report = Report()
        self._child: Child | None = None
        self._bad: set[tuple[str, str, str]] = set()  # op, form and precision of checks that did not pass

    def save(self) -> None:
        """The whole file or none: what was there stays until it is replaced."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(json.dumps(asdict(self.report), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(part, self.path)

    def run(self) -> None:
        """Raises nothing for what fails on the device."""
        try:
            self.measure()
            self.report.frames_per_second = self.frame_rates()
            self.report.finished = True
        except Died as died:  # not over a case: no process starts any more
            self.report.error = f"no process starts: {died}"
        finally:
            self.stop()
            self.save()

    def child(self) -> Child:
        """The process, started where there is none. Raises Died."""
        if self._child is None:
            self._child = Child(self.command, self.timeout)
        return self._child

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def measure(self) -> None:
        self.report.about = self.child().greeting
        try:
            self.report.peaks = self.child().ask({"kind": "peaks"})
        except Died as died:
            self._child = None
            self.report.peaks = {"error": str(died)}
        self.save()
        for title, kind, cases, rows in (("Right?", "check", self.plan.checks, self.report.checks),
                                         ("Times", "time", self.plan.times, self.report.times)):  # fmt: skip
            for case in cases:
                if any(name in case.name for name in self.only) or not self.only:
                    for precision in case.precisions:
                        found: list[Row] = []
                        try:
                            self.find(found, kind, case, precision)
                        finally:  # also where no process starts after one that died
                            rows += found
                            self.save()
                        show(self.screen, f"{title} {case.name}, {precision}", found)

    def find(self, found: list[Row], kind: str, case: Case, precision: str) -> None:
        """Adds the rows of one case, checked or timed. Raises Died if no process starts."""
        forms = list(gpu_cases.forms(case, precision, self.device))
        if kind == "time":
            note = "did not pass the check at a small size"
            found += [Row(case.name, f, precision, WRONG, note) for f in forms if (case.op, f, precision) in self._bad]
        while left := [form for form in forms if form not in {row.form for row in found}]:
            child = self.child()
            without = [row.form for row in found]
            request = {"kind": kind, "case": asdict(case), "precision": precision, "without": without}
            try:
                found += [Row(**fields) for fields in child.ask(request)]
                break
            except Died as died:
                self._child = None
                if died.at in left:
                    found.append(Row(case.name, died.at, precision, FAILED, str(died)))
                else:
                    note = f"{REFERENCE}: {died}" if died.at == REFERENCE else str(died)
                    found += [Row(case.name, form, precision, FAILED, note) for form in left]
        for row in found:
            self.complete(row, case)
            if kind == "check" and row.status in (WRONG, FAILED):
                self._bad.add((case.op, row.form, precision))
        found.sort(key=lambda row: forms.index(row.form))

    def complete(self, row: Row, case: Case) -> None:
        """Adds the shares of the peaks."""
        if row.ms and "matrix" in self.report.peaks:
            row.matrix_percent = 1e5 * case.work.operations / row.ms / self.report.peaks["matrix"][row.precision]
            row.copy_percent = 1e5 * case.work.bytes / row.ms / self.report.peaks["copy"]

    def frame_rates(self) -> list[dict[str, Any]]:
        """Output frames a second, a pair encoded once for `TIME_FACTOR` frames."""
        ms = {(r.case, r.form, r.precision): r.ms for r in self.report.times if r.ms}
        found = []
        for size, (h, w) in self.plan.videos.items():
            for (case, form, precision), encoder in ms.items():
                queries = [
                    v for (c, f, p), v in ms.items() if c.startswith(f"query {w}x{h} ") and (f, p) == (form, precision)
                ]
                if case == f"encoder {w}x{h}" and queries:
                    seconds = (encoder + TIME_FACTOR * queries[0]) / 1e3
                    found.append({"output": size, "form": form, "precision": precision,
                                  "frames_per_second": TIME_FACTOR / seconds})  # fmt: skip
        return found

    @property
    def bad(self) -> list[Row]:
        return [r for r in (*self.report.checks, *self.report.times) if r.status in (WRONG, FAILED)]


HEAD = ("form", "", "error", "median", "quartiles", "% product", "% copy", "note")


def show(screen: Screen, title: str, rows: Sequence[Row]) -> None:
    """A case on the screen."""
    cells, styles = [], []
    for row in rows:
        times = [None if ms is None else ms / 1e3 for ms in (row.ms, row.q1_ms, row.q3_ms)]
        parts = [f"{p:.1f}" if p is not None else "" for p in (row.matrix_percent, row.copy_percent)]
        between = f"{duration(times[1])} to {duration(times[2])}" if row.ms else ""
        error = "" if row.error is None else f"{row.error:.1e}"
        cells.append((row.form, row.status, error, duration(times[0]), between, *parts, row.note))
        styles.append("red" if row.status in (WRONG, FAILED) else "dim" if row.status != OK else "")
    screen.table(title, HEAD, cells, styles)
