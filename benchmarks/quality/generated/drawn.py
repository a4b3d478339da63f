"""Drawn clips: cartoons with outlines, text that scrolls, windows and a cursor on a screen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .canvas import FINE, FRAMES, HEIGHT, WIDTH, Canvas, Floats, reduced
from .plain import Frames, Rng
from .textures import photo

TEXT = (
    "light falls on the hill and a river turns slowly under old trees while the town sleeps; nobody counts boats "
    "Time 12:45, page 7 of 30, total 1,284.50 EUR (see below) & more... quick brown fox jumps over lazy dogs VIDEO"
)
Ink = tuple[int, int, int]


def cartoon(speed: float, camera: float = 0.0) -> Callable[[Rng], Frames]:
    """A figure that walks by `speed` pixels a frame through flat hills, which a camera passes at `camera` pixels."""

    def draw(rng: Rng) -> Frames:
        sun, hop = rng.uniform(150, 220), rng.uniform(2, 4)
        for n in range(FRAMES):
            canvas = Canvas((0.55, 0.8, 0.95))
            canvas.draw(canvas.disc(sun - 0.1 * camera * n, 38, 20), (1, 0.87, 0.35))
            x = canvas.x + camera * n
            canvas.draw(np.asarray(canvas.y - 105 - 18 * np.sin((x - 0.4 * camera * n) / 34)), (0.45, 0.7, 0.4))
            canvas.draw(np.asarray(canvas.y - 140 - 8 * np.sin(x / 21)), (0.3, 0.55, 0.25))
            for post in range(8):
                canvas.draw(canvas.box(post * 52 - camera * n + 10, 141, 7, 34), (0.6, 0.42, 0.25))
            _figure(canvas, 128 + speed * (n - FRAMES // 2), 118 - hop * abs(np.sin(0.7 * n)), 0.7 * n)
            yield canvas.picture()

    return draw


def _figure(canvas: Canvas, x: float, y: float, stride: float) -> None:
    swing = 11 * np.sin(stride)
    for side in (1, -1):
        canvas.draw(canvas.capsule(x, y + 22, x + side * swing, y + 50, 5), (0.2, 0.25, 0.6))
        canvas.draw(canvas.capsule(x, y - 2, x - side * swing - 4 * side, y + 20, 4), (0.95, 0.75, 0.6))
    canvas.draw(canvas.capsule(x, y, x, y + 20, 12), (0.85, 0.2, 0.2))
    canvas.draw(canvas.disc(x + 1, y - 24, 16), (0.97, 0.8, 0.66))
    for eye in (2.0, 10.0):
        canvas.draw(canvas.disc(x + eye, y - 27, 4), (1, 1, 1), 1.2)
        canvas.fill(canvas.disc(x + eye + 1.2, y - 26.5, 1.6), (0, 0, 0))
    canvas.fill(canvas.capsule(x + 2, y - 16, x + 10, y - 17, 0.8), (0.4, 0.1, 0.1))


def line_art(rng: Rng) -> Frames:
    """Thin black lines on paper: shapes that turn and rings that grow."""
    for n in range(FRAMES):
        canvas = Canvas((0.97, 0.96, 0.92), 3)
        for place, (cx, cy) in enumerate(((62, 58), (190, 60), (128, 140))):
            for ring in range(4):
                box = canvas.box(cx, cy, 24 + 22 * ring, 14 + 18 * ring, np.radians(3 * n * (-1) ** ring + 40 * place))
                disc = canvas.disc(cx, cy, 10 + 11 * ring + 0.6 * n)
                shape = disc if place == 2 else box
                canvas.fill(np.asarray(0.55 - np.abs(shape)), (0.05, 0.05, 0.08))
        yield canvas.picture()


def lines(rng: Rng, count: int, words: int = 9) -> list[str]:
    """Lines of text."""
    return [" ".join(rng.choice(TEXT.split(), words)) for _ in range(count)]


def page(
    text: list[str], size: tuple[float, float], letter: float, ink: Ink, paper: Ink, margin: float = 6
) -> Image.Image:
    """Lines of letters of that height on paper of that size in pixels, FINE dots a pixel."""
    image = Image.new("RGB", (round(size[0] * FINE), round(size[1] * FINE)), paper)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(letter * FINE)
    for n, line in enumerate(text):
        pen.text((margin * FINE, (margin + 1.35 * letter * n) * FINE), line, ink, font)
    return image


def scroll(letter: float, dx: float, dy: float, ink: Ink, paper: Ink) -> Callable[[Rng], Frames]:
    """A page whose text moves by (-dx, -dy) pixels a frame: multiples of 1 / FINE."""

    def draw(rng: Rng) -> Frames:
        size = WIDTH + abs(dx) * FRAMES, HEIGHT + abs(dy) * FRAMES
        text = lines(rng, int(size[1] / letter / 1.35), int(size[0] / letter / 2) + 2)
        image = page(text, size, letter, ink, paper, -20)
        for n in range(FRAMES):
            yield reduced(image, dx * n, dy * n)

    return draw


def ticker(rng: Rng) -> Frames:
    """News that run to the left by 5.5 pixels a frame on a still picture."""
    still, band = photo("coffee", 1.4), 26
    image = page([" ".join(lines(rng, 4))], (WIDTH + 60, HEIGHT), 15, (255, 255, 255), (20, 40, 120), 3)
    for n in range(FRAMES):
        picture = still.copy()
        picture[-band - 8 : -8] = reduced(image, 5.5 * n)[:band]
        yield picture


def _window(rng: Rng, size: tuple[int, int], letter: float, dark: bool) -> Image.Image:
    ink, paper = ((220, 225, 220), (30, 32, 38)) if dark else ((20, 20, 25), (250, 250, 250))
    image = page(lines(rng, 30, 12), size, letter, ink, paper, 18)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, image.width, 13 * FINE), (70, 90, 140) if dark else (200, 205, 215))
    title = (255, 255, 255) if dark else (0, 0, 0)
    pen.text((5 * FINE, 2 * FINE), "Untitled 1", title, ImageFont.load_default(9 * FINE))
    for n, colour in enumerate(((230, 80, 70), (240, 190, 60), (90, 190, 90))):
        x = image.width - (10 + 11 * n) * FINE
        pen.ellipse((x - 3.5 * FINE, 3 * FINE, x + 3.5 * FINE, 10 * FINE), colour)
    pen.rectangle((0, 0, image.width - 1, image.height - 1), outline=(90, 90, 90), width=FINE)
    return image


def _desktop(rng: Rng) -> Image.Image:
    image = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), (38, 92, 110))
    image.paste(_window(rng, (150, 110), 9, False), (12 * FINE, 14 * FINE))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 178 * FINE, image.width, image.height), (45, 45, 50))
    for n in range(5):
        left = (6 + 16 * n) * FINE
        pen.rectangle((left, 180 * FINE, left + 10 * FINE, 190 * FINE), (120 + 25 * n, 180 - 20 * n, 90))
    return image


def window(dx: float, dy: float) -> Callable[[Rng], Frames]:
    """A window with text that somebody drags over another, by (dx, dy) pixels a frame: multiples of 1 / FINE."""

    def draw(rng: Rng) -> Frames:
        desktop, front = _desktop(rng), _window(rng, (120, 84), 10, True)
        for n in range(FRAMES):
            image = desktop.copy()
            image.paste(front, (round((70 + dx * n) * FINE), round((52 + dy * n) * FINE)))
            yield reduced(image)

    return draw


def cursor(speed: float) -> Callable[[Rng], Frames]:
    """An arrow that crosses a still screen at `speed` pixels a frame: multiples of 1 / FINE."""

    def draw(rng: Rng) -> Frames:
        desktop = _desktop(rng)
        arrow = [(0, 0), (0, 16), (4, 12.5), (7, 18.5), (9.5, 17.5), (6.7, 11.5), (11.5, 11)]
        for n in range(FRAMES):
            image = desktop.copy()
            corners = [((x + 40 + speed * n) * FINE, (y + 50 + 0.5 * speed * n) * FINE) for x, y in arrow]
            ImageDraw.Draw(image).polygon(corners, (255, 255, 255), (0, 0, 0), FINE)
            yield reduced(image)

    return draw


def typing(rng: Rng) -> Frames:
    """A letter more in every frame on a still page."""
    text = " ".join(lines(rng, 1, 12))
    above = lines(rng, 8)
    for n in range(FRAMES):
        yield reduced(page([*above, text[: 10 + n]], (WIDTH, HEIGHT), 13, (25, 25, 30), (252, 251, 248)))


def still_page(rng: Rng) -> Frames:
    """A page that stands still."""
    picture: Floats = reduced(page(lines(rng, 14), (WIDTH, HEIGHT), 11, (25, 25, 30), (252, 251, 248)))
    return (picture for _ in range(FRAMES))
