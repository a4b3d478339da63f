"""Standard input as a file: videos are read more than once, and from where they are entered."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from vinr_engine import files
from vinr_engine.errors import SinkError, SourceError, reason

STANDARD = "-"
"""The name of standard input, and output."""
_PIECE = 1 << 20


@contextmanager
def spooled(dst: str) -> Iterator[str]:
    """A file that holds what standard input does, for the time of the block: that itself, or a copy beside DST.

    The copy's name is the same for one DST, so that a run that is given the same again goes on. Errors: SourceError,
    SinkError, also where another run reads such a copy.
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
    with ExitStack() as stack:
        if dst == STANDARD:  # in a folder that no one else writes to, as others may in that of temporary files
            with files.reported(tempfile.gettempdir()):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vinr-"))
            copy = Path(folder, "stdin")
        else:
            copy = files.beside(Path(os.path.abspath(dst)), ".", ".stdin")
        with files.reported(copy):
            file = stack.enter_context(open(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "wb"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SinkError(f"another run is writing {dst}: wait for it, or choose another output") from None
        except OSError:  # a file system without locks
            pass
        stack.callback(_remove, copy)
        with files.reported(copy):
            file.truncate()
            while piece := os.read(number, _PIECE):
                file.write(piece)
            file.flush()
        yield str(copy)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
