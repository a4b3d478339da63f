"""Pictures in motion: pans, zooms, turns, layers, grain, water, and small things that fly."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from vinr_engine.training.photographs import HELD_OUT
from vinr_engine.training.procedural import STEADY, Scene

from .canvas import FRAMES, HEIGHT, WIDTH, Canvas, Floats, mixed, points, pooled, view
from .plain import Frames, Rng
from .textures import leaf_texture, photo

MIDDLE = FRAMES // 2


def pan(name: str, dx: float, dy: float = 0.0, zoom: float = 1.4) -> Callable[[Rng], Frames]:
    """A photograph whose content moves by (-dx, -dy) pixels a frame."""

    def draw(rng: Rng) -> Frames:
        return (photo(name, zoom, (dx * (n - MIDDLE), dy * (n - MIDDLE))) for n in range(FRAMES))

    return draw


def camera(dx: float = 0.0, dy: float = 0.0, grow: float = 0.0, turn: float = 0.0) -> Callable[[Rng], Frames]:
    """A camera over shapes: pixels, parts of the size, and degrees a frame."""

    def draw(rng: Rng) -> Frames:
        pixels = leaf_texture(rng)
        for n in range(FRAMES):
            step = n - MIDDLE
            centre = 400 + 1.5 * dx * step, 300 + 1.5 * dy * step
            yield view(pixels, centre, 1.5 * (1 - grow) ** step, np.radians(turn * step))

    return draw


def turned(name: str, grow: float = 0.0, turn: float = 0.0) -> Callable[[Rng], Frames]:
    """A photograph that grows by a part of its size and turns by degrees, every frame."""

    def draw(rng: Rng) -> Frames:
        for n in range(FRAMES):
            yield photo(name, 1.3 * (1 - grow) ** (n - MIDDLE), (0.0, 0.0), np.radians(turn * (n - MIDDLE)))

    return draw


def _layered(scene: Scene) -> bool:
    """Some scenes are one photograph alone, stand still, fade or dissolve: other clips are for that."""
    steady = scene.light == STEADY and scene.veil is None
    return steady and len(scene.layers) >= 3 and any(bool(layer.motion.shift.any()) for layer in scene.layers)


def layers(largest: float) -> Callable[[Rng], Frames]:
    """Photographs cut out and moved over each other, by up to `largest` pixels within the clip."""

    def draw(rng: Rng) -> Frames:
        scene = Scene(rng, WIDTH, HELD_OUT, largest)
        while not _layered(scene):
            scene = Scene(rng, WIDTH, HELD_OUT, largest)
        top = (WIDTH - HEIGHT) // 2
        for n in range(FRAMES):
            frame = scene.frame(n / (FRAMES - 1))[:, top : top + HEIGHT]
            yield frame.permute(1, 2, 0).numpy()

    return draw


def grain(strength: float, speed: float) -> Callable[[Rng], Frames]:
    """A film's grain, new in every frame and strongest in the middle tones, over a pan of `speed` pixels a frame."""

    def draw(rng: Rng) -> Frames:
        for n in range(FRAMES):
            picture = photo("chelsea", 1.4, (speed * (n - MIDDLE), 0.0))
            raw = rng.normal(size=(HEIGHT + 1, WIDTH + 1)).astype(np.float32)
            spots = 0.5 * (raw[1:, 1:] + raw[1:, :-1] + raw[:-1, 1:] + raw[:-1, :-1])
            light = picture.mean(-1, keepdims=True)
            yield picture + np.float32(strength) * spots[..., None] * (0.25 + 3 * light * (1 - light))

    return draw


def objects(count: int, speed: float, size: float, over: str) -> Callable[[Rng], Frames]:
    """Small balls that fly at about `speed` pixels a frame, each its own way, over a still "photo" or "sky"."""

    def draw(rng: Rng) -> Frames:
        direction = rng.uniform(0, 2 * np.pi, count)
        velocity = (speed * rng.uniform(0.6, 1.2, count) * np.stack([np.cos(direction), np.sin(direction)])).T
        # all are inside halfway through the clip
        middle = rng.uniform((40, 40), (WIDTH - 40, HEIGHT - 40), (count, 2))
        tints, radii = rng.uniform(0, 1, (count, 3)), size * rng.uniform(0.7, 1.3, count)
        _, y = points(2)
        if over == "sky":
            background = mixed((0.35, 0.55, 0.85), (0.8, 0.88, 0.95), np.asarray(y / HEIGHT))
        else:
            background = np.repeat(np.repeat(photo("coffee", 1.4), 2, 0), 2, 1)
        for n in range(FRAMES):
            canvas = Canvas(background)
            for at, tint, radius in zip(middle + velocity * (n - MIDDLE), tints, radii, strict=True):
                canvas.fill(canvas.disc(*at, radius), tint)
            yield canvas.picture()

    return draw


def water(rng: Rng) -> Frames:
    """Waves of many lengths, each at the speed that its length has on deep water, seen by the light on their slopes."""
    x, y = points(2)
    count = 26
    length = np.exp(rng.uniform(np.log(9), np.log(90), count))
    direction = rng.normal(0.5, 0.7, count)
    wave = 2 * np.pi / length
    phase = rng.uniform(0, 2 * np.pi, count)
    pace = 1.1 * np.sqrt(wave)  # radians a frame
    for n in range(FRAMES):
        slope = np.zeros_like(x)
        for kx, ky, p in zip(wave * np.cos(direction), wave * np.sin(direction), phase - pace * n, strict=True):
            slope += 0.11 * np.cos(np.float32(kx) * x + np.float32(ky) * y + np.float32(p))
        shine = np.clip(slope - 0.55, 0, 1) ** 2
        colour = mixed((0.02, 0.14, 0.22), (0.35, 0.62, 0.7), np.clip(0.45 + 0.6 * slope, 0, 1))
        yield pooled(np.asarray(colour + np.float32(2.5) * shine[..., None], np.float32))


def pattern(kind: str, period: float, dx: float, dy: float = 0.0, angle: float = 0.0) -> Callable[[Rng], Frames]:
    """Hard-edged "stripes", "checkers" or "bricks" of that period in pixels, moving by (dx, dy) pixels a frame."""

    def draw(rng: Rng) -> Frames:
        x, y = points(6)
        c, s = math.cos(angle), math.sin(angle)
        tint = rng.uniform(0.75, 1, (64, 64)).astype(np.float32)
        for n in range(FRAMES):
            u = (c * (x - dx * n) + s * (y - dy * n)) / period
            v = (c * (y - dy * n) - s * (x - dx * n)) / period
            yield pooled(_cells(kind, u, v, tint))

    return draw


def _cells(kind: str, u: Floats, v: Floats, tint: Floats) -> Floats:
    """Colours [..., 3] of a pattern of period 1 at u, v."""
    if kind == "bricks":
        row = np.floor(2 * v).astype(int)
        shifted = u + 0.5 * (row % 2)
        column = np.floor(shifted).astype(int)
        mortar = (shifted % 1 < 0.09) | ((2 * v) % 1 < 0.18)
        light = tint[row % 64, column % 64]
        return np.where(mortar[..., None], np.float32(0.72), light[..., None] * np.float32([0.66, 0.3, 0.22]))
    on = (np.floor(2 * u) + (np.floor(2 * v) if kind == "checkers" else 0)) % 2 < 1
    return np.where(on[..., None], np.float32([0.88, 0.85, 0.8]), np.float32([0.16, 0.2, 0.3]))
