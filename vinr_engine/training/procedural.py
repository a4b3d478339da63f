"""Scenes made of photographs: layers that move, turn and zoom over each other, exact at any time.

A layer is a photograph seen through a similarity transform whose parameters change linearly in time; all but the
hindmost have an outline and hide what lies behind. Where every pixel comes from is known, so the flow is exact too.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vinr_engine.training import drawings, photographs

HARMONICS = 4  # of a blob's outline
OUTLINES = {"blob": 0.4, "box": 0.3, "bar": 0.1, "edge": 0.2}
DRAWN = 0.2  # of the layers
REPEATED = 0.1  # of the layers: a pattern, moved by less than half its period
PLAIN = 0.35  # of the layers: little is left of their contrast
FAST = 0.35  # of the motions
FIXED = 0.35  # of the scenes: the camera stands still
VEILED = 0.12  # of the scenes


class Motion(NamedTuple):
    """Where a layer lies at time t: scene point p shows layer point zoom(t) R(angle(t)) (p - shift t)."""

    shift: Tensor  # [2], x and y, pixels over the unit of time
    angle: tuple[float, float]  # at t = 0, and its change
    log_zoom: tuple[float, float]

    def matrix(self, t: float) -> Tensor:
        """[2, 2]"""
        angle = self.angle[0] + self.angle[1] * t
        zoom = math.exp(self.log_zoom[0] + self.log_zoom[1] * t)
        c, s = zoom * math.cos(angle), zoom * math.sin(angle)
        return torch.tensor([[c, -s], [s, c]])

    def shortened(self, longest: float) -> Motion:
        """With a shift of at most `longest` pixels. Of a pattern that moves by more than half its period, nothing can
        tell so: it looks as if it went the other way."""
        length = float(self.shift.norm())
        return self if length <= longest else self._replace(shift=self.shift * (longest / length))

    def to_layer(self, points: Tensor, t: float) -> Tensor:
        """Scene points [..., 2] at time t -> layer points."""
        return (points - self.shift * t) @ self.matrix(t).T

    def to_scene(self, points: Tensor, t: float) -> Tensor:
        """Layer points [..., 2] -> where they are in the scene at time t."""
        return points @ torch.linalg.inv(self.matrix(t)).T + self.shift * t


class Layer:
    """A photograph, its place and motion, and its outline; `scene` is the side of the square scene in pixels."""

    def __init__(
        self, rng: np.random.Generator, names: dict[str, float], scene: int, motion: Motion, background: bool
    ) -> None:
        """`names`: photographs, and how often each is drawn."""
        repeated = rng.random() < REPEATED
        drawn = repeated or rng.random() < DRAWN
        if repeated:
            image, period = drawings.pattern(rng, 3 * scene // 2)
            motion = motion.shortened(0.45 * period)
        else:
            image = drawings.draw(rng, 3 * scene // 2) if drawn else photographs.draw(rng, names)
        if rng.random() < 0.5:
            image = image.flip(-1)
        self.motion = motion
        self.background = background
        # Brightness and contrast of its own tell a layer from its neighbours.
        gain, offset = (1.0, 0.0) if background else (rng.uniform(0.7, 1.15), rng.uniform(-0.1, 0.1))
        H, W = image.shape[-2:]
        reach = 0.75 * scene
        self.centre = torch.tensor([self._place(rng, n, reach) for n in (W, H)])
        # Only the part that can be seen is kept: enough for a scene of this size in motion.
        x0, y0 = ((self.centre - 1.6 * reach).floor().clamp(min=0)).int().tolist()
        x1, y1 = ((self.centre + 1.6 * reach).ceil()).int().tolist()
        texture = image[:, y0:y1, x0:x1]
        texture = (texture if drawn else texture.float() / 255) * gain + offset
        if rng.random() < PLAIN:
            mean = texture.mean((1, 2), keepdim=True)
            texture = mean + (texture - mean) * rng.uniform(0, 0.4)
        self.texture = texture
        self.centre = self.centre - torch.tensor([x0, y0])
        self.kind = rng.choice(list(OUTLINES), p=list(OUTLINES.values()))
        # Half way through, so that what is fast is seen too.
        self.place = motion.to_layer(torch.tensor(rng.uniform(-0.45, 0.45, 2) * scene, dtype=torch.float32), 0.5)
        self.radius = scene * rng.uniform(0.06, 0.4)
        self.sides = scene * torch.tensor(rng.uniform(0.04, 0.35, 2), dtype=torch.float32)
        self.width = rng.uniform(2, 12)
        self.harmonics = torch.tensor(rng.normal(0, 0.12, (2, HARMONICS)), dtype=torch.float32)
        self.softness = rng.uniform(0.7, 1.6)

    @staticmethod
    def _place(rng: np.random.Generator, n: int, reach: float) -> float:
        return n / 2 if n <= 2 * reach else rng.uniform(reach, n - reach)

    def colour(self, points: Tensor) -> Tensor:
        """Layer points [R, W, 2] -> [3, R, W]"""
        H, W = self.texture.shape[-2:]
        grid = (2 * (points + self.centre) + 1) / torch.tensor([W, H]) - 1
        return F.grid_sample(
            self.texture[None], grid[None], mode="bicubic", padding_mode="reflection", align_corners=False
        )[0]

    def alpha(self, points: Tensor) -> Tensor:
        """Layer points [R, W, 2] -> how much of what lies behind this layer hides, [R, W] in [0, 1]."""
        offset = points - self.place
        if self.kind == "bar":
            distance = self.width - offset[..., 0].abs()
        elif self.kind == "edge":
            distance = offset[..., 0]
        elif self.kind == "box":
            distance = (self.sides - offset.abs()).amin(-1)
        else:
            angle = torch.atan2(offset[..., 1], offset[..., 0])
            order = torch.arange(1, HARMONICS + 1)
            waves = angle[..., None] * order
            outline = 1 + (waves.cos() * self.harmonics[0] / order.sqrt()).sum(-1)
            outline = outline + (waves.sin() * self.harmonics[1] / order.sqrt()).sum(-1)
            distance = self.radius * outline - offset.norm(dim=-1)
        return (0.5 + distance / self.softness).clamp(0, 1)


def _magnitude(rng: np.random.Generator, largest: float) -> float:
    """Pixels over the unit of time, up to `largest`: most motions are small."""
    return float(rng.uniform(0, largest) if rng.random() < FAST else min(largest, rng.exponential(largest / 6)))


def _motion(
    rng: np.random.Generator, largest: float, shift: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> Motion:
    quarter = math.pi / 2 * rng.integers(4)
    tilt = rng.normal(0, 0.3) if rng.random() < 0.5 else 0.0
    zoom = rng.uniform(-0.12, 0.25)  # mostly shrunk a little: enlarging a photograph would blur it
    turns = largest > 0 and rng.random() < 0.5
    spin, grow = (rng.normal(0, 0.03), rng.normal(0, 0.03)) if turns else (0.0, 0.0)
    return Motion(torch.tensor(shift, dtype=torch.float32), (quarter + tilt, spin), (zoom, grow))


class Light(NamedTuple):
    """A factor and a sum, each (at t = 0, at t = 1): scenes fade and brighten."""

    gain: tuple[float, float]
    offset: tuple[float, float]

    def at(self, t: float, picture: Tensor) -> Tensor:
        gain, offset = ((1 - t) * first + t * last for first, last in self)
        return (picture * gain + offset).clamp_(0, 1)


STEADY = Light((1.0, 1.0), (0.0, 0.0))


def _light(rng: np.random.Generator) -> Light:
    chance = rng.random()
    if chance < 0.7:
        return STEADY
    if chance < 0.85:
        return Light((1.0, 1 + rng.uniform(-0.5, 0.3)), (0.0, rng.uniform(-0.15, 0.15)))
    # To or from a colour without anything in it, often all the way.
    left = 0.0 if rng.random() < 0.4 else rng.uniform(0, 0.7)
    plain = float(rng.random() < 0.4)  # white, or black
    faded = Light((1.0, left), (0.0, plain * (1 - left)))
    return faded if rng.random() < 0.5 else Light(faded.gain[::-1], faded.offset[::-1])


class Scene:
    """A square scene drawn from `rng`; `largest` bounds the shift of a layer against its neighbours, in pixels."""

    def __init__(self, rng: np.random.Generator, side: int, names: dict[str, float], largest: float = 16.0) -> None:
        still = rng.random() < 0.12
        largest = 0.0 if still else largest
        self.side = side

        def draw() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
            direction = rng.uniform(0, 2 * math.pi)
            return _magnitude(rng, largest) * np.array([math.cos(direction), math.sin(direction)])

        camera = np.zeros(2) if rng.random() < FIXED else draw()
        self.layers = [Layer(rng, names, side, _motion(rng, largest, camera), background=True)]
        for _ in range(rng.choice(4, p=[0.3, 0.35, 0.25, 0.1])):
            motion = _motion(rng, largest, camera + draw())
            self.layers.append(Layer(rng, names, side, motion, background=False))
        self.light = _light(rng)
        # One scene dissolves into another; the flow stays that of the first.
        self.veil = None
        if rng.random() < VEILED:
            self.veil = Layer(rng, names, side, self.layers[0].motion, background=True)
        self.opacity = (rng.uniform(0, 1), rng.uniform(0, 1))
        ticks = torch.arange(side) + 0.5 - side / 2
        self.points = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1)  # [side, side, 2], x and y

    def frame(self, t: float) -> Tensor:
        """[3, side, side] in [0, 1] at time t."""
        return self._render(t)[0]

    def _render(self, t: float) -> tuple[Tensor, Tensor]:
        """The picture, and the number of the layer that is seen at each pixel."""
        picture = torch.zeros(3, self.side, self.side)
        seen = torch.zeros(self.side, self.side, dtype=torch.long)
        for number, layer in enumerate(self.layers):
            points = layer.motion.to_layer(self.points, t)
            colour = layer.colour(points)
            if layer.background:
                picture = colour
                continue
            alpha = layer.alpha(points)
            picture = torch.lerp(picture, colour, alpha)
            seen = torch.where(alpha > 0.5, number, seen)
        if self.veil is not None:
            points = self.veil.motion.to_layer(self.points, t)
            first, last = self.opacity
            picture = torch.lerp(picture, self.veil.colour(points), (1 - t) * first + t * last)
        return self.light.at(t, picture), seen

    def frame_and_flow(self, t: float) -> tuple[Tensor, Tensor]:
        """The frame at t, and [4, side, side]: the way (x, y) from a pixel to where its content lies at times 0, 1."""
        picture, seen = self._render(t)
        flow = torch.zeros(self.side, self.side, 4)
        for number, layer in enumerate(self.layers):
            points = layer.motion.to_layer(self.points, t)
            there = [layer.motion.to_scene(points, end) - self.points for end in (0.0, 1.0)]
            flow = torch.where((seen == number)[..., None], torch.cat(there, -1), flow)
        return picture, flow.permute(2, 0, 1)
