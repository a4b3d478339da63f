"""What SRC is, and opening it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from vinr_engine import files
from vinr_engine.errors import SourceError, UsageError, reason

from . import image_files
from .animation_files import is_animation
from .animation_source import AnimationSource
from .image_files import Listing
from .image_source import ImageSource
from .reading import Reading
from .source import OpenSource
from .video_source import VideoSource


def source_kind(src: str) -> str:
    """What SRC is: "video", "image", "animation", "folder" or "pattern"; SourceError when there is no such file."""
    if os.path.isdir(src):
        return "folder"
    if os.path.exists(src):
        if not os.path.isfile(src):
            raise SourceError(f"{src} is neither a file nor a folder")
        if image_files.is_other(src):  # of HEIC, FFmpeg would take one tile for the whole
            raise SourceError(f"{src} is a picture of a kind that is not read: convert it to PNG or TIFF")
        if not image_files.is_image(src):
            return "video"
        return "animation" if is_animation(Path(src)) else "image"
    if image_files.is_pattern(src):
        return "pattern"
    raise SourceError(f"no such file: {src}")


def check_distinct(src: str, dst: str) -> None:
    """UsageError when DST is SRC itself, or the folder that holds SRC's pattern."""
    inputs = [src]
    if not os.path.exists(src) and image_files.is_pattern(src):
        inputs = [os.path.dirname(src) or "."]
    for one in inputs:
        if os.path.exists(dst) and os.path.exists(one) and os.path.samefile(one, dst):
            raise UsageError(f"{dst} is the input itself: choose another output")


def open_source(src: str, reading: Reading, scene: bool = False) -> OpenSource:
    """The pictures of SRC. SourceError; UsageError where its rate is given that has one.

    ``scene``: linear light is given as SourceInfo says.
    """
    kind = source_kind(src)
    if kind == "video":
        return VideoSource(Path(src), reading)
    if kind == "animation":
        return AnimationSource(Path(src), reading)
    found = _images(src, kind)
    return ImageSource(found.paths, reading, scene, still=kind == "image", notes=found.notes)


def _images(src: str, kind: str) -> Listing:
    if kind == "image":
        return Listing([Path(src)])
    return image_files.in_folder(Path(src)) if kind == "folder" else image_files.by_pattern(src)


def fingerprint(src: str) -> str:
    """What tells SRC from another one, and from what it was before a change; SourceError. See files.fingerprint."""
    kind = source_kind(src)
    paths = [Path(src)] if kind in ("video", "animation") else _images(src, kind).paths
    state = hashlib.sha256()
    for path in paths:
        try:
            state.update(f"{path.name}\0{files.fingerprint(path)}\0".encode(errors="surrogateescape"))
        except OSError as error:
            raise SourceError(f"cannot read {path}: {reason(error)}") from None
    return state.hexdigest()
