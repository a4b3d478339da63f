"""One call of `benchmarks.gpu`: checks, times, and the report that grows with each case."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.child import Child, Died
from benchmarks.common.screen import Screen
from benchmarks.gpu import budget, cases, report
from benchmarks.gpu.cases import Case
from benchmarks.gpu.clock import PEAK
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Done, Report
from benchmarks.gpu.stored import Stored
from benchmarks.gpu.worker import FAILED, REFERENCE, WRONG, Row

PARTS = {"checks": "check", "times": "time"}
TITLES = {"check": "Right?", "time": "Times"}


class OutOfTime(Exception):
    """The deadline has come while a case ran: what it found does not count."""


@dataclass(frozen=True)
class Unit:
    """What is done, or done again, at once."""

    kind: str
    case: Case
    precision: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.case.name, self.precision


def worker_command(device: torch.device, quick: bool) -> list[str]:
    """Starts what computes."""
    return [sys.executable, "-m", "benchmarks.gpu.worker", str(device), *(["--quick"] if quick else [])]


class Session:
    """One call: a device, a plan, and the report that grows.

    Another process computes. Where it dies, or is silent for too long, the form that it was at gets a row that says so,
    and a new process does that case again without it. With a deadline no case starts that is not expected to be done by
    then, but the first, and what runs then is ended; see `out_of_time`.
    """

    def __init__(
        self,
        device: torch.device,
        plan: Plan,
        path: Path,
        screen: Screen,
        only: Sequence[str],
        command: Sequence[str],
        timeout: float = 120.0,
        parts: Sequence[str] = tuple(PARTS),
        resume: bool = False,
        deadline: float = math.inf,
    ) -> None:
        """timeout: seconds that most forms may be silent; deadline: seconds from now."""
        self.device, self.plan, self.path, self.screen, self.only = device, plan, path, screen, only
        self.command, self.timeout, self.parts, self.resume = command, timeout, parts, resume
        self.began = time.monotonic()
        self.deadline = self.began + deadline
        self.report = Report(plan=plan.fingerprint)
        self.out_of_time = False  # the deadline came before all was done
        self._child: Child | None = None
        self._stored: Stored | None = None
        self._bad: set[tuple[str, str, str]] = set()  # op, form and precision of checks that did not pass

    @property
    def left(self) -> float:
        """Seconds to the deadline."""
        return self.deadline - time.monotonic()

    def save(self) -> None:
        if self.resume and not self.report.calls and self.path.exists():
            return  # nothing was found out, and what is there was not read
        done = {one.key for one in self.report.done}
        self.report.left = sum(unit.key not in done for unit in self.units(tuple(PARTS), ()))
        if self.report.calls:
            self.report.calls[-1]["seconds"] = round(time.monotonic() - self.began, 1)
        self.report.save(self.path)

    def run(self) -> None:
        """Raises nothing for what fails on the device."""
        try:
            self.start()
            self.measure()
            self.report.finished = not self.out_of_time
        except OutOfTime:
            self.out_of_time = True
        except Died as died:  # not over a case: no process starts any more
            self.report.error = f"no process starts: {died}"
        finally:
            self.stop()
            self.report.frames_per_second = self.frame_rates()
            self.save()

    def child(self) -> Child:
        """The process, started where there is none. Raises Died, OutOfTime."""
        if self._child is None:
            self._child = self.timely(lambda: Child(self.command, self.patience(None)))
        return self._child

    def timely(self, call: Any) -> Any:
        """What `call` gives. Raises OutOfTime for a process that the deadline ended."""
        try:
            return call()
        except Died:
            if self.left <= 0:
                self._child = None
                raise OutOfTime from None
            raise

    def patience(self, case: Case | None) -> Any:
        """Seconds that the process may be silent, given the form that it is at."""

        def seconds(at: str | None) -> float:
            own = self.timeout if case is None else budget.timeout(self.timeout, case, at)
            return min(own, self.left)

        return seconds

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def start(self) -> None:
        """The report, new or gone on with, and the peaks."""
        about = self.child().greeting
        if self.resume:
            self.report, reason = report.resumed(self.path, about, self.plan.fingerprint)
            if reason:
                self.screen.line(reason)
        self.report.about = about
        self.report.calls.append({"started": about.get("started"), "parts": list(self.parts)})
        self._bad = {(r.op, r.form, r.precision) for r in self.report.checks if r.status in (WRONG, FAILED)}
        major, _, minor = str(about.get("capability", "")).partition(".")
        self._stored = Stored(int(major + minor)) if (major + minor).isdigit() else None
        if "matrix" not in self.report.peaks:
            try:
                self.report.peaks = self.timely(lambda: self.child().ask({"kind": "peaks"}, self.patience(None)))
            except Died as died:
                self._child = None
                self.report.peaks = {"error": str(died)}
        self.save()

    def units(self, parts: Sequence[str], only: Sequence[str]) -> list[Unit]:
        """In order of the plan. What is timed is checked before, by a check that is added where none was asked for."""
        found: dict[tuple[str, str, str], Unit] = {}
        for part, planned in (("checks", self.plan.checks), ("times", self.plan.times)):
            for case in planned if part in parts else ():
                if only and not any(name in case.name for name in only):
                    continue
                for precision in case.precisions:
                    unit = Unit(PARTS[part], case, precision)
                    checked = self.plan.check_of(case, precision) if part == "times" else None
                    for needed in (*([Unit("check", checked, precision)] if checked else []), unit):
                        found.setdefault(needed.key, needed)
        return list(found.values())

    def measure(self) -> None:
        """Everything that is not done yet. Raises Died if no process starts, OutOfTime."""
        done = {one.key for one in self.report.done}
        todo = [unit for unit in self.units(self.parts, self.only) if unit.key not in done]
        for n, unit in enumerate(todo):
            expected = budget.seconds(unit.kind, unit.case, unit.precision, self.device)
            if n and expected * self.scale(unit.kind) > self.left:
                raise OutOfTime
            began, found = time.monotonic(), list[Row]()
            finished = False
            try:
                finished = self.find(found, unit, alone=n == 0 and self.left > (self.deadline - self.began) / 2)
            finally:  # also where no process starts after one that died
                if finished or self.left > 0:
                    self.report.replace(*unit.key, found)
                if finished:
                    took = round(time.monotonic() - began, 2)
                    self.report.done.append(Done(*unit.key, took, expected))
                self.save()
            report.show(self.screen, f"{TITLES[unit.kind]} {unit.case.name}, {unit.precision}", found)

    def scale(self, kind: str) -> float:
        """What to multiply expected seconds by, as found so far on this machine."""
        return budget.scale([(one.expected, one.seconds) for one in self.report.done if one.kind == kind])

    def find(self, found: list[Row], unit: Unit, alone: bool) -> bool:
        """Adds the rows of one case, checked or timed; True when they are all there.

        alone: it had most of the time of this call, so that what takes longer is not done again. Raises Died if no
        process starts, OutOfTime.
        """
        kind, case, precision = unit.kind, unit.case, unit.precision
        forms = list(cases.forms(case, precision, self.device, kind))
        if kind == "time":
            note = "did not pass the check at a small size"
            found += [Row(case.name, f, precision, WRONG, note) for f in forms if (case.op, f, precision) in self._bad]
        while left := [form for form in forms if form not in {row.form for row in found}]:
            child = self.child()
            without = [row.form for row in found]
            request = {"kind": kind, "case": asdict(case), "precision": precision, "without": without}
            try:
                found += [Row(**fields) for fields in child.ask(request, self.patience(case))]
                break
            except Died as died:
                self._child = None
                if self.left <= 0 and not alone:
                    raise OutOfTime from None
                found += [Row(**fields) for fields in child.rows]  # of a check, done before
                left = [form for form in left if form not in {row.form for row in found}]
                if died.at in left:
                    found.append(Row(case.name, died.at, precision, FAILED, str(died)))
                else:
                    note = f"{REFERENCE}: {died}" if died.at == REFERENCE else str(died)
                    found += [Row(case.name, form, precision, FAILED, note) for form in left]
                if self.left <= 0:  # what is left of this case has no time either
                    note = f"{died}; most of a call's time was not enough for this case"
                    known = {row.form for row in found}
                    found += [Row(case.name, form, precision, FAILED, note) for form in left if form not in known]
        for row in found:
            self.complete(row, case)
            if kind == "check" and row.status in (WRONG, FAILED):
                self._bad.add((case.op, row.form, precision))
        found.sort(key=lambda row: forms.index(row.form) if row.form in forms else len(forms))
        return True

    def complete(self, row: Row, case: Case) -> None:
        """Adds what the case is, the shares of the peaks, and what was estimated."""
        row.op, row.width, row.height = case.op, case.w, case.h
        row.scale, row.frames = (case.scale, case.frames) if case.upsamples else (None, None)
        if self._stored is not None:
            row.estimate_ms = self._stored.counted_ms(case, row.form, row.precision)
            row.roofline_ms = self._stored.roofline_ms(case, row.form, row.precision)
        if not row.ms:
            return
        if case.op == "network":
            row.frames_per_second = 1e3 * case.frames / row.ms
        if "matrix" in self.report.peaks:
            peak = self.report.peaks["matrix"][PEAK.get(row.precision, row.precision)]
            row.matrix_percent = 1e5 * case.work().operations / row.ms / peak
            row.copy_percent = 1e5 * case.work().bytes / row.ms / self.report.peaks["copy"]

    def frame_rates(self) -> list[dict[str, Any]]:
        """Output frames a second of the whole network, from pairs of frames."""
        return [
            {"case": row.case, "output": f"{row.width * row.scale}x{row.height * row.scale}", "frames": row.frames,
             "form": row.form, "precision": row.precision, "frames_per_second": row.frames_per_second}
            for row in self.report.times if row.frames_per_second and row.width and row.height and row.scale
        ]  # fmt: skip

    @property
    def bad(self) -> list[Row]:
        return [r for r in (*self.report.checks, *self.report.times) if r.status in (WRONG, FAILED)]
