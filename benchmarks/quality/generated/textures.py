"""Pictures to look at: the photographs that no training sees, and one of overlapping shapes."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageDraw

from vinr_engine.training import photographs

from .canvas import Floats, view


@functools.lru_cache(maxsize=2)
def texture(name: str) -> Floats:
    """The held-out photograph chelsea (451x300) or coffee (600x400): [h, w, 3] in [0, 1]. DataError if missing."""
    return np.ascontiguousarray(photographs.sizes(f"skimage/{name}.png")[0].permute(1, 2, 0).numpy() / np.float32(255))


def photo(name: str, zoom: float, shift: tuple[float, float] = (0.0, 0.0), angle: float = 0.0) -> Floats:
    """A frame that looks at the middle of a photograph, shifted by pixels of the frame. See `canvas.view`."""
    pixels = texture(name)
    h, w = pixels.shape[:2]
    return view(pixels, (w / 2 + zoom * shift[0], h / 2 + zoom * shift[1]), zoom, angle)


def leaf_texture(rng: np.random.Generator) -> Floats:
    """Discs of all sizes that hide each other, shaded and grained: statistics near those of photographs.

    [600, 800, 3]. Source: A. Lee, D. Mumford, J. Huang, "Occlusion models for natural images", 2001.
    """
    fine, size = 2, (800, 600)
    image = Image.new("RGB", (size[0] * fine, size[1] * fine), (90, 100, 80))
    pen = ImageDraw.Draw(image)
    for _ in range(2600):
        # the size's density falls with its cube, as in the source, between 4 and 120 pixels
        radius = fine * 4 / np.sqrt(1 - rng.uniform(0, 1 - (4 / 120) ** 2))
        x, y = rng.uniform(-40, np.array(size) + 40) * fine
        base = rng.beta(1.2, 1.2) * 255
        colour = np.clip(base + rng.normal(0, 30, 3), 0, 255).astype(int)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), (int(colour[0]), int(colour[1]), int(colour[2])))
    pixels = np.asarray(image.reduce(fine), np.float32) / 255
    light = 1.0
    for scale in (3, 9, 27):
        low = rng.normal(size=(size[1] // scale + 2, size[0] // scale + 2)).astype(np.float32)
        light = light + 0.045 * np.asarray(Image.fromarray(low).resize(size, Image.Resampling.BICUBIC))
    return np.asarray(np.clip(pixels * np.asarray(light)[..., None], 0, 1), np.float32)


def leaves(rng: np.random.Generator) -> Floats:
    """A frame of them."""
    pixels = leaf_texture(rng)
    return view(pixels, (400, 300), 1.5)
