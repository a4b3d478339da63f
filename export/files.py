"""Writing a file so that it is complete or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vinr_engine.video.errors import VinrError, reason


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
        draft.unlink(missing_ok=True)
