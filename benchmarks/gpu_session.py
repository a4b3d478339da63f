"""One run of `benchmarks.gpu`: checks, times, and the report that grows with each case."""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import vinr_engine as vinr
from benchmarks import gpu_cases, machine
from benchmarks.gpu_cases import TOLERANCES, Builder, Case
from benchmarks.gpu_clock import Clock, Peaks, measure_peaks
from benchmarks.measure import Runs, interleaved, relative_error
from benchmarks.report import duration

OK, WRONG, UNAVAILABLE, SKIPPED, FAILED = "ok", "wrong", "not available", "too large", "failed"
ROTATION = 3  # sets of inputs
FREE_SHARE = 0.8  # of the free memory, that a case may take
TIME_FACTOR = 8  # frames for each pair


@dataclass
class Row:
    """One form of one case. ms: median; error: largest relative one; percent: of the measured peaks."""

    case: str
    form: str
    precision: str
    status: str = OK
    note: str = ""
    error: float | None = None
    tolerance: float | None = None
    ms: float | None = None
    q1_ms: float | None = None
    q3_ms: float | None = None
    runs: int | None = None
    matrix_percent: float | None = None
    copy_percent: float | None = None


@dataclass
class Report:
    """What the file holds."""

    about: dict[str, Any]
    peaks: dict[str, Any] = field(default_factory=dict)
    checks: list[Row] = field(default_factory=list)
    times: list[Row] = field(default_factory=list)
    frames_per_second: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False


@dataclass(frozen=True)
class Plan:
    """Sizes, and how much is measured."""

    checks: tuple[Case, ...]
    times: tuple[Case, ...]
    videos: Mapping[str, tuple[int, int]]  # name of an output size -> rows and columns of its frames at a quarter
    scale: int = 4
    side: int = 8192
    copied: int = 1 << 30
    rounds: int = 30
    least: int = 3  # rounds, whatever they take
    blocks: int | None = None  # of the encoder, front and back, if not those of the published network
    budget: float = 20.0


