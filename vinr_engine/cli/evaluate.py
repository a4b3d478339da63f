"""The command `vinr evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vinr_engine.cli.loading import load_torch
from vinr_engine.cli.options import taking
from vinr_engine.evaluation.job import Evaluation


@taking(Evaluation)
def evaluate(
    options: dict[str, Any],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no table of variants.")] = False,
) -> None:
    """Measure a checkpoint on true clips: PSNR and SSIM, beside bicubic enlargement and blending.

    Clips are shrunk, all but every K-th frame are dropped, and the network restores them. Kept frames and frames
    between are reported apart; a second table has every variant in which published figures differ. See
    docs/evaluation.md.
    """
    load_torch()
    from vinr_engine.evaluation.evaluate import run
    from vinr_engine.video.progress import Bar

    with Bar(quiet, "evaluate") as bar:
        found = run(Evaluation(**options, progress=bar.update, note=bar.note))
    typer.echo(found.as_json() if as_json else found.as_text(variants=not quiet), nl=False)
