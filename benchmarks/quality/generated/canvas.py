"""What the generators draw with: pixels as means over their area, so that motion by parts of a pixel is exact.

Coordinates are in pixels of the frame, x to the right and y down; pixel (i, j) covers [j, j + 1] x [i, i + 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

WIDTH, HEIGHT, FRAMES = 256, 192, 9
FINE = 8
"""Dots a pixel, each way, of what Pillow draws; motion by multiples of 1 / FINE pixel is exact there."""

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Colour = Sequence[float]
"""Red, green and blue in [0, 1]."""


def points(samples: int) -> tuple[Floats, Floats]:
    """x [HEIGHT samples, WIDTH samples] and y alike: the middles of samples x samples parts of every pixel."""
    ys = (np.arange(HEIGHT * samples, dtype=np.float32) + 0.5) / samples
    xs = (np.arange(WIDTH * samples, dtype=np.float32) + 0.5) / samples
    y, x = np.meshgrid(ys, xs, indexing="ij")
    return x, y


def pooled(samples: Floats) -> Floats:
    """[HEIGHT n, WIDTH n, ...] -> [HEIGHT, WIDTH, ...]: means over each pixel's n x n samples."""
    n = samples.shape[0] // HEIGHT
    blocks = samples.reshape(HEIGHT, n, WIDTH, n, *samples.shape[2:])
    return np.asarray(blocks.mean((1, 3), dtype=np.float32))


def flat(colour: Colour) -> Floats:
    """[HEIGHT, WIDTH, 3] of one colour."""
    return np.broadcast_to(np.asarray(colour, np.float32), (HEIGHT, WIDTH, 3)).copy()


def mixed(a: Floats | Colour, b: Floats | Colour, alpha: Floats) -> Floats:
    """From a to b, colours or pictures [..., 3], by alpha [...] in [0, 1]."""
    low, high = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return np.asarray(low + (high - low) * alpha[..., None])


class Canvas:
    """A picture of samples x samples points a pixel, painted with shapes that are given by signed distances.

    A distance is in pixels, positive inside the shape, at the points `x`, `y`, both [HEIGHT samples, WIDTH samples].
    """

    def __init__(self, background: Colour | Floats, samples: int = 2) -> None:
        """`background`: a colour, or colours [HEIGHT samples, WIDTH samples, 3]."""
        self.samples = samples
        self.x, self.y = points(samples)
        self._colours = np.broadcast_to(np.asarray(background, np.float32), (*self.x.shape, 3)).copy()

    def fill(self, distance: Floats, colour: Colour | Floats) -> None:
        """Paint the shape's inside, smooth over the width of a point."""
        alpha = np.clip(0.5 + distance.astype(np.float32) * np.float32(self.samples), 0, 1)
        # most shapes are small: only rows and columns that they reach are painted
        rows, columns = (np.flatnonzero(alpha.any(axis)) for axis in (1, 0))
        if not len(rows):
            return
        part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        shown = np.asarray(colour, np.float32)
        self._colours[part] = mixed(self._colours[part], shown if shown.ndim == 1 else shown[part], alpha[part])

    def draw(self, distance: Floats, colour: Colour, outline: float = 1.6, ink: Colour = (0.08, 0.06, 0.1)) -> None:
        """Paint the inside, and an outline of that many pixels around it."""
        self.fill(distance, colour)
        self.fill(np.asarray(outline / 2 - np.abs(distance)), ink)

    def picture(self) -> Floats:
        """[HEIGHT, WIDTH, 3]"""
        return pooled(self._colours)

    def disc(self, cx: float, cy: float, radius: float) -> Floats:
        """Distance of a disc."""
        return np.asarray(float(radius) - np.hypot(self.x - float(cx), self.y - float(cy)))

    def capsule(self, ax: float, ay: float, bx: float, by: float, radius: float) -> Floats:
        """Distance of all that is nearer than `radius` to the line from a to b."""
        ax, ay = float(ax), float(ay)  # numpy's own numbers would make float64 of everything
        dx, dy = float(bx) - ax, float(by) - ay
        along = np.clip(((self.x - ax) * dx + (self.y - ay) * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
        return np.asarray(radius - np.hypot(self.x - ax - along * dx, self.y - ay - along * dy))

    def box(self, cx: float, cy: float, wide: float, high: float, angle: float = 0.0) -> Floats:
        """Distance of a box that is `wide` x `high` and turned by `angle`."""
        c, s = math.cos(angle), math.sin(angle)
        u = np.abs((self.x - cx) * c + (self.y - cy) * s) - wide / 2
        v = np.abs((self.y - cy) * c - (self.x - cx) * s) - high / 2
        outside = np.hypot(np.maximum(u, 0), np.maximum(v, 0))
        return np.asarray(-(outside + np.minimum(np.maximum(u, v), 0)))


def view(texture: Floats, centre: tuple[float, float], zoom: float = 1.0, angle: float = 0.0) -> Floats:
    """A frame [HEIGHT, WIDTH, 3] that looks at a texture [h, w, 3].

    Args:
        centre: x and y in texture pixels of the frame's middle.
        zoom: texture pixels to a pixel of the frame. From 1.3 up, detail is as fine as pixels can hold.
        angle: radians.
    """
    samples = 3
    x, y = points(samples)
    x, y = (x - WIDTH / 2) * zoom, (y - HEIGHT / 2) * zoom
    c, s = math.cos(angle), math.sin(angle)
    h, w = texture.shape[:2]
    u, v = 2 * (centre[0] + c * x - s * y) / w - 1, 2 * (centre[1] + s * x + c * y) / h - 1
    grid = torch.from_numpy(np.stack([u, v], -1).astype(np.float32))[None]
    image = torch.from_numpy(texture).permute(2, 0, 1)[None]
    seen = F.grid_sample(image, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return np.clip(pooled(seen[0].permute(1, 2, 0).numpy()), 0, 1)


def reduced(image: Image.Image, left: float = 0.0, top: float = 0.0) -> Floats:
    """A frame [HEIGHT, WIDTH, 3] out of an RGB image of FINE dots a pixel, from `left`, `top` in pixels on."""
    x, y = round(left * FINE), round(top * FINE)
    part = image.crop((x, y, x + WIDTH * FINE, y + HEIGHT * FINE)).reduce(FINE)
    return np.asarray(part, np.float32) / 255