class Session:
    """One run: a device, a plan, and the report that grows."""

    def __init__(self, device: torch.device, plan: Plan, path: Path, console: Console, only: Sequence[str]) -> None:
        self.plan, self.path, self.console, self.only = plan, path, console, only
        self.clock, self.builder = Clock(device), Builder(device, plan.blocks)
        self.report = Report(about(device))
        self.peaks: Peaks | None = None

    def save(self) -> None:
        """The whole file or none: what was there stays until it is replaced."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(json.dumps(asdict(self.report), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(part, self.path)

    def run(self) -> None:
        try:
            self.peaks = measure_peaks(self.clock, self.plan.side, self.plan.copied)
            self.report.peaks = asdict(self.peaks)
        except Exception as error:
            self.report.peaks = {"error": first_line(error)}
        self.save()
        for title, cases, rows in (("Right?", self.plan.checks, self.report.checks),
                                   ("Times", self.plan.times, self.report.times)):  # fmt: skip
            for case in cases:
                if any(name in case.name for name in self.only) or not self.only:
                    for precision in case.precisions:
                        try:
                            found = self.check(case, precision) if title == "Right?" else self.time(case, precision)
                        except Exception as error:  # such as a GPU that no longer answers
                            found = [Row(case.name, "all", precision, FAILED, first_line(error))]
                        rows += found
                        self.save()
                        self.console.print(table(f"{title} {case.name}, {precision}", found))
        self.report.frames_per_second = self.frame_rates()
        self.report.finished = True
        self.save()

    def tried(self, case: Case, form: str, precision: str) -> tuple[Row, Any]:
        """A form run once: its row, its task with the results, or None."""
        row = Row(case.name, form, precision, tolerance=TOLERANCES[case.op][precision])
        if reason := gpu_cases.unavailable(form):
            row.status, row.note = UNAVAILABLE, reason
            return row, None
        free = self.clock.free_bytes()
        if free is not None and case.bytes(form) > FREE_SHARE * free:
            row.status = SKIPPED
            row.note = f"takes about {case.bytes(form) / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
            return row, None
        try:
            task = self.builder.task(case, form, precision, ROTATION)
            out = task()
            if self.clock.device.type == "cuda":
                torch.cuda.synchronize()
            return row, (task, out)
        except vinr.BackendError as error:
            row.status, row.note = UNAVAILABLE, first_line(error)
        except Exception as error:
            row.status, row.note = FAILED, first_line(error)
        self.tidy()
        return row, None

    def tidy(self) -> None:
        gc.collect()
        if self.clock.device.type == "cuda":
            torch.cuda.empty_cache()

    def judged(self, row: Row, out: object, expected: object) -> Row:
        error = relative_error(out, expected)
        row.error = error if math.isfinite(error) else None
        if not error <= (row.tolerance or 0):
            row.status, row.note = WRONG, f"error {error:.2g}, at most {row.tolerance:g} allowed"
        return row

    def check(self, case: Case, precision: str) -> list[Row]:
        """Every form against the reference in float64."""
        names = list(gpu_cases.forms(case, precision, self.clock.device))
        try:
            expected = self.builder.oracle(case, precision)
        except Exception as error:
            return [Row(case.name, form, precision, FAILED, f"reference: {first_line(error)}") for form in names]
        rows = []
        for form in names:
            row, done = self.tried(case, form, precision)
            rows.append(self.judged(row, done[1], expected) if done else row)
        return rows

    def time(self, case: Case, precision: str) -> list[Row]:
        """Forms in turn, of those whose results agree with the first that ran and passed the check at a small size."""
        rows, tasks, expected = [], {}, None
        wrong = {(r.case.split()[0], r.form, r.precision) for r in self.report.checks if r.status in (WRONG, FAILED)}
        for form in gpu_cases.forms(case, precision, self.clock.device):
            if (case.name.split()[0], form, precision) in wrong:
                rows.append(Row(case.name, form, precision, WRONG, "did not pass the check at a small size"))
                continue
            row, done = self.tried(case, form, precision)
            rows.append(row)
            if done:
                task, out = done
                expected = out if expected is None else expected
                self.judged(row, out, expected)
                if row.status == OK:
                    tasks[form] = task
        try:
            clock = self.clock
            for task in tasks.values():  # compilation and tuning are done; once more for clocks to rise
                clock(task)
            times = interleaved(tasks, self.plan.rounds, self.plan.budget, self.plan.least, clock) if tasks else {}
        except Exception as error:
            for row in rows:
                if row.form in tasks:
                    row.status, row.note = FAILED, first_line(error)
            times = {}
        for row in rows:
            if row.form in times:
                self.complete(row, case, times[row.form])
        del tasks, expected
        self.tidy()
        return rows

    def complete(self, row: Row, case: Case, runs: Runs) -> None:
        low, high = runs.quartiles
        row.ms, row.q1_ms, row.q3_ms, row.runs = 1e3 * runs.median, 1e3 * low, 1e3 * high, len(runs.seconds)
        if self.peaks:
            row.matrix_percent = 100 * case.work.operations / runs.median / self.peaks.matrix[row.precision]
            row.copy_percent = 100 * case.work.bytes / runs.median / self.peaks.copy

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


def first_line(error: BaseException) -> str:
    """A message for a table's cell."""
    text = (str(error).strip().splitlines() or [""])[0][:200]
    return text if isinstance(error, vinr.BackendError) else f"{type(error).__name__}: {text}"


def about(device: torch.device) -> dict[str, Any]:
    """Device, driver, versions and commit."""
    facts: dict[str, Any] = {
        "started": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "commit": machine.commit(),
        "vinr_engine": vinr.__version__, "torch": torch.__version__, "cuda": torch.version.cuda,
        "python": platform.python_version(), "system": platform.platform(), "rehearsal": device.type == "cpu",
    }  # fmt: skip
    for package in ("triton", "torchvision"):
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = None
    if device.type == "cuda":
        p = torch.cuda.get_device_properties(device)
        facts |= {"device": p.name, "capability": f"{p.major}.{p.minor}", "multiprocessors": p.multi_processor_count,
                  "memory_bytes": p.total_memory}  # fmt: skip
        facts["nvidia_smi"] = _nvidia_smi()
    return facts


def _nvidia_smi() -> str:
    fields = "name,driver_version,clocks.max.sm,clocks.max.mem,power.limit,pstate,temperature.gpu"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return first_line(error)


def table(title: str, rows: Sequence[Row]) -> Table:
    """A case on the screen."""
    out = Table(title=title, title_justify="left", title_style="bold", box=None)
    for name in ("form", "", "error", "median", "quartiles", "% product", "% copy", "note"):
        out.add_column(name, overflow="fold")
    for row in rows:
        times = [None if ms is None else ms / 1e3 for ms in (row.ms, row.q1_ms, row.q3_ms)]
        parts = [f"{p:.1f}" if p is not None else "" for p in (row.matrix_percent, row.copy_percent)]
        between = f"{duration(times[1])} to {duration(times[2])}" if row.ms else ""
        error = "" if row.error is None else f"{row.error:.1e}"
        style = "red" if row.status in (WRONG, FAILED) else "dim" if row.status != OK else None
        out.add_row(row.form, row.status, error, duration(times[0]), between, *parts, row.note, style=style)
    return out
