"""Names on disk: what SRC and DST are."""

from __future__ import annotations

import os
from pathlib import Path

from vinr_engine.errors import SourceError, UsageError

from . import image_source

CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".webm": "webm"}


def source_kind(src: str) -> str:
    """What SRC is: "video", "folder" or "pattern"; SourceError when there is no such file."""
    if os.path.isdir(src):
        return "folder"
    if os.path.exists(src):
        if not os.path.isfile(src):
            raise SourceError(f"{src} is neither a file nor a folder")
        if src.lower().endswith(image_source.SUFFIXES):
            raise SourceError(
                f"{src} is one image: give a video, a folder of images or a pattern such as frame_%04d.png"
            )
        return "video"
    if image_source.is_pattern(src):
        return "pattern"
    raise SourceError(f"no such file: {src}")


def sink_is_folder(dst: str) -> bool:
    """Whether DST names a folder of PNG (no suffix, or an existing folder) rather than a video file."""
    path = Path(dst)
    if path.is_dir() or dst.endswith(os.sep):
        return True
    suffix = path.suffix.lower()
    if suffix in CONTAINERS:
        return False
    if suffix == "" or not suffix[1:].isalnum() or suffix[1:].isdigit():
        return True
    raise UsageError(f"{dst}: the output is a .mp4, .mkv or .webm file or a folder for PNG frames, not {suffix}")


def check_distinct(src: str, dst: str) -> None:
    """UsageError when DST is SRC itself, or the folder that holds SRC's pattern."""
    inputs = [src]
    if not os.path.exists(src) and image_source.is_pattern(src):
        inputs = [os.path.dirname(src) or "."]
    for one in inputs:
        if os.path.exists(dst) and os.path.exists(one) and os.path.samefile(one, dst):
            raise UsageError(f"{dst} is the input itself: choose another output")
