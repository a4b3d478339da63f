"""Photographs that come inside packages this project pins: content to train on without a download."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vinr_engine.errors import DataError
from vinr_engine.evaluation.resize import resize

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
SHRINKS = (1.0, 0.7, 0.5)  # a photograph shrunk has finer detail a pixel


def _path(name: str) -> Path:
    package, _, file = name.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"procedural data needs the photographs of {package}: pip install 'vinr_engine[train]'")
    path = Path(spec.submodule_search_locations[0], *FOLDERS[package].split("/"), file)
    if not path.is_file():
        raise DataError(f"the installed {package} holds no {path.name}")
    return path


@functools.lru_cache(maxsize=64)
def photograph(name: str, shrink: float = 1.0) -> Tensor:
    """[3, H, W] in [0, 1], `shrink` times its stored size."""
    if shrink != 1.0:
        return resize(photograph(name), shrink).clamp(0, 1)
    with Image.open(_path(name)) as image:
        pixels = np.asarray(image.convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous().float() / 255
