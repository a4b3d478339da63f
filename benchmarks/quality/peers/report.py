"""Tables of what was found, and what our network must reach beside the peers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.common.markdown import table

from .cost import FILE, MEMORY
from .cost import Row as Cost
from .files import TORCH, UPSCALE, Start
from .listed import OURS, PEERS
from .quality import Row as Quality

NAMES = {peer.key: peer.name for peer in PEERS}
KEPT_SLACK, CLIP_SLACK = 0.1, 0.3
"""dB below the best peer that are allowed: of kept frames on average, and of any one clip."""
START_SLACK = 0.5
"""Seconds above `import torch`."""
MEAN = "mean"


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def quality_table(rows: Sequence[Quality], first: str = "kept", second: str = "between") -> str:
    """PSNR-Y of two subsets in each cell, a line for each clip and keep, a column for each peer."""
    found = {(r.clip, r.keep, r.peer, r.frames): r.psnr for r in rows}
    peers = _unique(r.peer for r in rows)

    def cell(clip: str, keep: int, peer: str) -> str:
        return " / ".join(f"{found[clip, keep, peer, subset]:.2f}" for subset in (first, second))

    lines = [
        [clip, f"1 of {keep}", *(cell(clip, keep, peer) for peer in peers)]
        for keep in dict.fromkeys(r.keep for r in rows)
        for clip in _unique(r.clip for r in rows)
    ]
    return table(["clip", "frames kept", *(NAMES.get(p, p) for p in peers)], lines)


def cost_table(rows: Sequence[Cost]) -> str:
    """CPU seconds of a further output frame and peak memory, a line for each peer, a column for each size."""
    sizes = _unique(r.size for r in rows)
    found = {(r.peer, r.where, r.size): r for r in rows}

    def cell(row: Cost | None) -> str:
        if row is None:
            return ""
        return f"{row.cpu_s:.3g} s" + ("" if row.peak_mb is None else f", {row.peak_mb:.0f} MB")

    lines = [
        [NAMES.get(peer, peer) + (", file to file" if where == FILE else ""),
         *(cell(found.get((peer, where, size))) for size in sizes)]
        for peer, where in dict.fromkeys((r.peer, r.where) for r in rows)
    ]  # fmt: skip
    return table(["x4 in space, x2 in time", *sizes], lines)


def start_table(rows: Sequence[Start]) -> str:
    """Whole processes."""
    lines = [[r.what, f"{r.wall_s:.2f} s", f"{r.cpu_s:.2f} s"] for r in rows]
    return table(["process, start to end", "by the clock", "CPU"], lines)


def _verdict(what: str, demand: str, measured: str, reached: bool) -> list[str]:
    return [what, demand, measured, "reached" if reached else "not reached"]


def _quality_demands(rows: Sequence[Quality]) -> list[list[str]]:
    found = {(r.clip, r.keep, r.frames, r.peer): r.psnr for r in rows}
    lines = []
    for keep in dict.fromkeys(r.keep for r in rows):
        for subset, slack in (("kept", KEPT_SLACK), ("between", 0.0)):
            means = {p: v for (c, k, s, p), v in found.items() if (c, k, s) == (MEAN, keep, subset)}
            ours = means.pop(OURS, None)
            if ours is None or not means:
                continue
            best = max(means, key=lambda p: means[p])
            demand = means[best] - slack
            lines.append(_verdict(
                f"{subset}, 1 of {keep}, mean", f"{demand:.2f} dB ({NAMES.get(best, best)}, {0 - slack:+.1f})",
                f"{ours:.2f} dB", ours >= demand,
            ))  # fmt: skip
            gaps = {
                c: v - found[c, keep, subset, best] for (c, k, s, p), v in found.items()
                if c != MEAN and (k, s, p) == (keep, subset, OURS)
            }  # fmt: skip
            worst = min(gaps, key=lambda c: gaps[c])
            lines.append(_verdict(
                f"{subset}, 1 of {keep}, worst clip, above that peer", f"{-CLIP_SLACK:+.1f} dB",
                f"{gaps[worst]:+.2f} dB ({worst})", gaps[worst] >= -CLIP_SLACK,
            ))  # fmt: skip
    return lines


def _cost_demands(rows: Sequence[Cost]) -> list[list[str]]:
    lines = []
    for size in _unique(r.size for r in rows):
        here = {r.peer: r for r in rows if (r.size, r.where) == (size, MEMORY)}
        rivals = [here[key] for key in ("rife4-span", "rife3-span") if key in here]
        ours = here.get(OURS)
        if ours is None or not rivals:
            continue
        least = min(rivals, key=lambda r: r.cpu_s)
        name = NAMES[least.peer]
        lines.append(_verdict(
            f"CPU seconds of a further frame, {size}", f"{least.cpu_s:.3g} s ({name})", f"{ours.cpu_s:.3g} s",
            ours.cpu_s <= least.cpu_s,
        ))  # fmt: skip
        if ours.peak_mb is not None and least.peak_mb is not None:
            lines.append(_verdict(
                f"peak memory, {size}", f"{least.peak_mb:.0f} MB ({name})", f"{ours.peak_mb:.0f} MB",
                ours.peak_mb <= least.peak_mb,
            ))  # fmt: skip
    return lines


def _start_demands(rows: Sequence[Start]) -> list[list[str]]:
    seconds = {r.what: r.cpu_s for r in rows}
    if not {TORCH, UPSCALE} <= seconds.keys():
        return []
    # By CPU seconds, as the costs: nearly all of it runs on one core, and the clock counts what runs beside it, too.
    above = seconds[UPSCALE] - seconds[TORCH]
    return [_verdict(f"start-up above `{TORCH}`, CPU", f"{START_SLACK} s", f"{above:.2f} s", above <= START_SLACK)]


def demands(quality: Sequence[Quality], cost: Sequence[Cost], start: Sequence[Start]) -> str:
    """Whether our network is at least as good as the best peer and costs no more than RIFE with SPAN behind it."""
    lines = [*_quality_demands(quality), *_cost_demands(cost), *_start_demands(start)]
    return table(["ours must reach", "demanded", "measured", ""], lines)
