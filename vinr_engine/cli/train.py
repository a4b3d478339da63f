"""The command `vinr train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vinr_engine.cli.loading import load_torch
from vinr_engine.errors import UsageError


def train(
    out: Annotated[str, typer.Argument(metavar="OUT_DIR", help="Folder of the run: states, weights, log, pictures.")],
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML file that describes the run.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Instead of --config: stage1, stage2, both (as published), small or gpu.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value, such as optimiser.lr=2e-4."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of clips, such as vinr prepare makes.")
    ] = None,
    names: Annotated[Path | None, typer.Option(metavar="FILE", help="List of the clips to use, a name a line.")] = None,
    photos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of photographs (JPEG, PNG) to train on beside those of the preset."),
    ] = None,
    init: Annotated[Path | None, typer.Option(metavar="FILE", help="Checkpoint to start from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT_DIR.")] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after this time with a state to resume from.", show_default=False)
    ] = None,
) -> None:
    """Train a network.

    On several processes or machines: torchrun --nproc-per-node N -m vinr_engine.cli train ... . What was trained so
    far lies in OUT_DIR; an interrupted run continues with --resume.
    """
    load, run = _training()
    changes = [*(change or []), *([f"init={init}"] if init is not None else [])]
    run(load(config, preset, changes, data, names, photos), Path(out), resume=resume, say=typer.echo, minutes=minutes)


def _training() -> tuple[Any, Any]:
    """What `vinr train` runs; UsageError where the packages that only training needs are not there."""
    load_torch()
    try:
        from vinr_engine.training.config import load
        from vinr_engine.training.loop import train as run
    except ModuleNotFoundError as error:
        raise UsageError(f"train needs the package {error.name}: pip install 'vinr_engine[train]'") from None
    return load, run
