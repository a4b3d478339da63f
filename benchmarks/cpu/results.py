"""One row a case and backend, and the CSV file that keeps them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.common.machine import ROOT

FOLDER = ROOT / "benchmarks" / "results"

OK = "ok"
RED = "red"  # its result is wrong: no time
VOID = "void"  # a baseline slower than it should be: no ratio to it counts
UNAVAILABLE = "not available"
MEMORY_ONLY = "memory"


@dataclass
class Row:
    """Seconds, bytes and decibels are in the names; empty where nothing was measured."""

    run: str  # when it started, UTC
    complete: bool  # all cases with the usual repeats
    case: str
    op: str
    backend: str
    rows: int
    columns: int
    cpu: str
    threads: int
    variant: str
    torch: str
    version: str
    commit: str
    status: str = OK
    note: str = ""
    error: float | None = None  # largest relative one, against the case's first backend
    tolerance: float | None = None
    psnr_db: float | None = None
    runs: int | None = None
    median_s: float | None = None
    q1_s: float | None = None
    q3_s: float | None = None
    min_s: float | None = None
    max_s: float | None = None
    unit_s: float | None = None  # the unit convolution, between these runs
    expected_s: float | None = None  # a baseline's published figure, scaled by the unit
    gflop: float | None = None
    gbyte: float | None = None
    gflops: float | None = None
    gbytes_per_s: float | None = None
    matrix_percent: float | None = None
    copy_percent: float | None = None
    peak_mb: float | None = None  # above what inputs and parameters hold


def _text(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _value(kind: str, text: str) -> object:
    if kind == "str":
        return text
    if kind == "bool":
        return text == "True"
    if not text:
        return None
    return int(text) if kind.startswith("int") else float(text)


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a CSV file; see `append_table`."""
    names = [f.name for f in fields(Row)]
    append_table(path, names, ([_text(getattr(row, name)) for name in names] for row in rows))


def append_table(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Add rows to a CSV file, made with its folder if need be. Raises ValueError if its columns are others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists() or path.stat().st_size == 0
    if not fresh:
        with path.open(newline="") as file:
            if next(csv.reader(file)) != list(names):
                raise ValueError(f"{path} has other columns than this version writes: move it, or name another --out")
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(names)
        writer.writerows(rows)


def read(path: Path) -> list[Row]:
    """All rows of a CSV file. Raises FileNotFoundError, ValueError."""
    kinds = {f.name: str(f.type) for f in fields(Row)}
    with path.open(newline="") as file:
        return [Row(**{k: _value(kinds[k], v) for k, v in line.items()}) for line in csv.DictReader(file)]  # type: ignore[arg-type]


class Results:
    """The rows of one run, and of later ones for cases that it lacks, by case and backend."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)

    @classmethod
    def last(cls, rows: Sequence[Row], complete: bool = True) -> Results:
        """The last run among `rows`; by default the last complete one, with what later runs measured of cases that are
        newer than it. Empty if there is none.
        """
        runs = [row.run for row in rows if row.complete or not complete]
        found = [row for row in rows if runs and row.run == runs[-1]]
        known = {row.case for row in found}
        later = [row for row in rows[rows.index(found[-1]) + 1 :] if row.case not in known] if found else []
        newest = {row.case: row.run for row in later}
        return cls([*found, *(row for row in later if row.run == newest[row.case])])

    def row(self, case: str, backend: str) -> Row | None:
        return next((r for r in self.rows if (r.case, r.backend) == (case, backend)), None)

    def time(self, case: str, backend: str) -> float | None:
        """Median seconds; None if it was not measured."""
        row = self.row(case, backend)
        return row.median_s if row else None

    def speedup(self, case: str, over: str, backend: str) -> float | None:
        """How many times `backend` is faster than `over`."""
        slow, fast = self.time(case, over), self.time(case, backend)
        return slow / fast if slow and fast else None

    def is_void(self, case: str, backend: str) -> bool:
        row = self.row(case, backend)
        return row is not None and row.status == VOID

    @property
    def void(self) -> list[Row]:
        return [row for row in self.rows if row.status == VOID]

    @property
    def red(self) -> list[Row]:
        return [row for row in self.rows if row.status == RED]

    def frames_per_second(self, size: str, backend: str, factor: int) -> float | None:
        """Output frames a second of a video of that size, 4x in space, `factor` frames a pair encoded once."""
        encoder, query = self.time(f"encoder {size}", backend), self.time(f"query {size} x4", backend)
        return factor / (encoder + factor * query) if encoder and query else None
