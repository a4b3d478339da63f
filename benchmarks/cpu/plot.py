"""The picture of a run: how much faster than eager, and output frames a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmarks.common.text import digits
from benchmarks.cpu.cases import BACKENDS, BF16, CASES, COMPILE, EAGER, FLOAT32, VIDEO_SIZES
from benchmarks.cpu.report import frame_rate
from benchmarks.cpu.results import Results

COLOURS = {EAGER: "#9aa0a6", COMPILE: "#e0a030", FLOAT32: "#3568c0", BF16: "#1a9e77"}
VOID_HATCH = "////"
Groups = list[tuple[str, list[tuple[str, float]]]]  # name -> (backend, value)
BAR = 0.25  # of the distance between groups


def draw(found: Results, stem: Path) -> list[Path]:
    """Write STEM.svg and STEM.png; returns what was written, nothing where the run has nothing to show."""
    speeds, rates = _speedups(found), _rates(found)
    if not speeds and not rates:
        return []
    panels = [p for p in (bool(speeds) and "speed", bool(rates) and "rate") if p]
    rows = sum(len(bars) for _, bars in speeds)
    with plt.rc_context({"font.size": 9, "svg.hashsalt": "vinr", "svg.fonttype": "none", "axes.axisbelow": True}):
        height = max(3.4, 0.9 + 0.3 * rows)
        figure, grid = plt.subplots(1, len(panels), figsize=(5.6 * len(panels), height), squeeze=False)
        for panel, axes in zip(panels, grid[0], strict=True):
            _speed_panel(axes, speeds, found) if panel == "speed" else _rate_panel(axes, rates)
            axes.spines[["top", "right"]].set_visible(False)
        _finish(figure, found)
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_name(stem.name + end) for end in (".svg", ".png")]
        for path in paths:
            figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)
    return paths


def _speedups(found: Results) -> Groups:
    """Case -> (backend, times faster than eager)."""
    out = []
    for case in CASES:
        pairs = [(b, found.speedup(case.name, EAGER, b)) for b in (COMPILE, FLOAT32, BF16)]
        bars = [(b, value) for b, value in pairs if value]
        if bars:
            out.append((case.name, bars))
    return out


def _rates(found: Results) -> Groups:
    """Input size and factor in time -> (backend, output frames a second)."""
    out = []
    for factor in (2, 8):
        for size in VIDEO_SIZES:
            pairs = [(b, found.frames_per_second(size, b, factor)) for b in (EAGER, FLOAT32, BF16)]
            bars = [(b, value) for b, value in pairs if value]
            if bars:
                out.append((f"{size}, {factor}x in time", bars))
    return out


def _speed_panel(axes: Axes, groups: Groups, found: Results) -> None:
    """Bars, a group a case, the first on top."""
    y, ticks = 0.0, []
    for name, values in groups:
        top = y
        hatch = VOID_HATCH if found.is_void(name, EAGER) else None
        for backend, value in values:
            axes.barh(y, value, BAR * 0.9, color=COLOURS[backend], hatch=hatch, edgecolor="white", linewidth=0)
            axes.annotate(digits(value, "x"), (value, y), (3, 0), textcoords="offset points", va="center", fontsize=8)
            y += BAR
        ticks.append(((top + y - BAR) / 2, name))
        y += BAR * 0.7
    axes.axvline(1, color=COLOURS[EAGER], linewidth=1, linestyle=(0, (4, 3)))
    _rows(axes, ticks)
    axes.margins(x=0.14, y=0.02)
    axes.set_xlim(left=0)
    axes.set_title("times faster than the published form in eager", loc="left", fontsize=10)


def _rate_panel(axes: Axes, groups: Groups) -> None:
    """Dots on a line, a line a size: lengths would mean nothing on a logarithmic scale."""
    for y, (_, values) in enumerate(groups):
        axes.plot([v for _, v in values], [y] * len(values), color="#bbbbbb", linewidth=1.2, zorder=1)
        for backend, value in values:
            axes.scatter(value, y, 42, color=COLOURS[backend], zorder=2)
            above = backend != BF16  # two that are near would be written over each other
            axes.annotate(frame_rate(value), (value, y), (0, 7 if above else -7), textcoords="offset points",
                          ha="center", va="bottom" if above else "top", fontsize=8)  # fmt: skip
    _rows(axes, list(enumerate(name for name, _ in groups)))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.margins(x=0.12, y=0.1)
    axes.set_title("output frames a second, 4x in space (log scale)", loc="left", fontsize=10)


def _rows(axes: Axes, ticks: Sequence[tuple[float, str]]) -> None:
    axes.set_yticks([t for t, _ in ticks], [n for _, n in ticks])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.grid(axis="x", which="major", color="#dddddd", linewidth=0.6)


def _finish(figure: Figure, found: Results) -> None:
    """Legend, and where this was measured."""
    shown = [b for b in (EAGER, COMPILE, FLOAT32, BF16) if any(r.backend == b and r.median_s for r in found.rows)]
    handles = [Rectangle((0, 0), 1, 1, color=COLOURS[b]) for b in shown]
    labels = [BACKENDS[b] for b in shown]
    if found.void:
        handles.append(Rectangle((0, 0), 1, 1, facecolor="#bbbbbb", edgecolor="white", hatch=VOID_HATCH))
        labels.append("void: baseline slower than its figure")
    row = found.rows[0]
    where = f"{row.cpu}, {row.threads} threads, {row.variant}, torch {row.torch}, commit {row.commit}"
    height = figure.get_figheight()
    figure.tight_layout(rect=(0, 0.55 / height, 1, 1))
    figure.legend(handles, labels, loc="lower left", ncols=len(labels), frameon=False, fontsize=8,
                  bbox_to_anchor=(0.005, 0.22 / height), borderaxespad=0)  # fmt: skip
    figure.text(0.012, 0.08 / height, where, fontsize=7, color="#666666")
