"""Runs a network on the generated clips, and says where it is worse than bicubic enlargement and blend.

python -m benchmarks.quality.generated [--weights FILE] [--clips flat pan ...] [--scales 4] [--keeps 2,4]
    [--output DIR] [--check]
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from vinr_engine import files
from vinr_engine.errors import VinrError
from vinr_engine.evaluation import sheet
from vinr_engine.evaluation.protocol import keep, scale
from vinr_engine.video import enlarge
from vinr_engine.video.progress import Bar

from .canvas import FRAMES
from .measure import Row, measured, protocols, steps
from .report import as_table, contact_sheet, summary
from .suite import KINDS, chosen

OUTPUTS = re.compile(r"table\.md|clips\.png|worst\.png")
SHOWN = 24
"""Rows of worst.png at most."""


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a checkpoint instead of the default one")
    parser.add_argument("--clips", nargs="+", metavar="NAME", help=f"only these titles or kinds: {', '.join(KINDS)}")
    parser.add_argument("--scales", default="4", help="shrink by these [default: %(default)s]")
    parser.add_argument("--keeps", default="2,4", help="keep one of so many frames [default: %(default)s]")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--output", type=Path, help="a folder for the table, a sheet of the clips and one of the worst")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a clip breaks the rule")
    return parser.parse_args(argv)


def _run(options: argparse.Namespace) -> list[Row]:
    clips = chosen(options.clips)
    runs = protocols([scale(s) for s in options.scales.split(",")], [keep(k) for k in options.keeps.split(",")])
    enlarge.check_dtype(options.dtype, "cpu")
    enlarge.check_weights(options.weights, False, False)
    if options.output is not None:
        files.check_new(str(options.output), True, options.overwrite, OUTPUTS)
    model = enlarge.load(options.weights)
    done, total = 0, len(clips) * sum(steps(p, FRAMES) for p in runs)
    with Bar(label="generated clips") as bar, torch.inference_mode():

        def step() -> None:
            nonlocal done
            done += 1
            bar.update(done, total)

        rows = []
        for clip in clips:
            truth = clip.frames()
            rows += [measured(clip, truth, model, protocol, options.dtype, step) for protocol in runs]
    if options.output is not None:
        with files.reported(options.output), files.draft(options.output, folder=True, ours=OUTPUTS) as new:
            (new / "table.md").write_text(f"{as_table(rows)}\n{summary(rows)}\n", encoding="utf-8")
            contact_sheet(clips).save(new / "clips.png")
            lowest = sorted(rows, key=lambda row: row.lowest)[:SHOWN]
            sheet.draw([row.worst for row in lowest]).save(new / "worst.png")
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    options = _arguments(argv)
    start = time.perf_counter()
    try:
        rows = _run(options)
    except VinrError as error:
        print(f"generated: {error}", file=sys.stderr)
        return 1
    print(as_table(rows))
    name = enlarge.DEFAULT_NAME if options.weights is None else options.weights
    print(f"Weights: {name}; {time.perf_counter() - start:.0f} s. {summary(rows)}")
    return int(options.check and any(row.broken for row in rows))


if __name__ == "__main__":
    sys.exit(main())
