"""The command `vinr bench`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from vinr_engine.errors import UsageError


def bench(context: typer.Context) -> None:
    """Measure the ops and the network on this machine; `vinr bench --help` lists the options.

    The benchmarks are part of the repository, not of an installed package.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "benchmarks" / "cpu" / "run.py").is_file():
        raise UsageError(
            "bench needs a checkout of the repository with this package installed from it (make build): "
            "an installed package holds no benchmarks"
        )
    sys.path.insert(0, str(root))
    from benchmarks.cpu.run import main as run

    raise typer.Exit(run(context.args))
