"""The picture of a device: how many times faster than eager, and frames a second of the whole network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from benchmarks.common.text import digits

COLOURS = {"compile": "#e0a030", "torchvision": "#9aa0a6", "triton": "#3568c0", "cuda": "#1a9e77", "auto": "#444444",
           "graphs": "#c0507a", "compiled": "#8e5fb8", "eager": "#9aa0a6"}  # fmt: skip
NAMES = {"compile": "torch.compile", "triton": "ours, Triton", "cuda": "ours, CUDA", "auto": "ours, auto",
         "graphs": "ours, CUDA graphs", "compiled": "ours, torch.compile"}  # fmt: skip
Groups = list[tuple[str, list[tuple[str, float]]]]
BAR = 0.25  # of the distance between groups


def speedups(device: dict[str, Any]) -> Groups:
    """Case and precision -> times faster than eager, by form; than eager in float32 where there is no other."""
    rows = (device["pieces"].get("times", {}).get("found") or {}).get("times") or []
    ms = {(r["case"], r["precision"], r["form"]): r["ms"] for r in rows if r.get("ms")}
    groups = []
    for case, precision in dict.fromkeys((case, precision) for case, precision, _ in ms):
        base = ms.get((case, precision, "eager")) or ms.get((case, "float32", "eager"))
        bars = [(f, base / v) for (c, p, f), v in ms.items() if base and (c, p) == (case, precision) and f != "eager"]
        if bars:
            groups.append((f"{case}, {precision}", bars))
    return groups


def rates(device: dict[str, Any]) -> Groups:
    """Output size and precision -> frames a second, by form."""
    rows = (device["pieces"].get("times", {}).get("found") or {}).get("frames_per_second") or []
    keys = dict.fromkeys((r["output"], r["precision"]) for r in rows)
    return [(f"{output}, {precision}", [(r["form"], r["frames_per_second"]) for r in rows
                                        if (r["output"], r["precision"]) == (output, precision)])
            for output, precision in keys]  # fmt: skip


def draw(device: dict[str, Any], path: Path) -> bool:
    """Write the picture; whether there was anything to show."""
    panels = [(title, groups) for title, groups in (("times faster than eager", speedups(device)),
              ("output frames a second, network alone", rates(device))) if groups]  # fmt: skip
    if not panels:
        return False
    rows = max(sum(len(bars) + 0.7 for _, bars in groups) for _, groups in panels)
    with plt.rc_context({"font.size": 9, "svg.hashsalt": "vinr", "svg.fonttype": "none", "axes.axisbelow": True}):
        height = max(3.0, 1.0 + 0.22 * rows)
        figure, grid = plt.subplots(1, len(panels), figsize=(6.2 * len(panels), height), squeeze=False)
        for (title, groups), axes in zip(panels, grid[0], strict=True):
            _panel(axes, title, groups)
        shown = dict.fromkeys(form for _, groups in panels for _, bars in groups for form, _ in bars)
        figure.tight_layout(rect=(0, 0.5 / height, 1, 1))
        figure.legend(
            [Rectangle((0, 0), 1, 1, color=COLOURS.get(form, "#444444")) for form in shown],
            [NAMES.get(form, form) for form in shown], loc="lower left", ncols=len(shown), frameon=False, fontsize=8,
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)
    return True


def _panel(axes: Axes, title: str, groups: Groups) -> None:
    """Dots on a line, a line a case: lengths would mean nothing on a logarithmic scale."""
    y, ticks = 0.0, []
    for name, bars in groups:
        top = y
        for form, value in bars:
            axes.scatter(value, y, 30, color=COLOURS.get(form, "#444444"), zorder=2)
            axes.annotate(digits(value), (value, y), (6, 0), textcoords="offset points", va="center", fontsize=7)
            y += BAR
        ticks.append(((top + y - BAR) / 2, name))
        axes.axhspan(top - BAR / 2, y - BAR / 2, color="#f4f4f4", zorder=0)
        y += BAR * 0.7
    axes.set_yticks([t for t, _ in ticks], [n for _, n in ticks])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.margins(x=0.14, y=0.02)
    axes.grid(axis="x", which="major", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{title} (log scale)", loc="left", fontsize=10)


__all__ = ["draw", "rates", "speedups"]
