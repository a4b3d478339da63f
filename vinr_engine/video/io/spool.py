"""Standard input as a file: videos are read more than once, and from where they are entered."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vinr_engine import files
from vinr_engine.errors import SourceError, reason

STANDARD = "-"
"""The name of standard input, and output."""
_PIECE = 1 << 20


@contextmanager
def spooled(dst: str) -> Iterator[str]:
    """A file that holds what standard input does, for the time of the block: that itself, or a copy beside DST.

    The copy's name is the same for one DST, so that a run that is given the same again goes on. Errors: SourceError,
    SinkError.
    """
    try:
        number = sys.stdin.fileno()
        if stat.S_ISREG(os.fstat(number).st_mode) and os.path.isfile("/dev/stdin"):
            yield "/dev/stdin"
            return
    except (OSError, ValueError, AttributeError) as error:
        raise SourceError(f"cannot read standard input: {reason(error)}") from None
    if sys.stdin.isatty():
        raise SourceError("SRC is -, standard input, which is a terminal: give it a file or a pipe")
    final = Path(tempfile.gettempdir(), f"vinr-{os.getpid()}") if dst == STANDARD else Path(os.path.abspath(dst))
    copy = files.beside(final, ".", ".stdin")
    try:
        with files.reported(copy), open(copy, "wb") as file:
            while piece := os.read(number, _PIECE):
                file.write(piece)
        yield str(copy)
    finally:
        with suppress(OSError):
            copy.unlink()
