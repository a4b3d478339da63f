"""The program: `vinr`, and `python -m vinr_engine.cli`, for torchrun among others."""

from __future__ import annotations

import ctypes
import sys

from vinr_engine.cli import loading
from vinr_engine.cli.main import main

M_ARENA_MAX = -8  # of glibc's malloc.h


def run() -> int:
    """See `main.main`; only for a process that does nothing else."""
    loading.own_process()
    _share_memory_between_threads()
    return main()


def _share_memory_between_threads() -> None:
    """Let all threads allocate from one arena, where the C library is glibc: by default each has its own, and keeps
    there what it has freed. They allocate a few blocks a frame, so that they hardly ever wait for each other."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(M_ARENA_MAX, 1)


if __name__ == "__main__":
    sys.exit(run())
