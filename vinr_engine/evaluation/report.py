"""Results as text for people, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from vinr_engine.evaluation.metrics import Variant
from vinr_engine.evaluation.protocol import SUBSETS, decimal
from vinr_engine.evaluation.restore import BLEND, NEAREST
from vinr_engine.evaluation.results import Figures, Result


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as aligned lines: the first column to the left, others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    first = widths[0]
    return [
        "  ".join([row[0].ljust(first), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]


def _cell(figures: Figures | None) -> str:
    if figures is None:
        return "-"
    return " / ".join([f"{figures[0]:.2f}", *(f"{value:.4f}" for value in figures[1:])])


def _subsets(result: Result) -> list[str]:
    # with every second frame kept all frames are centre frames
    return [name for name in SUBSETS if name != "centre" or result.protocol.keep > 2]


def main_table(result: Result) -> list[str]:
    """Each clip's figures and the mean, by method; then how far the network is above the rest."""
    what = "PSNR in dB / SSIM" + (" / LPIPS" if any(f.lpips for f in result.frames) else "")
    rows = [[what, *_subsets(result)]]
    for n, clip in enumerate(result.clips):
        windows = f"{clip.windows} window{'s' if clip.windows > 1 else ''}"
        rows.append([f"{clip.name} ({clip.size[0]}x{clip.size[1]}, {windows})", *[""] * (len(rows[0]) - 1)])
        rows += [[f"  {m}", *(_cell(result.mean(m, s, clip=n)) for s in _subsets(result))] for m in result.methods]
    if len(result.clips) > 1:
        rows.append([f"mean of {len(result.clips)} clips", *[""] * (len(rows[0]) - 1)])
        rows += [[f"  {m}", *(_cell(result.mean(m, s)) for s in _subsets(result))] for m in result.methods]
    return [result.protocol.describe(), "", *columns(rows), *gains(result)]


def gains(result: Result) -> list[str]:
    """One line for each baseline."""
    lines = []
    network = result.methods[0]
    if network == BLEND:
        return []
    for baseline in (BLEND, NEAREST):
        parts = []
        for subset in _subsets(result):
            gain = result.gain(network, baseline, subset) if baseline == BLEND or subset == "between" else None
            if gain is not None:
                worst = f" (lowest clip {gain[1]:+.2f})" if len(result.clips) > 1 else ""
                parts.append(f"{subset} {gain[0]:+.2f}{worst}")
        if parts:
            lines.append(f"{network} above {baseline}, dB: {', '.join(parts)}")
    return ["", *lines] if lines else []


def _choices(result: Result) -> list[tuple[str, bool, str]]:
    """Subsets, last frame counted, mean over: the columns of the variants that can differ for this result."""
    subsets = [name for name in _subsets(result) if name in ("all", "centre")]
    overs = ("clips", "frames") if len(result.clips) > 1 else ("clips",)
    return list(product(subsets, (True, False), overs))


def variants_table(result: Result, method: str) -> list[str]:
    """PSNR, then SSIM, by every choice; the protocol's own in brackets."""
    p, choices = result.protocol, _choices(result)
    lines = []
    for n, what in enumerate(("PSNR in dB", "SSIM")):
        rows = [
            [f"{method}, {what}, mean of", *("all" if subset == "all" else subset for subset, _, _ in choices)],
            ["last frame of a window", *("counted" if last else "not" for _, last, _ in choices)],
        ]
        if len(result.clips) > 1:
            rows.append(["mean over", *(over for _, _, over in choices)])
        for variant in p.variants():
            cells = [f"{variant.channels}, {'8 bits' if variant.quantised else 'not rounded'}, border {variant.border}"]
            for subset, last, over in choices:
                figures = result.mean(method, subset, variant, last, over)
                text = "-" if figures is None else f"{figures[n]:.4f}" if n else f"{figures[n]:.2f}"
                chosen = variant == p.variant and last == p.last and (over == p.over or len(result.clips) == 1)
                cells.append(f"[{text}]" if chosen else f"{text} ")
            rows.append(cells)
        lines += ["", *columns(rows)]
    return lines


def as_text(results: Iterable[Result], variants: bool = True) -> str:
    """All runs, for people; the variants are those of the first method."""
    parts = [[*main_table(r), *(variants_table(r, r.methods[0]) if variants else [])] for r in results]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _variant(variant: Variant) -> dict[str, Any]:
    return {"channels": variant.channels, "quantised": variant.quantised, "border": variant.border}


def as_dict(result: Result) -> dict[str, Any]:
    """A run with all its means, for JSON."""
    p = result.protocol
    names = [*range(len(result.clips)), None]
    return {
        "protocol": {
            "name": p.name, "scale": decimal(p.scale), "keep": p.keep,
            "windows": "disjoint" if p.disjoint else "shared", "still": p.still,
            "exact_input": p.exact_input, "bicubic": p.bicubic,
            **_variant(p.variant), "last": p.last, "over": p.over,
        },
        "clips": [
            {"name": c.name, "width": c.size[0], "height": c.size[1], "frames": c.frames, "windows": c.windows}
            for c in result.clips
        ],
        "results": [
            {
                "clip": None if n is None else result.clips[n].name, "method": method,
                **{s: result.named(result.mean(method, s, clip=n)) for s in SUBSETS},
            }
            for n, method in product(names, result.methods)
        ],
        "variants": [
            {"method": method, **_variant(variant), "subset": subset, "last": last, "over": over, **figures}
            for method, variant, subset, last, over in product(
                result.methods, p.variants(), SUBSETS, (True, False), ("clips", "frames")
            )
            if (figures := result.named(result.mean(method, subset, variant, last, over))) is not None
        ],
        "seconds": result.seconds,
    }  # fmt: skip


def as_csv(results: Iterable[Result]) -> str:
    """Every measured frame, method and variant: a row each."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(
        ["scale", "keep", "clip", "frame", "index", "time", "kept", "method", "channels", "quantised", "border", "psnr",
         "ssim", "lpips"]
    )  # fmt: skip
    for result in results:
        p = result.protocol
        for frame in result.frames:
            where = [decimal(p.scale), p.keep, result.clips[frame.clip].name, frame.number, frame.index]
            kept = int(frame.index in (0, p.keep))
            for (method, scores), (row, v) in product(frame.scores.items(), enumerate(p.variants())):
                psnr, ssim = scores[row]
                lpips = frame.lpips.get(method, "")
                table.writerow(
                    [*where, f"{frame.time:.6g}", kept, method, v.channels, int(v.quantised), v.border, f"{psnr:.6f}",
                     f"{ssim:.8f}", lpips if lpips == "" else f"{lpips:.6f}"]
                )  # fmt: skip
    return out.getvalue()
