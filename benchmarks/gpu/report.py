"""The file of `benchmarks.gpu`: what it holds, how a later call goes on with it, and its rows on the screen."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common.files import write_json
from benchmarks.common.screen import Screen
from benchmarks.common.text import duration
from benchmarks.gpu.worker import FAILED, OK, WRONG, Row

# Of `about`: what has to be the same for results of two calls to stand in one file.
SAME = ("commit", "device", "torch", "cuda", "triton", "torchvision", "rehearsal")
SET_ASIDE = ".before"  # added to the name of a file that cannot be gone on with


@dataclass
class Done:
    """One case in one precision that is finished; seconds that it took, and was expected to take.

    kind: "check" or "time". A case that is not among them is done again, whatever rows of it there are.
    """

    kind: str
    case: str
    precision: str
    seconds: float
    expected: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.case, self.precision


@dataclass
class Report:
    """What the file holds. calls: when each began, and how long it took. left: cases of the whole plan, not done."""

    about: dict[str, Any] = field(default_factory=dict)
    plan: str = ""
    peaks: dict[str, Any] = field(default_factory=dict)
    checks: list[Row] = field(default_factory=list)
    times: list[Row] = field(default_factory=list)
    frames_per_second: list[dict[str, Any]] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    left: int = 0
    error: str = ""  # that ended the run
    finished: bool = False  # all that was asked for

    def rows(self, kind: str) -> list[Row]:
        return self.checks if kind == "check" else self.times

    def replace(self, kind: str, case: str, precision: str, rows: Sequence[Row]) -> None:
        """Those of an earlier attempt by these."""
        kept = self.rows(kind)
        kept[:] = [row for row in kept if (row.case, row.precision) != (case, precision)] + list(rows)

    def save(self, path: Path) -> None:
        """The whole file or none: what was there stays until it is replaced."""
        write_json(path, asdict(self))


def _read(path: Path) -> Report:
    """Raises OSError, or ValueError, KeyError or TypeError for what is no report."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    report = Report(**fields)
    report.checks, report.times = ([Row(**row) for row in rows] for rows in (report.checks, report.times))  # type: ignore
    report.done = [Done(**done) for done in fields["done"]]
    return report


def resumed(path: Path, about: dict[str, Any], plan: str) -> tuple[Report, str]:
    """The report to go on with, and why it is a new one; empty if it is that of `path`, or there is none.

    A file that cannot be gone on with is set aside, under a name of its own.
    """
    new = Report(about, plan)
    if not path.exists():
        return new, ""
    try:
        old = _read(path)
        differs = [name for name in SAME if old.about.get(name) != about.get(name)]
        reason = f"its {', '.join(differs)} differ" if differs else "" if old.plan == plan else "its plan differs"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        reason = "it is no report of this program"
    if reason:
        aside = path.with_name(path.name + SET_ASIDE)
        os.replace(path, aside)
        return new, f"{path.name} is not gone on with but renamed to {aside.name}: {reason}"
    old.about, old.error, old.finished = about, "", False
    return old, ""


HEAD = ("form", "", "error", "median", "quartiles", "estimate", "% product", "% copy", "note")


def show(screen: Screen, title: str, rows: Sequence[Row]) -> None:
    """A case on the screen. estimate: counted in machine code where that is stored, else by the roofline."""
    cells, styles = [], []
    for row in rows:
        seconds = [None if ms is None else ms / 1e3 for ms in (row.ms, row.q1_ms, row.q3_ms)]
        between = f"{duration(seconds[1])} to {duration(seconds[2])}" if row.ms else ""
        estimate = row.estimate_ms if row.estimate_ms is not None else row.roofline_ms
        limit = "" if estimate is None else ("" if row.estimate_ms is not None else "> ") + duration(estimate / 1e3)
        parts = [f"{p:.1f}" if p is not None else "" for p in (row.matrix_percent, row.copy_percent)]
        error = "" if row.error is None else f"{row.error:.1e}"
        note = row.note or (f"{row.frames_per_second:.4g} frames/s" if row.frames_per_second else "")
        cells.append((row.form, row.status, error, duration(seconds[0]), between, limit, *parts, note))
        styles.append("red" if row.status in (WRONG, FAILED) else "dim" if row.status != OK else "")
    screen.table(title, HEAD, cells, styles)
