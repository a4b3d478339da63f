"""The command `vinr demo`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vinr_engine.cli.loading import load_torch
from vinr_engine.cli.options import taking
from vinr_engine.video.job import NetworkOptions


@taking(NetworkOptions)
def demo(
    options: dict[str, Any],
    out_dir: Annotated[str, typer.Argument(metavar="[OUT_DIR]", help="Folder for the results.")] = "vinr_demo",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Upscale the clip that comes with the package, and compare.

    Four times in space and eight times in time, beside the low-resolution clip and a bicubic one.
    """
    load_torch()
    from vinr_engine import demo as demonstration

    demonstration.run(out_dir, NetworkOptions(**options), quiet=quiet, say=typer.echo)
