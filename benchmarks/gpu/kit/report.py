"""What kits brought back: kept in benchmarks/results/gpu, one file a device, and shown in README.md and docs/gpu.md.

    python -m benchmarks.gpu.kit.report [RESULTS ...] [--check]

RESULTS are folders that a kit wrote; each piece that was run there replaces what was kept of it. Without any, the texts
and pictures are made anew from what is kept. --check changes nothing and exits with 1 if a text is not up to date.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.files import write_json, write_text
from benchmarks.common.machine import ROOT
from benchmarks.common.markdown import replaced, table
from benchmarks.common.text import digits, duration
from benchmarks.gpu.kit import pieces

FOLDER = ROOT / "benchmarks" / "results" / "gpu"
BEGIN = "<!-- gpu: written by `make gpu-report` from here -->"
END = "<!-- gpu: to here -->"
NEVER = (
    "**Never run: no GPU kernel has run on a GPU, and no time on a GPU has been measured.** `make gpu-kit` packs what "
    "measures it in half an hour, see [docs/gpu.md]({docs}gpu.md).\n"
)
FORMS = ("eager", "compile", "torchvision", "triton", "cuda", "auto", "graphs", "compiled")
TITLES = {"auto": "ours, auto", "graphs": "ours, CUDA graphs", "compiled": "ours, torch.compile"}
Device = dict[str, Any]


class ReportError(Exception):
    """Why a folder of results is not taken."""


def read(folder: Path, rehearsal: bool = False) -> dict[str, Any]:
    """The results in a folder. Raises ReportError."""
    path = folder / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ReportError(f"{path} is no JSON: {error}") from None
    if not isinstance(results, dict) or results.get("format") != 1 or not isinstance(results.get("pieces"), list):
        raise ReportError(f"{path} is no result of a kit of this version")
    if results.get("rehearsal") and not rehearsal:
        raise ReportError(f"{path} is of a rehearsal: its figures mean nothing")
    host = next((p["found"] for p in results["pieces"] if p["name"] == "host"), None)
    if not host or not (host.get("device") or rehearsal):
        raise ReportError(f"{path} does not say which GPU it is of")
    return results


def merge(kept: Device | None, results: Mapping[str, Any]) -> Device:
    """What is kept of a device, with the pieces of another run."""
    host = next(p["found"] for p in results["pieces"] if p["name"] == "host")
    device: Device = {"format": 1, "device": host.get("device") or "rehearsal", "pieces": {}} | (kept or {})
    for piece in results["pieces"]:
        if piece["found"] is not None and piece["attempts"]:
            commit = (results.get("kit") or {}).get("commit", "unknown")
            device["pieces"][piece["name"]] = {**piece, "commit": commit, "day": (host.get("started") or "")[:10]}
    return device


def slug(name: str) -> str:
    """A file's name for a device, such as nvidia-h100-80gb-hbm3."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "gpu"


