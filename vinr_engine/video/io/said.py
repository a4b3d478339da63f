"""What FFmpeg's parts say, which belongs into an error's line and not on a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import av


@contextmanager
def listening() -> Iterator[list[str]]:
    """Gives what FFmpeg's parts say of errors within the block, a line each; they write nothing by themselves."""
    os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 writes to standard error by itself
    level, lines = av.logging.get_level(), list[str]()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as logs:
            try:
                yield lines
            finally:
                lines += [" ".join(text.split()) for _, _, text in logs if text.strip()]
    finally:
        av.logging.set_level(level)
