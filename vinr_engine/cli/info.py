"""The command `vinr info`."""

from __future__ import annotations

from typing import Annotated

import typer

from vinr_engine.cli.loading import load_torch


def info(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """Show versions, the compiled extension, processors and backends."""
    load_torch()
    from vinr_engine import info as system

    facts = system.gather()
    typer.echo(system.as_json(facts) if as_json else system.as_text(facts))
