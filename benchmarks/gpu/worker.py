"""The process that `benchmarks.gpu` has do its work: requests come on stdin, what became of them goes to stdout.

Each line is JSON. {"kind": "check" or "time", "case": {...}, "precision": ..., "without": [forms]} leaves these forms
out and is answered by {"answer": rows}, {"kind": "peaks"} by {"answer": peaks}. Before that, {"at": form} names what is
begun, so that a process which dies or hangs has told whose fault it is, and {"row": row} is one of those of a check, so
that what it found before is not lost. {"error": ...} ends the process: after an illegal address nothing works in it any
more.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import math
import platform
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from typing import Any, TextIO

import torch

import vinr_engine as vinr
from benchmarks.common import machine, served
from benchmarks.common.measure import interleaved, relative_error
from benchmarks.common.served import Answer, Say
from benchmarks.common.text import NOTE, first_line
from benchmarks.gpu import cases
from benchmarks.gpu.cases import INDUCED, Case
from benchmarks.gpu.clock import Clock, measure_peaks
from benchmarks.gpu.plan import Plan, plan
from benchmarks.gpu.tasks import Builder
from benchmarks.tolerances import GPU_CASE
from vinr_engine import backends

OK, WRONG, UNAVAILABLE, SKIPPED, FAILED = "ok", "wrong", "not available", "too large", "failed"
REFERENCE = "reference"  # named as what is begun while it is computed
ROTATION = 3  # sets of inputs
FREE_SHARE = 0.8  # of the free memory, that a case may take


@dataclass
class Row:
    """One form of one case, whose low-resolution side is width x height and which gives `frames` frames.

    error: the largest relative one. ms: median. percent: of the measured peaks. estimate_ms and roofline_ms: what the
    static report says, see `benchmarks.gpu.stored`; frames_per_second: of the network, one pair in, `frames` out.
    """

    case: str
    form: str
    precision: str
    status: str = OK
    note: str = ""
    op: str = ""
    width: int | None = None
    height: int | None = None
    scale: int | None = None
    frames: int | None = None
    error: float | None = None
    tolerance: float | None = None
    ms: float | None = None
    q1_ms: float | None = None
    q3_ms: float | None = None
    runs: int | None = None
    matrix_percent: float | None = None
    copy_percent: float | None = None
    estimate_ms: float | None = None
    roofline_ms: float | None = None
    frames_per_second: float | None = None


class Notes(logging.Handler):
    """What the package logs: that it does other than it was asked to."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextlib.contextmanager
def noted() -> Iterator[list[str]]:
    """What the package logs inside, also if it has said so before."""
    backends.said.clear()
    handler, log = Notes(), logging.getLogger("vinr_engine")
    log.addHandler(handler)
    try:
        yield handler.said
    finally:
        log.removeHandler(handler)


