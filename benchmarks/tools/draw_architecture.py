"""Draws docs/architecture.svg: python -m benchmarks.tools.draw_architecture [FILE]"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from benchmarks.common.machine import ROOT

Box = tuple[float, float, float, float]
BLUE, GREEN, ORANGE, GREY = "#dbe9f6", "#dff0d8", "#fdebd0", "#eeeeee"
WIDTH, HEIGHT = 3.3, 0.95


def box(axes: Axes, x: float, y: float, title: str, folder: str, colour: str, width: float = WIDTH) -> Box:
    axes.add_patch(
        FancyBboxPatch((x, y), width, HEIGHT, boxstyle="round,pad=0,rounding_size=0.08", fc=colour, ec="#555", lw=0.8)
    )
    axes.text(x + width / 2, y + 0.60, title, ha="center", va="center", fontsize=8.5)
    axes.text(x + width / 2, y + 0.27, folder, ha="center", va="center", fontsize=6.8, family="monospace")
    return x, y, x + width, y + HEIGHT


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "", side: float = 0.1) -> None:
    axes.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": "#555", "lw": 1, "shrinkA": 0, "shrinkB": 0}
    )
    if text:
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        across = start[1] == end[1]
        axes.text(
            x if across else x + side, y + 0.12 if across else y, text,
            ha="center" if across else "left" if side > 0 else "right", va="bottom" if across else "center", fontsize=7,
        )  # fmt: skip


def draw(path: Path) -> None:
    plt.rcParams["svg.hashsalt"] = "architecture"
    figure, axes = plt.subplots(figsize=(9.6, 5.6))
    axes.set_xlim(-0.15, 13.15)
    axes.set_ylim(-1.05, 7.3)
    axes.axis("off")

    def right(left: Box, to: Box, text: str = "") -> None:
        arrow(axes, (left[2], (left[1] + left[3]) / 2), (to[0], (to[1] + to[3]) / 2), text)

    def down(upper: Box, lower: Box, at: float, text: str, side: float = 0.1) -> None:
        arrow(axes, (at, upper[1]), (at, lower[3]), text, side)

    def up(lower: Box, upper: Box, at: float, text: str, side: float = 0.1) -> None:
        arrow(axes, (at, lower[3]), (at, upper[1]), text, side)

    command = box(axes, 0, 6.2, "vinr, vinr.upscale", "cli/ video/job.py", GREY)
    plan = box(axes, 4.85, 6.2, "plan: exact times and sizes", "video/plan.py", GREY)
    source = box(axes, 0, 4.3, "source: decode", "video/io/", BLUE)
    render = box(axes, 4.85, 4.3, "render: pairs, cuts, threads", "video/render.py pipeline.py", BLUE)
    sink = box(axes, 9.7, 4.3, "sink: encode", "video/io/ files.py", BLUE)
    network = box(axes, 4.85, 2.4, "a Network: encode, query", "models/ models/videoinr/", GREEN)
    exported = box(axes, 9.7, 2.4, "an exported Network", "export/runtimes/", GREEN)
    op = box(axes, 4.85, 0.9, "an Op: gradient, backend", "ops/ backends.py", ORANGE)
    kernels = [
        box(axes, x, -0.95, title, folder, ORANGE, 2.6)
        for x, title, folder in (
            (0.0, "reference: PyTorch", "reference/"), (3.45, "cpu: C++", "csrc/<op>/ csrc/isa/"),
            (6.95, "triton", "kernels/<op>/"), (10.4, "cuda: C++", "csrc/<op>/cuda.cu"),
        )
    ]  # fmt: skip

    right(command, plan, "Job")
    down(plan, render, 6.5, "which times of which pair")
    right(source, render, "frames, times")
    right(render, sink, "pictures")
    down(render, network, 6.0, "frames", -0.1)
    up(network, render, 7.0, "pictures [B, T, 3, H, W]")
    right(network, exported, "vinr export")
    arrow(axes, (11.35, exported[3]), (render[2] - 0.05, render[1]), "")
    down(network, op, 6.0, "features, layers", -0.1)
    up(op, network, 7.0, "colour, flow, gradients")
    for kernel in kernels:
        middle = (kernel[0] + kernel[2]) / 2
        arrow(axes, (min(max(middle, op[0] + 0.15), op[2] - 0.15), op[1]), (middle, kernel[3]))
    figure.savefig(path, metadata={"Date": None}, facecolor="white", bbox_inches="tight", dpi=110)
    path.write_text("".join(line.rstrip() + "\n" for line in path.read_text().splitlines()))  # as lint wants it


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "architecture.svg")