def devices() -> list[Device]:
    """All that is kept, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]


def found(device: Device, name: str) -> dict[str, Any]:
    """What a piece found; empty if it was not run."""
    value = device["pieces"].get(name, {}).get("found")
    return value if isinstance(value, dict) else {}


def facts(device: Device) -> str:
    """Which machine, which versions, which commits."""
    host = found(device, "host")
    commits = sorted({piece["commit"] for piece in device["pieces"].values()})
    days = sorted({piece["day"] for piece in device["pieces"].values() if piece.get("day")})
    said = [device["device"], f"torch {host.get('torch')}", f"Triton {host.get('triton')}"]
    said += [f"commit {' and '.join(commits)}", *([days[-1]] if days else [])]
    return ", ".join(said) + ".\n"


def standings(device: Device) -> str:
    """A line for each piece."""
    rows = []
    for piece in pieces.PIECES:
        kept = device["pieces"].get(piece.name)
        status = kept["status"] if kept else "never run"
        line = pieces.headline(piece.name, kept["found"]) if kept else ""
        note = kept["note"] if kept and kept["note"] else ""
        rows.append((piece.title, status, "; ".join(part for part in (line, note) if part)))
    return table(("what", "", "found"), rows)


def _time(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    if row.get("ms") is None:
        return {"ok": "", "not available": "-"}.get(row["status"], row["status"])
    return duration(row["ms"] / 1e3)


def times(device: Device, cases: Sequence[str] = ()) -> str:
    """Medians, a row a case and precision, a column a form; only cases whose name begins so, if any are named."""
    rows = found(device, "times").get("times") or []
    chosen = [r for r in rows if not cases or r["case"].startswith(tuple(cases))]
    forms = [form for form in FORMS if any(r["form"] == form for r in chosen)]
    by = {(r["case"], r["precision"], r["form"]): r for r in chosen}
    lines = []
    for case, precision in dict.fromkeys((r["case"], r["precision"]) for r in chosen):
        of = [by.get((case, precision, form)) for form in forms]
        estimates = [f"{TITLES.get(r['form'], r['form'])} {duration(r['estimate_ms'] / 1e3)}"
                     for r in of if r and r.get("estimate_ms")]  # fmt: skip
        lines.append((case, precision, *map(_time, of), ", ".join(estimates)))
    return table(("median", "precision", *(TITLES.get(f, f) for f in forms), "static estimate"), lines)


def rates(device: Device) -> str:
    """Output frames a second of the whole network, and of clips from file to file."""
    network = found(device, "times").get("frames_per_second") or []
    lines = [(str(r.get("output", "")), str(r.get("form", "")), str(r.get("precision", "")),
              digits(r["frames_per_second"])) for r in network]  # fmt: skip
    text = table(("network, output", "form", "precision", "frames/s"), lines)
    clips = found(device, "clip").get("rows") or []
    lines = []
    for r in clips:
        stages = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in r["stages"].items())
        lines.append((r["name"], digits(r["frames_per_second"]), f"{duration(r['seconds'])}: {stages}"))
    clip = table(("clip, from file to file", "frames/s", "whole; busy"), lines)
    return "\n".join(part for part in (text, clip) if part)


def training(device: Device) -> str:
    """The runs of the published recipe, and that of default weights."""
    lines = []
    for name in ("float32", "bfloat16", "deterministic", "weights"):
        run = found(device, name)
        if run.get("step"):
            each = duration(run["ms_per_step"] / 1e3) if run.get("ms_per_step") else ""
            loss = " to ".join(f"{value:.4g}" for value in run["loss"]) if run.get("loss") else ""
            repeats = {True: "yes", False: "no"}.get(run.get("repeats"), "")  # type: ignore[arg-type]
            lines.append((name, f"{run['step']} of {run['steps']}", each, loss, repeats))
    return table(("training", "steps", "a step", "loss", "repeats to the bit"), lines)


def counters(device: Device) -> str:
    """What ncu says of the query's kernels."""
    shown = ("Duration", "Compute (SM) Throughput", "Memory Throughput", "DRAM Throughput", "L2 Hit Rate",
             "Achieved Occupancy", "Registers Per Thread")  # fmt: skip
    lines = []
    for kernel in found(device, "counters").get("kernels") or []:
        metrics = kernel["metrics"]
        cells = [f"{m['value']} {m['unit']}" if (m := metrics.get(name)) else "" for name in shown]
        lines.append((kernel["backend"], kernel["kernel"][:40], *cells))
    return table(("backend", "kernel", *shown), lines)


SHOWN = ("query 320x180", "deform_conv2d 320x180", "sampled_mlp 320x180", "network 320x180", "network 640x360",
         "query step", "deform_conv2d step", "sampled_mlp step")  # fmt: skip


def short(kept: Sequence[Device], docs: str = "docs/") -> str:
    """The README's section."""
    if not kept:
        return NEVER.format(docs=docs)
    parts = []
    for device in kept:
        wrong = [p["name"] for p in device["pieces"].values() if p["status"] in ("wrong", "failed")]
        verdict = f"Wrong or failed there: {', '.join(wrong)}.\n" if wrong else ""
        parts += [facts(device), verdict, times(device, SHOWN), training(device)]
        if (FOLDER / f"{slug(device['device'])}.svg").is_file():
            parts.append(f"![{device['device']}](benchmarks/results/gpu/{slug(device['device'])}.svg)\n")
    parts.append(f"[docs/gpu.md]({docs}gpu.md) has all of it.\n")
    return "\n".join(part for part in parts if part)


def whole(kept: Sequence[Device]) -> str:
    """The section of docs/gpu.md."""
    if not kept:
        return NEVER.format(docs="")
    parts = []
    for device in kept:
        parts += [f"### {device['device']}\n", facts(device), standings(device), times(device), rates(device),
                  training(device), counters(device)]  # fmt: skip
    return "\n".join(part for part in parts if part)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS", help="folders that a kit wrote")
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args(argv)
    try:
        for folder in options.results if not options.check else []:
            results = read(folder)
            host = next(p["found"] for p in results["pieces"] if p["name"] == "host")
            path = FOLDER / f"{slug(host['device'])}.json"
            kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
            write_json(path, merge(kept, results))
            print(f"{path.relative_to(ROOT)}: {folder} merged")
        kept_devices = devices()
        if kept_devices and not options.check:
            from benchmarks.gpu.kit import plot  # matplotlib is needed for this alone

            for device in kept_devices:
                plot.draw(device, FOLDER / f"{slug(device['device'])}.svg")
        stale = 0
        sections = {ROOT / "README.md": short(kept_devices), ROOT / "docs" / "gpu.md": whole(kept_devices)}
        for path, section in sections.items():
            text = path.read_text(encoding="utf-8")
            new = replaced(text, section, (BEGIN, END), path.name)
            stale += new != text
            if not options.check:
                write_text(path, new)
    except (ReportError, ValueError) as error:
        print(f"gpu-report: {error}", file=sys.stderr)
        return 1
    return int(options.check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
