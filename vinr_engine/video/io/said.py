"""What FFmpeg's parts do to the process that has them: what they say, and what they make of its threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import av


@contextmanager
def listening() -> Iterator[list[str]]:
    """Gives what FFmpeg's parts say of errors within the block, a line each; they write nothing by themselves.

    Encoders are opened within such a block: see `ordinary_threads`.
    """
    os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 writes to standard error by itself
    level, lines = av.logging.get_level(), list[str]()
    av.logging.set_level(av.logging.ERROR)
    try:
        with ordinary_threads(), av.logging.Capture() as logs:
            try:
                yield lines
            finally:
                lines += [" ".join(text.split()) for _, _, text in logs if text.strip()]
    finally:
        av.logging.set_level(level)


@contextmanager
def ordinary_threads() -> Iterator[None]:
    """Take back the priority that SVT-AV1 gives its threads, and the one that opens it, where root calls: that of real
    time, the highest, beside which hardly anything else runs on the machine."""
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    try:
        yield
    finally:
        for task in os.listdir("/proc/self/task"):
            with suppress(OSError):  # it has ended
                if os.sched_getscheduler(int(task)) == os.SCHED_FIFO:
                    os.sched_setscheduler(int(task), os.SCHED_OTHER, os.sched_param(0))
