"""The first moments of the program, before the modules that mind signals and errors are loaded."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import warnings
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C; what systems send before they kill; a terminal that was closed, or a connection to it that broke."""
M_ARENA_MAX = -8  # of glibc's malloc.h


def mind_signals() -> None:
    """Let Ctrl-C end the program with one line instead of a traceback, until `interruption.watch`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)


def stop(number: int, frame: Any) -> None:
    """A signal's handler: ends the process at once, whatever it is loading; nothing has been written."""
    os.write(2, b"vinr: interrupted; nothing was written\n")
    os._exit(128 + number)


def leave_signals() -> None:
    """All is done and said: a signal just ends the process, whatever it is releasing."""
    for number in ENDING:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def print_any_name() -> None:
    """Let names of files that are no text in the terminal's encoding be printed, as the bytes that they are."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="surrogateescape" if stream.encoding.lower() == "utf-8" else "backslashreplace")


def silence_pillow() -> None:
    """Silence Pillow's warnings about damaged tags, which this program finds and says by itself."""
    warnings.filterwarnings("ignore", module=r"PIL\b")


def sleep_while_waiting() -> None:
    """Let OpenMP's threads sleep where they wait for each other, unless the user says otherwise.

    By default they spin, which on a busy machine takes the processor from the very thread that they wait for: a run
    beside another program took up to ten times as long. OpenMP looks once, when PyTorch loads it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def share_memory_between_threads() -> None:
    """Let all threads allocate from one arena, where the C library is glibc: by default each has its own, and keeps
    there what it has freed. They allocate a few blocks a frame, so that they hardly ever wait for each other."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(M_ARENA_MAX, 1)
