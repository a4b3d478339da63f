"""Tiny true clips on disk."""

import numpy as np
from PIL import Image

from video.clips import panning


def folder(path, count=5, width=48, height=40, seed=0, names="{:04d}.png", step=2):
    """A folder of frames of one moving, rough scene; returns it with its pictures [count, h, w, 3]."""
    path.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(-40, 41, (height, width + count * step, 1))
    smooth = panning(count, width, height, seed, step)
    pictures = [
        np.clip(picture + rough[:, n * step : n * step + width], 0, 255).astype(np.uint8)
        for n, picture in enumerate(smooth)
    ]
    for n, picture in enumerate(pictures):
        Image.fromarray(picture).save(path / names.format(n))
    return path, np.stack(pictures)
