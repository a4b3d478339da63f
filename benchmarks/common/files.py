"""Files that appear whole or not at all.

Not vinr_engine.files: a session on a GPU reports what it found where torch cannot be imported too.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path`: what was there stays until all of `content` is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """The same of a text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """The same of a value; NaN and infinity, which JSON lacks, are errors."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """What a file holds; None without the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
