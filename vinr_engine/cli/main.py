"""The command `vinr`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from vinr_engine._version import __version__
from vinr_engine.cli import export, interruption
from vinr_engine.cli.bench import bench
from vinr_engine.cli.demo import demo
from vinr_engine.cli.evaluate import evaluate
from vinr_engine.cli.info import info
from vinr_engine.cli.prepare import prepare
from vinr_engine.cli.train import train
from vinr_engine.cli.upscale import upscale
from vinr_engine.errors import Cancelled, UsageError, VinrError, WeightsError, printable, reason

app = typer.Typer(
    name="vinr",
    help="Continuous space-time video super-resolution with VideoINR.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = "interrupted; nothing was written"
KEEPING = {
    "upscale": "interrupted; the segments that were complete are kept, and the same command goes on from there",
    "train": "interrupted; train --resume continues from the last state",
    "prepare": "interrupted; call it again",
}


def version(value: bool) -> None:
    """Print the version and stop."""
    if value:
        typer.echo(f"vinr {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Continuous space-time video super-resolution with VideoINR."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for command in (upscale, evaluate, info, demo, train, prepare):
    app.command()(command)
app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)(bench)
app.add_typer(export.app, name="export")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 wrong usage, 1 failure, 130 interrupted."""
    command = (sys.argv[1:] if argv is None else argv)[:1]
    interruption.watch(KEEPING.get(command[0] if command else "", INTERRUPTED))
    try:
        os.getcwd()
    except OSError as error:  # relative names mean nothing then, and MKL ends the process
        return _fail(f"the working directory cannot be entered any more ({reason(error)}): change to another one", 1)
    try:
        code = app(args=argv, standalone_mode=False)
    except BaseException as error:
        if interruption.came() or isinstance(error, (KeyboardInterrupt, typer.Abort)):
            return _fail(interruption.message(), 130)
        return _failure(error)
    # typer turns an interruption into this code
    return _fail(interruption.message(), 130) if code == 130 else code if isinstance(code, int) else 0


def _failure(error: BaseException) -> int:
    """Say in one line what happened; returns the exit code. Raises what is no Exception, and all with VINR_DEBUG."""
    if isinstance(error, (UsageError, WeightsError)):
        return _fail(str(error), 2)
    if isinstance(error, VinrError):
        return _fail(str(error), 130 if isinstance(error, Cancelled) else 1)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if hasattr(error, "format_message"):
        # typer's own usage errors: its click is a private copy, so they are known by their shape
        text = " ".join(error.format_message().split())
        return _fail(text or "no command was given (vinr --help lists them)", 2)
    if os.environ.get("VINR_DEBUG") or not isinstance(error, Exception):
        raise error
    return _fail(f"{type(error).__name__}: {' '.join(str(error).split())} (VINR_DEBUG=1 shows where)", 1)


def _fail(message: str, code: int) -> int:
    print(f"vinr: {printable(message)}", file=sys.stderr)
    return code
