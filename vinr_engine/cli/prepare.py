"""The command `vinr prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    videos: Annotated[Path, typer.Argument(metavar="VIDEOS", help="Folder of video files.")],
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder for the clips, one folder each.")],
    jobs: Annotated[int | None, typer.Option(min=1, help="Videos at once [default: as many as processors].")] = None,
) -> None:
    """Turn videos into clips for `vinr train`: folders of numbered PNG.

    Clips that are there already are skipped, so that the same command continues an interrupted one.
    """
    from vinr_engine.training.prepare import prepare as run

    done = run(videos, out, jobs, say=typer.echo)
    typer.echo(f"{out}: {len(done.made)} made, {len(done.skipped)} there before, {len(done.failed)} failed")
    if done.failed:
        raise typer.Exit(1)
