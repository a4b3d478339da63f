"""Clips with little in them: flat colours, gradients, noise, stars, fades and flicker."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .canvas import FRAMES, HEIGHT, WIDTH, Canvas, Colour, Floats, flat, mixed, points
from .textures import leaves, photo

Rng = np.random.Generator
Frames = Iterator[Floats]
"""FRAMES pictures [HEIGHT, WIDTH, 3], which `suite` clips to [0, 1] and rounds to 8 bits."""


def same(colour: Colour) -> Callable[[Rng], Frames]:
    """One colour all the time."""
    return lambda rng: (flat(colour) for _ in range(FRAMES))


def linear(low: Colour, high: Colour, speed: float = 0.0) -> Callable[[Rng], Frames]:
    """A slanted gradient from `low` to `high`, which moves by `speed` pixels a frame."""

    def draw(rng: Rng) -> Frames:
        x, y = points(1)
        for n in range(FRAMES):
            yield mixed(low, high, np.clip((x + 0.6 * y - speed * n) / (WIDTH + 0.6 * HEIGHT), 0, 1))

    return draw


def radial(low: Colour, high: Colour, speed: float = 0.0) -> Callable[[Rng], Frames]:
    """Bright in the middle, which moves to the right by `speed` pixels a frame."""

    def draw(rng: Rng) -> Frames:
        x, y = points(1)
        for n in range(FRAMES):
            distance = np.hypot(x - WIDTH / 2 - speed * (n - FRAMES // 2), y - HEIGHT / 2)
            yield mixed(high, low, np.clip(distance / (0.7 * WIDTH), 0, 1) ** 1.5)

    return draw


def noise(level: float, deviation: float, correlated: bool = False) -> Callable[[Rng], Frames]:
    """Noise around a grey `level`, new in every frame; `correlated` noise is of 2 pixels' size."""

    def draw(rng: Rng) -> Frames:
        for _ in range(FRAMES):
            grain = rng.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
            if correlated:
                grain = 0.5 * (grain + np.roll(grain, 1, 0) + np.roll(grain, 1, 1) + np.roll(grain, (1, 1), (0, 1)))
            yield flat([level] * 3) + np.float32(deviation) * grain

    return draw


def still_noise(level: float, deviation: float) -> Callable[[Rng], Frames]:
    """One picture of noise, all the time."""

    def draw(rng: Rng) -> Frames:
        picture = flat([level] * 3) + np.float32(deviation) * rng.normal(size=(HEIGHT, WIDTH, 1)).astype(np.float32)
        return (picture for _ in range(FRAMES))

    return draw


def dim(rng: Rng) -> Frames:
    """A scene at night that pans by 1.4 pixels a frame, with a camera's noise."""
    for n in range(FRAMES):
        picture = 0.09 * photo("coffee", 1.4, (1.4 * (n - FRAMES // 2), 0.0)) ** 1.2
        yield picture + rng.normal(0, 1.5 / 255, picture.shape).astype(np.float32) * (0.4 + np.sqrt(picture))


def fade(colour: Colour, back: bool = False, speed: float = 0.0) -> Callable[[Rng], Frames]:
    """A picture that turns into a colour, or comes out of it, and pans by `speed` pixels a frame meanwhile."""

    def draw(rng: Rng) -> Frames:
        for n in range(FRAMES):
            picture = photo("chelsea", 1.4, (speed * (n - FRAMES // 2), 0.0))
            amount = (FRAMES - 1 - n if back else n) / (FRAMES - 1)
            yield mixed(picture, colour, np.full((HEIGHT, WIDTH), amount, np.float32))

    return draw


def cross_fade(rng: Rng) -> Frames:
    """One picture turns into another."""
    first, second = photo("chelsea", 1.4), leaves(rng)
    for n in range(FRAMES):
        yield mixed(first, second, np.full((HEIGHT, WIDTH), n / (FRAMES - 1), np.float32))


def flicker(speed: float = 0.0) -> Callable[[Rng], Frames]:
    """Every frame has a brightness of its own, as under a bad lamp; the picture pans by `speed` pixels a frame."""

    def draw(rng: Rng) -> Frames:
        for n in range(FRAMES):
            gain = rng.uniform(0.55, 1.0)
            yield np.float32(gain) * photo("coffee", 1.4, (speed * (n - FRAMES // 2), 0.0))

    return draw


def flash(rng: Rng) -> Frames:
    """A still picture, lit by a flash in one kept frame, whose light takes a frame to go."""
    light = [0, 0, 0, 0, 0.6, 0.25, 0, 0, 0]
    picture = photo("chelsea", 1.4)
    for n in range(FRAMES):
        yield mixed(picture, (1, 1, 1), np.full((HEIGHT, WIDTH), light[n], np.float32))


def stars(speed: float) -> Callable[[Rng], Frames]:
    """A night sky of points, as sharp as a lens makes them, which moves by `speed` pixels a frame."""

    def draw(rng: Rng) -> Frames:
        reach = WIDTH + int(abs(speed) * FRAMES) + 8
        count = 420
        places = rng.uniform((-4, 0), (reach, HEIGHT), (count, 2))
        light = np.minimum(rng.pareto(1.3, count) * 0.12 + 0.04, 1.0)
        tints = 1 - rng.uniform(0, 0.35, (count, 3)) * rng.integers(0, 2, (count, 1))
        ys, xs = np.arange(HEIGHT) + 0.5, np.arange(WIDTH) + 0.5
        for n in range(FRAMES):
            # a Gaussian spot is a product of one in x and one in y, and all spots together are one matrix product
            across = np.exp(-((xs - (places[:, :1] - speed * n)) ** 2) / (2 * 0.85**2))
            down = np.exp(-((ys - (places[:, 1:] - 0.25 * speed * n)) ** 2) / (2 * 0.85**2))
            sky = [(down * (light * tint)[:, None]).T @ across for tint in tints.T]
            yield (np.stack(sky, -1) + 0.012).astype(np.float32)

    return draw


def soft_shapes(rng: Rng) -> Frames:
    """Out of focus: discs with wide, soft borders drift over a dark gradient."""
    places = rng.uniform((0, 0), (WIDTH, HEIGHT), (14, 2))
    drift = rng.uniform(-1.5, 1.5, (14, 2))
    tints, radii = rng.uniform(0.1, 0.7, (14, 3)), rng.uniform(12, 34, 14)
    for n in range(FRAMES):
        canvas = Canvas((0.03, 0.03, 0.05), 1)
        for (x, y), (dx, dy), tint, radius in zip(places, drift, tints, radii, strict=True):
            distance = canvas.disc(x + dx * n, y + dy * n, radius)
            canvas.fill(np.asarray(distance / 12 - 0.5, np.float32), tint)
        yield canvas.picture()
