"""What SRC is, and opening it."""

from __future__ import annotations

import hashlib
import os
from fractions import Fraction
from pathlib import Path

from vinr_engine import files
from vinr_engine.errors import SourceError, UsageError, reason

from . import image_source
from .image_source import ImageSource
from .reading import IMAGES_FPS, Reading
from .source import OpenSource
from .video_source import VideoSource


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


def check_distinct(src: str, dst: str) -> None:
    """UsageError when DST is SRC itself, or the folder that holds SRC's pattern."""
    inputs = [src]
    if not os.path.exists(src) and image_source.is_pattern(src):
        inputs = [os.path.dirname(src) or "."]
    for one in inputs:
        if os.path.exists(dst) and os.path.exists(one) and os.path.samefile(one, dst):
            raise UsageError(f"{dst} is the input itself: choose another output")


def open_source(src: str, reading: Reading) -> OpenSource:
    """The pictures of SRC. SourceError; UsageError where its rate is given that has one."""
    kind = source_kind(src)
    if kind == "video":
        return VideoSource(Path(src), reading)
    return ImageSource(_images(src, kind), reading.rate or Fraction(IMAGES_FPS), reading.start, reading.end)


def _images(src: str, kind: str) -> list[Path]:
    return image_source.in_folder(Path(src)) if kind == "folder" else image_source.by_pattern(src)


def fingerprint(src: str) -> str:
    """What tells SRC from another one, and from what it was before a change; SourceError. See files.fingerprint."""
    kind = source_kind(src)
    paths = [Path(src)] if kind == "video" else _images(src, kind)
    state = hashlib.sha256()
    for path in paths:
        try:
            state.update(f"{path.name}\0{files.fingerprint(path)}\0".encode(errors="surrogateescape"))
        except OSError as error:
            raise SourceError(f"cannot read {path}: {reason(error)}") from None
    return state.hexdigest()
