"""Tables on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmarks.common.machine import Machine
from benchmarks.common.measure import Rates
from benchmarks.common.published import DEFORM_SOURCE
from benchmarks.common.text import digits, duration
from benchmarks.cpu import results, targets
from benchmarks.cpu.cases import BACKENDS, BF16, EAGER, FLOAT32, VIDEO_SIZES
from benchmarks.cpu.results import Results, Row

STYLES = {results.RED: "red", results.VOID: "yellow", results.UNAVAILABLE: "dim", targets.MISSED: "red"}
FACTORS = (2, 8)  # in time


def heading(host: Machine, rates: Rates) -> str:
    """Where this runs, and the rates that percentages refer to."""
    return (
        f"{host.cpu}, {host.threads} threads, kernels {host.variant}, torch {host.torch}, commit {host.commit}\n"
        f"matrix product {rates.matrix['float32'] / 1e9:.0f} GFLOP/s float32, {rates.matrix['bf16'] / 1e9:.0f} bf16; "
        f"copy {rates.copy / 1e9:.1f} GB/s; deformable convolution of the published form: {DEFORM_SOURCE}"
    )


def case_table(rows: Sequence[Row]) -> Table:
    """One line a backend."""
    table = Table(title=rows[0].case if rows else "", title_justify="left", title_style="bold", box=None)
    table.add_column("", no_wrap=True)
    for name in ("median", "quartiles", "runs", "GFLOP/s", "of matrix", "GB/s", "of copy", "memory", "against eager"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    found = Results(rows)
    for r in rows:
        spread = f"{duration(r.q1_s)} - {duration(r.q3_s)}" if r.median_s else ""
        faster = digits(found.speedup(r.case, EAGER, r.backend), "x") if r.backend != EAGER else ""
        memory = digits(r.peak_mb, " MB")
        cells = (
            duration(r.median_s), spread, str(r.runs or ""), digits(r.gflops), digits(r.matrix_percent, " %"),
            digits(r.gbytes_per_s), digits(r.copy_percent, " %"), memory, faster,
        )  # fmt: skip
        state = {results.RED: "WRONG: ", results.UNAVAILABLE: "not available: "}.get(r.status, "")
        note = state + r.note
        if not note and r.expected_s:
            note = f"scaled figure {duration(r.expected_s)}"
        table.add_row(BACKENDS[r.backend], *cells, note, style=STYLES.get(r.status))
    return table


def frame_rates(found: Results) -> Table:
    """Output frames a second, one line an input size."""
    table = Table(title="Output frames a second, 4x in space", title_justify="left", title_style="bold", box=None)
    table.add_column("input")
    for factor in FACTORS:
        for backend in (EAGER, FLOAT32, BF16):
            table.add_column(f"{factor}x in time, {backend}", justify="right")
    for size in VIDEO_SIZES:
        table.add_row(size, *(rate for f in FACTORS for rate in _rates(found, size, f)))
    return table


def _rates(found: Results, size: str, factor: int) -> list[str]:
    return [frame_rate(found.frames_per_second(size, b, factor)) for b in (EAGER, FLOAT32, BF16)]


def frame_rate(value: float | None) -> str:
    """Two digits at least; a dash for None."""
    return "-" if value is None else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def summary(found: Results) -> Table:
    """What must be reached, and what was."""
    table = Table(title="Must reach", title_justify="left", title_style="bold", box=None)
    for name in ("what", "demanded", "measured", ""):
        table.add_column(name)
    for target in targets.TARGETS:
        verdict = target.verdict(found)
        table.add_row(target.what, target.demand, target.show(found), verdict, style=STYLES.get(verdict))
    if found.void:
        table.caption = f"VOID, baselines slower than their scaled figures allow: {len(found.void)}"
        table.caption_justify = "left"
    return table
