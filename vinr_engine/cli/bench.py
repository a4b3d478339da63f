"""The command `vinr bench`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import typer

from vinr_engine.errors import UsageError


def bench(context: typer.Context) -> None:
    """Measure the ops and the network on this machine; `vinr bench --help` lists the options.

    With --base REV it measures another commit and this tree in turn: `vinr bench --base REV --help`. The benchmarks are
    part of the repository, not of an installed package.
    """
    root = Path(__file__).resolve().parents[2]
    compares = any(argument.split("=")[0] == "--base" for argument in context.args)
    module = "benchmarks.compare" if compares else "benchmarks.cpu"
    if not root.joinpath(*module.split("."), "__main__.py").is_file():
        raise UsageError(
            "bench needs a checkout of the repository with this package installed from it (make build): "
            "an installed package holds no benchmarks"
        )
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Safe: a folder called benchmarks where the command is called is another one.
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", module, *context.args]
    code = subprocess.run(command, env=variables, check=False).returncode  # noqa: S603  benchmarks of this checkout
    raise typer.Exit(code if code >= 0 else 128 - code)
