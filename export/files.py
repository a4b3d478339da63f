"""Writing a file so that it is complete or not there, and words of a file that a message can show."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vinr_engine.errors import VinrError, reason


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which takes its place at the end. Raises VinrError if it cannot be written."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield draft
        os.replace(draft, path)
    except OSError as error:
        raise VinrError(f"cannot write {path}: {reason(error)}") from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """VinrError where it is clear before any work that files cannot be written into `folder`, which may not exist."""
    there = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    if not there.is_dir():
        raise VinrError(f"cannot write into {folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise VinrError(f"cannot write into {folder}: no permission to write into {there}")


def make_folder(folder: Path) -> None:
    """Make it, and those above it, where they do not exist. Raises VinrError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VinrError(f"cannot make the folder {folder}: {reason(error)}") from None


def word(text: str, longest: int) -> str:
    """The text, if nothing in it acts on a terminal, and it is one word and no longer. ValueError, TypeError."""
    if len(text) > longest or not re.fullmatch(r"[\w.+-]+", text, re.ASCII):
        raise ValueError("not a word")
    return text
