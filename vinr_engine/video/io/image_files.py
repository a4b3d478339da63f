"""Which files are the images of a folder or a pattern, and what is to be said of those that are not."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vinr_engine.errors import SourceError, UsageError, reason

SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".avif",
    ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".exr", ".dpx", ".hdr", ".pfm", ".jp2", ".j2k", ".jpf", ".jxl", ".psd",
    ".qoi", ".sgi", ".pam", ".pcx", ".dds", ".ras", ".xbm",
)  # fmt: skip
"""Of images that are read."""
_OTHERS = (
    ".heic", ".heif", ".hif", ".jxr", ".wdp", ".svg", ".xcf", ".kra", ".ai", ".eps", ".dng", ".cr2", ".cr3", ".nef",
    ".arw", ".orf", ".rw2", ".raf", ".jls", ".cin", ".fits", ".xpm",
)  # fmt: skip
"""Of pictures that are not."""
_BEGINNINGS = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|II\*\0|MM\0\*|BM....\0\0\0\0|RIFF....WEBP|....ftyp(?:heic|heix|mif1|avif|avis)|v/1\x01"
    rb"|SDPX|XPDS|8BPS|\xff\x0a|\0\0\0\x0cJXL |\0\0\0\x0cjP  |#\?RADIANCE|qoif",
    re.DOTALL,
)
"""Of pictures' files, whatever they are called."""
_FIELD = re.compile(r"%(0?)(\d*)d")
MOST = 3
"""How many of several things are named."""


@dataclass(frozen=True)
class Listing:
    """The images of a folder or a pattern in order, and remarks of one line on what else is there."""

    paths: list[Path]
    notes: tuple[str, ...] = ()


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key under which frame10 follows frame9."""
    return [(0, int(part)) if part.isdecimal() else (1, part.lower()) for part in re.split(r"(\d+)", name) if part]


def is_image(name: str) -> bool:
    """Whether a file's name is one of an image that is read."""
    return name.lower().endswith(SUFFIXES)


def is_other(name: str) -> bool:
    """Whether a file's name is one of a picture that is not read."""
    return name.lower().endswith(_OTHERS)


def is_pattern(text: str) -> bool:
    """Whether a path is a printf pattern such as frame_%04d.png."""
    return _FIELD.search(os.path.basename(text)) is not None and not os.path.exists(text)


def in_folder(folder: Path) -> Listing:
    """The images of a folder (not of its subfolders) in natural order; SourceError without any."""
    images, pictures, ignored, folders = [], [], 0, 0
    try:
        for path in folder.iterdir():
            if not path.is_file():
                folders += path.is_dir()
            elif path.name.startswith("."):
                ignored += 1
            elif is_image(path.name):
                images.append(path)
            elif _looks_like_a_picture(path):
                pictures.append(path)
            else:
                ignored += 1
    except OSError as error:
        raise SourceError(f"cannot read {folder}: {reason(error)}") from None
    images.sort(key=lambda path: natural(path.name))
    pictures.sort(key=lambda path: natural(path.name))
    left_out = f"pictures of a kind or name that is not read: {_named(pictures)}"
    if not images:
        raise SourceError(f"{folder} holds {left_out if pictures else 'no images'} (read are {', '.join(SUFFIXES)})")
    notes = [f"{folder} holds {left_out}"] if pictures else []
    if ignored or folders:
        counted = [text for n, text in ((ignored, _count(ignored, "file")), (folders, _count(folders, "folder"))) if n]
        notes.append(f"{' and '.join(counted)} in {folder} ignored: not pictures")
    notes += _gaps(str(folder), _numbers(images))
    return Listing(images, tuple(notes))


def by_pattern(text: str) -> Listing:
    """The existing files of a printf pattern with one %d field, in the order of their numbers. SourceError."""
    head, field, tail = split_pattern(text)
    folder = os.path.dirname(text)
    width = int(field[2] or 0) if field[1] else 0
    shape = re.compile(re.escape(head) + r"(\d+)" + re.escape(tail))
    numbered = []
    try:
        for entry in Path(folder or ".").iterdir():
            match = shape.fullmatch(entry.name)
            if match and entry.is_file() and match[1] == str(int(match[1])).zfill(width):
                numbered.append((int(match[1]), Path(folder) / entry.name))
    except OSError as error:
        raise SourceError(f"cannot read {folder or '.'}: {reason(error)}") from None
    if not numbered:
        raise SourceError(f"no image matches {text}")
    numbered.sort()
    return Listing([path for _, path in numbered], tuple(_gaps(text, [number for number, _ in numbered])))


def split_pattern(text: str) -> tuple[str, re.Match[str], str]:
    """What the names of a pattern's files begin with, its number field, and what they end in. UsageError."""
    folder, name = os.path.split(text)
    if len(_FIELD.findall(name)) != 1 or name.replace("%%", "").count("%") != 1 or "%" in folder:
        raise UsageError(f"a pattern has one number field such as %04d, in the file's name: {text!r}")
    field = _FIELD.search(name)
    assert field is not None
    return name[: field.start()].replace("%%", "%"), field, name[field.end() :].replace("%%", "%")


def _looks_like_a_picture(path: Path) -> bool:
    if is_other(path.name):
        return True
    try:
        with open(path, "rb") as file:
            return _BEGINNINGS.match(file.read(16)) is not None
    except OSError:
        return False


def _numbers(paths: Sequence[Path]) -> list[int]:
    """Those of files that are numbered and otherwise called the same; none where they are not."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", path.name, re.DOTALL) for path in paths]
    if not all(parts) or len({(part[1], part[3]) for part in parts if part}) > 1:
        return []
    return [int(part[2]) for part in parts if part]


def _gaps(where: str, numbers: list[int]) -> list[str]:
    missing = [(a + 1, b - 1) for a, b in pairwise(numbers) if b > a + 1]
    steps = {b - a for a, b in pairwise(numbers)}
    if not missing or len(steps) == 1:  # every second or tenth one is a sequence, too
        return []
    ranges = [str(a) if a == b else f"{a} to {b}" for a, b in missing]
    return [f"numbers are missing in {where}, which is read without a gap: {_few(ranges)}"]


def _named(paths: Sequence[Path]) -> str:
    return _few([path.name for path in paths])


def _few(words: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(words) - MOST
    return ", ".join(words[:MOST]) + (f" and {more} more" if more > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
