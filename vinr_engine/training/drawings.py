"""Pictures that nobody took: text, lines, flat areas with outlines, gradients, stars, ripples, patterns."""

from __future__ import annotations

import math
import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

FINE = 3  # drawn that much larger, then shrunk: Pillow's shapes have hard edges


def draw(rng: np.random.Generator, side: int) -> Tensor:
    """[3, side, side] in [0, 1]"""
    kinds = (_text, _shapes, _lines, _gradient, _stars, _ripples, _pattern)
    return kinds[rng.integers(len(kinds))](rng, side)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(n) for n in rng.integers(0, 256, 3))
    return red, green, blue


def _finished(image: Image.Image, side: int) -> Tensor:
    small = image.resize((side, side), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float() / 255


def _canvas(rng: np.random.Generator, side: int) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    n = FINE * side
    plain = (255, 255, 255) if rng.random() < 0.3 else _colour(rng)
    image = Image.new("RGB", (n, n), plain)
    return image, ImageDraw.Draw(image), n


def _text(rng: np.random.Generator, side: int) -> Tensor:
    image, pen, n = _canvas(rng, side)
    size = int(FINE * rng.uniform(7, 32))
    font = ImageFont.load_default(size)
    letters = np.array(list(string.ascii_letters + string.digits + "    .,:"))
    ink = (0, 0, 0) if rng.random() < 0.4 else _colour(rng)
    for y in range(-size // 2, n, int(size * rng.uniform(1.1, 1.6))):
        pen.text((int(rng.integers(-size, size)), y), "".join(rng.choice(letters, 3 * n // size)), ink, font)
    return _finished(image, side)


def _shapes(rng: np.random.Generator, side: int) -> Tensor:
    image, pen, n = _canvas(rng, side)
    outline = int(FINE * rng.uniform(0, 3))
    for _ in range(rng.integers(3, 14)):
        x, y = rng.uniform(-0.2, 1.0, 2) * n
        w, h = rng.uniform(0.05, 0.7, 2) * n
        ink = _colour(rng) if outline else None
        if rng.random() < 0.4:
            pen.ellipse((x, y, x + w, y + h), _colour(rng), ink, outline)
        elif rng.random() < 0.5:
            pen.rectangle((x, y, x + w, y + h), _colour(rng), ink, outline)
        else:
            corners = [(x + float(a) * w, y + float(b) * h) for a, b in rng.uniform(0, 1, (rng.integers(3, 7), 2))]
            pen.polygon(corners, _colour(rng), ink, max(outline, 1))
    return _finished(image, side)


def _lines(rng: np.random.Generator, side: int) -> Tensor:
    image, pen, n = _canvas(rng, side)
    for _ in range(rng.integers(4, 40)):
        points = [(float(x), float(y)) for x, y in rng.uniform(-0.1, 1.1, (rng.integers(2, 5), 2)) * n]
        pen.line(points, _colour(rng), int(FINE * rng.uniform(0.5, 5)), "curve")
    return _finished(image, side)


def _grid(side: int) -> tuple[Tensor, Tensor]:
    ticks = torch.arange(side) + 0.5
    return ticks[:, None], ticks[None, :]


def _mixed(rng: np.random.Generator, values: Tensor) -> Tensor:
    """values [side, side] in [0, 1] as a way from one colour to another."""
    one, other = torch.from_numpy(rng.uniform(0, 1, (2, 3, 1, 1))).float()
    return (one + (other - one) * values).clamp(0, 1)


def _gradient(rng: np.random.Generator, side: int) -> Tensor:
    y, x = _grid(side)
    angle = rng.uniform(0, 2 * math.pi)
    if rng.random() < 0.5:
        values = (math.cos(angle) * x + math.sin(angle) * y) / side / 2 + 0.5
    else:
        centre = rng.uniform(-0.5, 1.5, 2) * side
        values = ((x - centre[0]).square() + (y - centre[1]).square()).sqrt() / side / 1.5
    return _mixed(rng, values)


def _stars(rng: np.random.Generator, side: int) -> Tensor:
    y, x = _grid(side)
    sky = torch.zeros(side, side)
    for cy, cx in rng.uniform(0, side, (rng.integers(5, 60), 2)):
        sky += rng.uniform(0.1, 1) * torch.exp(-((x - cx).square() + (y - cy).square()) / rng.uniform(0.5, 6))
    return (sky * torch.from_numpy(rng.uniform(0.5, 1, (3, 1, 1))).float() + rng.uniform(0, 0.1)).clamp(0, 1)


def _ripples(rng: np.random.Generator, side: int) -> Tensor:
    y, x = _grid(side)
    values = torch.zeros(side, side)
    count = int(rng.integers(1, 6))
    for _ in range(count):
        angle, period = rng.uniform(0, 2 * math.pi), math.exp(rng.uniform(math.log(3), math.log(60)))
        values += torch.sin(2 * math.pi * (math.cos(angle) * x + math.sin(angle) * y) / period + rng.uniform(0, 6))
    return _mixed(rng, 0.5 + values / 2 / count)


def _pattern(rng: np.random.Generator, side: int) -> Tensor:
    return pattern(rng, side)[0]


def pattern(rng: np.random.Generator, side: int) -> tuple[Tensor, float]:
    """Stripes, checkers or bricks, and the shortest way after which they look the same, in pixels: of bricks, which
    seldom do, at most that."""
    image, pen, n = _canvas(rng, side)
    h, w = (FINE * rng.uniform(2, 24, 2)).tolist()
    kind, ink = rng.integers(3), _colour(rng)
    for row in range(math.ceil(n / h)):
        shift = w * (row % 2) if kind == 1 else w * 0.5 * (row % 2)
        for column in range(-1, math.ceil(n / w / 2) + 1):
            x = 2 * w * column + shift
            if kind == 0:
                pen.rectangle((x, 0, x + w, n), ink)
            elif kind == 1:
                pen.rectangle((x, row * h, x + w, row * h + h), ink)
            else:
                pen.rectangle((x, row * h, x + 1.9 * w, row * h + 0.85 * h), ink)
    spun = image.rotate(float(rng.uniform(0, 90)), Image.Resampling.BICUBIC) if rng.random() < 0.5 else image
    period = (2 * w, min(2 * w, 2 * h, math.hypot(w, h)), min(2 * w, h))[kind] / FINE
    return _finished(spun, side), period