class Worker:
    """A device, and a plan that says how much is measured."""

    def __init__(
        self,
        device: torch.device,
        plan: Plan,
        begin: Callable[[str], object],
        done: Callable[[Row], object] = lambda row: None,
    ) -> None:
        """begin: is told of every form, and of the reference, before it runs; done: gets each row of a check."""
        self.plan, self.begin, self.done = plan, begin, done
        self.clock, self.builder = Clock(device), Builder(device, plan.blocks)

    def answer(self, request: dict[str, Any]) -> Any:
        """To a request, see above. Raises what the case raises, unless a backend says that it cannot take it."""
        if request["kind"] == "peaks":
            return asdict(measure_peaks(self.clock, self.plan.side, self.plan.copied))
        work = {"check": self.check, "time": self.time}[request["kind"]]
        rows = work(Case(**request["case"]), request["precision"], request["without"])
        self.tidy()
        return [asdict(row) for row in rows]

    def tidy(self) -> None:
        self.builder.forget()
        gc.collect()
        if self.clock.device.type == "cuda":
            torch.cuda.empty_cache()

    def tried(self, case: Case, form: str, precision: str) -> tuple[Row, Any]:
        """A form run once: its row, its task with the results, or None."""
        row = Row(case.name, form, precision, tolerance=GPU_CASE[case.op][precision])
        if reason := cases.unavailable(form, self.clock.device):
            row.status, row.note = UNAVAILABLE, reason
            return row, None
        free = self.clock.free_bytes()
        if free is not None and case.bytes(form) > FREE_SHARE * free:
            row.status = SKIPPED
            row.note = f"takes about {case.bytes(form) / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
            return row, None
        self.begin(form)
        try:
            with noted() as said:
                task = self.builder.task(case, form, precision, ROTATION)
                out = task()
            if self.clock.device.type == "cuda":
                torch.cuda.synchronize()
                if said:  # such as the reference in place of a kernel: not what the row would be taken for
                    row.status, row.note = UNAVAILABLE, said[0][:NOTE]
                    return row, None
            return row, (task, out)
        except vinr.BackendError as error:
            row.status, row.note = UNAVAILABLE, first_line(error)
        return row, None

    def judged(self, row: Row, out: object, expected: object) -> Row:
        error = relative_error(out, expected)
        row.error = error if math.isfinite(error) else None
        if not error <= (row.tolerance or 0):
            row.status, row.note = WRONG, f"error {error:.2g}, at most {row.tolerance:g} allowed"
        return row

    def check(self, case: Case, precision: str, without: Collection[str] = ()) -> list[Row]:
        """Every form against the reference in float64."""
        self.begin(REFERENCE)
        expected = self.builder.oracle(case, precision)
        rows = []
        for form in cases.forms(case, precision, self.clock.device, "check"):
            if form not in without:
                row, done = self.tried(case, form, precision)
                rows.append(self.judged(row, done[1], expected) if done else row)
                self.done(rows[-1])
        return rows

    def time(self, case: Case, precision: str, without: Collection[str] = ()) -> list[Row]:
        """Forms in turn, of those whose results agree with the first that ran, which was checked at a small size."""
        rows, tasks, expected = [], {}, None
        for form in cases.forms(case, precision, self.clock.device):
            if form in without:
                continue
            if form in INDUCED and expected is None:
                rows.append(Row(case.name, form, precision, UNAVAILABLE, "no other form is there to hold it to"))
                continue
            row, done = self.tried(case, form, precision)
            rows.append(row)
            if done:
                task, out = done
                expected = out if expected is None else expected
                self.judged(row, out, expected)
                if row.status == OK:
                    tasks[form] = (form, task)

        def clock(named: tuple[str, Callable[[], object]]) -> float:
            self.begin(named[0])
            return self.clock(named[1])

        for named in tasks.values():  # compilation and tuning are done; once more for clocks to rise
            clock(named)
        times = interleaved(tasks, self.plan.rounds, self.plan.budget, self.plan.least, clock) if tasks else {}
        for row in rows:
            if row.form in times:
                runs = times[row.form]
                row.ms, row.q1_ms, row.q3_ms = (1e3 * seconds for seconds in (runs.median, *runs.quartiles))
                row.runs = len(runs.seconds)
        return rows


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


def serve(device: torch.device, plan: Plan, requests: TextIO, answers: TextIO) -> int:
    """Answers requests until they end. Returns the exit code."""

    def begin(say: Say) -> tuple[dict[str, Any], Answer]:
        worker = Worker(device, plan, lambda form: say(at=form), lambda row: say(row=asdict(row)))
        return about(device), worker.answer

    return served.serve(begin, requests, answers)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.worker", description="For benchmarks.gpu alone.")
    parser.add_argument("device", type=torch.device)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    answers = served.own_stdout()
    if options.device.type == "cuda":
        torch.cuda.set_device(options.device)
    return serve(options.device, plan(options.device.type == "cpu", options.quick), sys.stdin, answers)


if __name__ == "__main__":
    sys.exit(main())
