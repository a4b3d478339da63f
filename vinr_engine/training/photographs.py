"""Photographs to train on: those inside packages that this project pins, and those of a folder that is given."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vinr_engine.errors import DataError, reason

FOLDERS = {"skimage": "data", "sklearn": "datasets/images", "matplotlib": "mpl-data/sample_data"}
# How often each is drawn. Pictures of the world count most; textures, text and science add kinds of edges.
TRAINING = {
    "skimage/astronaut.png": 3,
    "skimage/camera.png": 2,
    "skimage/rocket.jpg": 3,
    "skimage/motorcycle_left.png": 3,
    "skimage/coins.png": 1,
    "skimage/brick.png": 1,
    "skimage/grass.png": 1,
    "skimage/gravel.png": 1,
    "skimage/ihc.png": 1,
    "skimage/page.png": 0.5,
    "skimage/retina.jpg": 0.5,
    "skimage/hubble_deep_field.jpg": 0.5,
    "sklearn/china.jpg": 4,
    "sklearn/flower.jpg": 3,
    "matplotlib/grace_hopper.jpg": 3,
}
# Never trained on: for validation, and for the demonstration clip, which is made of these two.
HELD_OUT: dict[str, float] = {"skimage/chelsea.png": 1, "skimage/coffee.png": 1}
SETS: dict[str, dict[str, float]] = {"training": TRAINING, "held_out": HELD_OUT}
OF_A_FOLDER = 3.0
"""How often a photograph of a folder is drawn."""
SUFFIXES = (".jpg", ".jpeg", ".png")

# A photograph shrunk has finer detail a pixel, as small video frames have; larger than this, it is too soft to learn
# from, and it fills the memory.
SHRINKS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.13)
MOST_PIXELS, LEAST_SIDE = 1_600_000, 200


def _path(name: str) -> Path:
    package, _, file = name.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"procedural data needs the photographs of {package}: pip install 'vinr_engine[train]'")
    path = Path(spec.submodule_search_locations[0], *FOLDERS[package].split("/"), file)
    if not path.is_file():
        raise DataError(f"the installed {package} holds no {path.name}")
    return path


def named(photos: str, folder: Path | None = None) -> dict[str, float]:
    """Photographs of a set and of a folder, as `sizes` takes them, and how often each is drawn. Raises DataError."""
    if folder is None:
        return SETS[photos]
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"{folder}: holds no photographs ({', '.join(SUFFIXES)})")
    return {**SETS[photos], **{str(path.absolute()): OF_A_FOLDER for path in found}}


@functools.lru_cache(maxsize=256)
def sizes(name: str) -> list[Tensor]:
    """[3, H, W] of 8 bits, a photograph at each of SHRINKS that leaves it a useful size, the finest first."""
    path = Path(name) if Path(name).is_absolute() else _path(name)
    try:
        with Image.open(path) as image:
            whole = image.convert("RGB")
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from None
    found: list[Tensor] = []
    for shrink in SHRINKS:
        w, h = (round(n * shrink) for n in whole.size)
        useful = w * h <= MOST_PIXELS and min(w, h) >= LEAST_SIDE
        if useful or (shrink == SHRINKS[-1] and not found):
            # Pillow's bicubic is antialiased, and does not need the photograph in floating point.
            small = whole if shrink == 1 else whole.resize((w, h), Image.Resampling.BICUBIC)
            found.append(torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).contiguous())
    return found


def draw(rng: np.random.Generator, names: dict[str, float]) -> Tensor:
    """[3, H, W] of 8 bits: one of the photographs, at one of its sizes."""
    weights = np.array(list(names.values()))
    of_all_sizes = sizes(str(rng.choice(list(names), p=weights / weights.sum())))
    return of_all_sizes[rng.integers(len(of_all_sizes))]
