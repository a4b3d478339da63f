"""Clips as folders of numbered frames, one folder a clip, as the published recipe has Adobe240."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vinr_engine.errors import DataError, reason
from vinr_engine.evaluation.resize import resize, resized_length
from vinr_engine.training.config import Data
from vinr_engine.training.samples import FRAMES, Batch

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
NUMBER = re.compile(r"(\d+)$")  # ends a frame's name, with or without zeros in front


@dataclass(frozen=True)
class Clip:
    """Frames in order, all `size` (width, height) as far as was looked."""

    name: str
    frames: tuple[Path, ...]
    size: tuple[int, int]


def _numbered(folder: Path) -> dict[int, Path]:
    frames: dict[int, Path] = {}
    for path in folder.iterdir():
        match = NUMBER.search(path.stem)
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or match is None:
            continue
        number = int(match[1])
        if number in frames:
            raise DataError(f"clip {folder}: two frames have number {number}: {frames[number].name} and {path.name}")
        frames[number] = path
    return frames


def open_clip(folder: Path) -> Clip:
    """The frames of `folder` by number. Raises DataError: fewer than nine, or one missing."""
    try:
        frames = _numbered(folder)
    except OSError as error:
        raise DataError(f"clip {folder}: {reason(error)}") from None
    numbers = sorted(frames)
    if len(numbers) < FRAMES:
        raise DataError(f"clip {folder}: needs at least {FRAMES} numbered frames, has {len(numbers)}")
    if numbers[-1] - numbers[0] != len(numbers) - 1:
        missing = next(a + 1 for a, b in itertools.pairwise(numbers) if b != a + 1)
        raise DataError(f"clip {folder}: frame {missing} is missing")
    ordered = tuple(frames[n] for n in numbers)
    sizes = {_size(path) for path in (ordered[0], ordered[-1])}
    if len(sizes) > 1:
        raise DataError(f"clip {folder}: its frames have several sizes: {' and '.join(map(_text, sorted(sizes)))}")
    return Clip(folder.name, ordered, sizes.pop())


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read frame {path}: {reason(error)}") from None


def find_clips(root: Path, names: Path | None = None) -> list[Clip]:
    """The clips of `root`, or those of the list `names`, a name a line. Raises DataError."""
    if names is None:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    else:
        lines = [line.strip() for line in names.read_text(encoding="utf-8").splitlines()]
        wanted = [line for line in lines if line and not line.startswith("#")]
        inside = root.resolve()
        folders = [root / name for name in wanted]
        for name, folder in zip(wanted, folders, strict=True):
            if not folder.resolve().is_relative_to(inside) or folder.resolve() == inside:
                raise DataError(f"{names}: {name!r} leaves the folder {root}")
            if not folder.is_dir():
                raise DataError(f"{names}: no such clip in {root}: {name!r}")
    if not folders:
        raise DataError(f"no clips in {names or root}")
    return [open_clip(folder) for folder in folders]


def read_crop(path: Path, size: tuple[int, int], left: int, top: int, side: int) -> Tensor:
    """A square of a frame of `size` (width, height): [3, side, side] in [0, 1]. Raises DataError."""
    try:
        with Image.open(path) as image:
            if image.size != size:
                raise DataError(f"frame {path} is {_text(image.size)}, its clip {_text(size)}")
            pixels = np.asarray(image.convert("RGB").crop((left, top, left + side, top + side)))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise DataError(f"cannot read frame {path}: {reason(error)}") from None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


class ClipSource:
    """Nine consecutive frames of a clip: the first and the last are the inputs, targets are among all nine.

    Each window of nine is as likely as any other. Flips and quarter turns are the same for all frames of a sample.
    """

    def __init__(self, data: Data) -> None:
        assert data.root is not None
        self.clips = find_clips(data.root, data.names)
        windows = np.array([len(clip.frames) - FRAMES + 1 for clip in self.clips])
        self.chances = windows / windows.sum()

    def sample(
        self, rng: np.random.Generator, times: Tensor, input_crop: int, scale: float, target_shrink: float
    ) -> Batch:
        """See `Source`. The original's crop is floor(input_crop target_shrink scale) wide."""
        side = int(input_crop * target_shrink * scale + 1e-9)
        clip = self.clips[rng.choice(len(self.clips), p=self.chances)]
        width, height = clip.size
        if side > min(width, height):
            raise DataError(f"clip {clip.name} is {_text(clip.size)}, smaller than a crop of {side} pixels")
        start = rng.integers(len(clip.frames) - FRAMES + 1)
        left, top = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))

        def read(number: int) -> Tensor:
            image = read_crop(clip.frames[start + number], clip.size, left, top, side)
            image = image.flip(-1) if flip else image
            return image.rot90(turns, (-2, -1))

        wanted = [round(t * (FRAMES - 1)) for t in times.tolist()]
        frames = {number: read(number) for number in {0, FRAMES - 1, *wanted}}
        inputs, targets = (torch.stack([frames[n] for n in ns]) for ns in ((0, FRAMES - 1), wanted))
        low, high = 1 / (target_shrink * scale), 1 / target_shrink
        assert resized_length(side, low) == input_crop
        return {"frames": resize(inputs, low), "target": resize(targets, high), "times": times}
