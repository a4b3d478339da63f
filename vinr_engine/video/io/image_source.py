"""Folders and patterns of images in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vinr_engine.errors import SourceError, UsageError, reason

from .colour import RGB, SRGB_TRANSFER, Array, Colour
from .source import OpenSource, Picture, SourceInfo

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_FIELD = re.compile(r"%(0?)(\d*)d")


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key under which frame10 follows frame9."""
    return [(0, int(part)) if part.isdigit() else (1, part.lower()) for part in re.split(r"(\d+)", name) if part]


def is_pattern(text: str) -> bool:
    """Whether a path is a printf pattern such as frame_%04d.png."""
    return _FIELD.search(os.path.basename(text)) is not None and not os.path.exists(text)


def in_folder(folder: Path) -> list[Path]:
    """The images of a folder (not of its subfolders) in natural order."""
    try:
        names = [p.name for p in folder.iterdir() if p.name.lower().endswith(SUFFIXES) and p.is_file()]
    except OSError as error:
        raise SourceError(f"cannot read {folder}: {reason(error)}") from None
    found = [folder / name for name in sorted(names, key=natural) if not name.startswith(".")]
    if not found:
        raise SourceError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    return found


def by_pattern(text: str) -> list[Path]:
    """The existing files of a printf pattern with one %d field, in the order of their numbers."""
    folder, name = os.path.split(text)
    if len(_FIELD.findall(name)) != 1 or name.replace("%%", "").count("%") != 1 or "%" in folder:
        raise UsageError(f"a pattern has one number field such as %04d, in the file's name: {text!r}")
    field = _FIELD.search(name)
    assert field is not None
    width = int(field[2] or 0) if field[1] else 0
    head, tail = name[: field.start()].replace("%%", "%"), name[field.end() :].replace("%%", "%")
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
    return [path for _, path in sorted(numbered)]


def read(path: Path) -> tuple[Array, int]:
    """An image as RGB [3, h, w] in [0, 1], and its bits a channel.

    Grey becomes equal channels, 16-bit grey keeps its precision, 16-bit colour is read at 8 bits (Pillow's limit),
    transparent pixels are laid over black, EXIF rotation is applied. Errors: SourceError naming the file.
    """
    from PIL import Image, UnidentifiedImageError  # videos need none of it

    try:
        with Image.open(path) as image:
            image.load()
            turn = image.getexif().get(0x0112, 1)
            bits = 8
            if image.mode.startswith("I;16") or image.mode == "I":
                grey = np.asarray(image).astype(np.float32) / 65535
                rgb = np.broadcast_to(np.clip(grey, 0, 1), (3, *grey.shape))
                bits = 16
            elif image.mode == "F":
                raise SourceError(f"{path} holds floating-point grey, whose range is unknown: convert it to 16 bits")
            elif "A" in image.mode or "transparency" in image.info:
                rgba = np.asarray(image.convert("RGBA")).astype(np.float32) / 255
                rgb = (rgba[..., :3] * rgba[..., 3:]).transpose(2, 0, 1)
            else:
                rgb = np.asarray(image.convert("RGB")).astype(np.float32).transpose(2, 0, 1) / 255
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        text = "not a readable image" if isinstance(error, UnidentifiedImageError) else reason(error)
        raise SourceError(f"unreadable image {path}: {text}") from None
    return np.ascontiguousarray(_upright(rgb, turn), np.float32), bits


def _upright(rgb: npt.NDArray[Any], exif: int) -> npt.NDArray[Any]:
    """Apply EXIF orientation 1 to 8."""
    if exif in (5, 6, 7, 8):
        rgb = rgb.transpose(0, 2, 1)
    if exif in (2, 3, 6, 7):
        rgb = rgb[:, :, ::-1]
    if exif in (3, 4, 7, 8):
        rgb = rgb[:, ::-1]
    return rgb


class ImageSource(OpenSource):
    """Images shown at ``rate`` frames per second from time 0; frames with start <= time < end."""

    def __init__(
        self, paths: list[Path], rate: Fraction, start: Fraction | None = None, end: Fraction | None = None
    ) -> None:
        self.rate = rate
        chosen = [
            (n / rate, path)
            for n, path in enumerate(paths)
            if (start is None or n / rate >= start) and (end is None or n / rate < end)
        ]
        if not chosen:
            raise SourceError(
                f"no image lies in the chosen range; the last is at {float((len(paths) - 1) / rate):.3f} s"
            )
        self.chosen = chosen
        rgb, bits = read(chosen[0][1])
        self.info = SourceInfo(
            width=rgb.shape[2],
            height=rgb.shape[1],
            aspect=None,
            colour=Colour(RGB, True, 1, SRGB_TRANSFER),
            bits=bits,
            chroma=None,
            rate=rate,
            tick=1 / rate,
            count=len(chosen),
        )

    def pictures(self, since: Fraction | None = None) -> Iterator[Picture]:
        """See Source.pictures."""
        width, height = self.info.width, self.info.height
        for time, path in self.chosen:
            if since is not None and time < since:
                continue
            rgb, _ = read(path)
            if rgb.shape != (3, height, width):
                raise SourceError(
                    f"{path} is {rgb.shape[2]}x{rgb.shape[1]}, the images before it are {width}x{height}: "
                    "all must have one size"
                )
            yield Picture(time, 1 / self.rate, rgb)

    def close(self) -> None:
        """Nothing is kept open."""
