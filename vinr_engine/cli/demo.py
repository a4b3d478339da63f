"""The command `vinr demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from vinr_engine.cli.options import Backend, Device, Dtype, Weights


def demo(
    out_dir: Annotated[str, typer.Argument(metavar="[OUT_DIR]", help="Folder for the results.")] = "vinr_demo",
    weights: Weights = None,
    device: Device = "auto",
    backend: Backend = "auto",
    dtype: Dtype = "float32",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Upscale the clip that comes with the package, and compare.

    Four times in space and eight times in time, beside the low-resolution clip and a bicubic one.
    """
    from vinr_engine import demo as demonstration

    demonstration.run(
        out_dir, weights=weights, device=device, backend=backend, dtype=dtype, quiet=quiet, say=typer.echo
    )
