"""The clips of the suite, by name and kind."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vinr_engine.errors import UsageError

from . import drawn, moving, plain
from .canvas import Bytes
from .compression import Damage, h264, jpeg
from .plain import Frames, Rng

SEED = 2022


@dataclass(frozen=True)
class Clip:
    """A generated clip.

    kind, name: what it belongs to, and what tells it from others of that kind.
    draw: gives its frames from a generator of random numbers.
    truth_damage: what coding does to the true frames before anything else.
    input_damage: what coding does to the shrunk frames, of which the true ones know nothing.
    """

    kind: str
    name: str
    draw: Callable[[Rng], Frames]
    truth_damage: Damage | None = None
    input_damage: Damage | None = None

    @property
    def title(self) -> str:
        """Kind and name."""
        return f"{self.kind}: {self.name}"

    def frames(self) -> NDArray[np.uint8]:
        """[canvas.FRAMES, canvas.HEIGHT, canvas.WIDTH, 3], the same at every call; machines may differ by rounding.

        DataError where a photograph is missing.
        """
        rng = np.random.default_rng([SEED, zlib.crc32(self.title.encode())])
        pictures: list[Bytes] = [(np.clip(p, 0, 1) * 255).round().astype(np.uint8) for p in self.draw(rng)]
        return np.stack(pictures if self.truth_damage is None else self.truth_damage(pictures))


BLACK, WHITE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
BROWN, NAVY = (0.35, 0.2, 0.08), (0.02, 0.03, 0.12)
INK, PAPER = (25, 25, 30), (252, 251, 248)

CLIPS: tuple[Clip, ...] = (
    Clip("flat", "black", plain.same(BLACK)),
    Clip("flat", "nearly black", plain.same((0.012, 0.012, 0.012))),
    Clip("flat", "grey", plain.same((0.5, 0.5, 0.5))),
    Clip("flat", "white", plain.same(WHITE)),
    Clip("flat", "red", plain.same((0.8, 0.1, 0.08))),
    Clip("flat", "blue", plain.same((0.05, 0.12, 0.6))),
    Clip("gradient", "linear", plain.linear(BROWN, (0.9, 0.95, 1.0))),
    Clip("gradient", "linear, moving", plain.linear(BLACK, WHITE, 6.0)),
    Clip("gradient", "dark", plain.linear(BLACK, (0.05, 0.05, 0.06))),
    Clip("gradient", "radial", plain.radial(NAVY, (0.9, 0.6, 0.4))),
    Clip("gradient", "radial, dark, moving", plain.radial(BLACK, (0.09, 0.08, 0.12), 3.0)),
    Clip("gradient", "soft discs, moving", plain.soft_shapes),
    Clip("noise", "dark", plain.noise(0.01, 2.5 / 255)),
    Clip("noise", "grey", plain.noise(0.5, 8 / 255)),
    Clip("noise", "still", plain.still_noise(0.4, 12 / 255)),
    Clip("noise", "night scene", plain.dim),
    Clip("fade", "to black", plain.fade(BLACK)),
    Clip("fade", "to white", plain.fade(WHITE)),
    Clip("fade", "from black, pan", plain.fade(BLACK, True, 2.3)),
    Clip("fade", "cross", plain.cross_fade),
    Clip("grain", "fine, still", moving.grain(8 / 255, 0.0)),
    Clip("grain", "strong, pan", moving.grain(18 / 255, 1.7)),
    Clip("cartoon", "walk", drawn.cartoon(2.3)),
    Clip("cartoon", "chase", drawn.cartoon(1.2, 5.4)),
    Clip("cartoon", "line art", drawn.line_art),
    Clip("text", "credits", drawn.scroll(13, 0, 1.75, (235, 235, 235), (0, 0, 0))),
    Clip("text", "page, fast", drawn.scroll(10, 0, 11.5, INK, PAPER)),
    Clip("text", "large, sideways", drawn.scroll(30, 4.25, 0, (240, 200, 40), (30, 30, 60))),
    Clip("text", "ticker", drawn.ticker),
    Clip("text", "typing", drawn.typing),
    Clip("text", "still", drawn.still_page),
    Clip("screen", "window", drawn.window(3.5, 1.25)),
    Clip("screen", "window, fast", drawn.window(9.0, -3.0)),
    Clip("screen", "cursor", drawn.cursor(12.5)),
    Clip("compressed", "H.264 pan", moving.pan("coffee", 2.6, 0.7), h264(34)),
    Clip("compressed", "H.264 cartoon", drawn.cartoon(2.3, 2.0), h264(36)),
    Clip("compressed", "JPEG shapes", moving.camera(1.8, 0.6), jpeg(20)),
    Clip("compressed", "H.264 inputs, pan", moving.pan("coffee", 2.6, 0.7), None, h264(30)),
    Clip("compressed", "H.264 inputs, cartoon", drawn.cartoon(2.3, 2.0), None, h264(30)),
    Clip("compressed", "JPEG inputs, cat", moving.pan("chelsea", 0.8, 0.3), None, jpeg(35)),
    Clip("still", "cat", moving.pan("chelsea", 0.0)),
    Clip("still", "coffee", moving.pan("coffee", 0.0)),
    Clip("still", "shapes", moving.camera()),
    Clip("pan", "slow", moving.pan("chelsea", 0.4, 0.15)),
    Clip("pan", "medium", moving.pan("coffee", 3.3, -1.2)),
    Clip("pan", "fast", moving.pan("coffee", 11.0, 2.0, 1.3)),
    Clip("pan", "shapes, fast", moving.camera(-14.0, 5.0)),
    Clip("zoom", "in", moving.turned("coffee", 0.02)),
    Clip("zoom", "out", moving.camera(grow=-0.03)),
    Clip("rotation", "slow", moving.turned("chelsea", 0.0, 0.8)),
    Clip("rotation", "fast", moving.camera(turn=4.0)),
    Clip("layers", "slow", moving.layers(16.0)),
    Clip("layers", "fast", moving.layers(90.0)),
    Clip("objects", "balls on a picture", moving.objects(14, 14.0, 4.5, "photo")),
    Clip("objects", "dots in the sky", moving.objects(30, 22.0, 2.2, "sky")),
    Clip("flicker", "still", plain.flicker()),
    Clip("flicker", "pan", plain.flicker(2.4)),
    Clip("flicker", "flash", plain.flash),
    Clip("pattern", "wide stripes", moving.pattern("stripes", 24, 2.5)),
    Clip("pattern", "fine stripes", moving.pattern("stripes", 9.4, 1.3, 0.0, 0.5)),
    Clip("pattern", "checkers", moving.pattern("checkers", 26, 2.0, 1.1, 0.2)),
    Clip("pattern", "bricks", moving.pattern("bricks", 32, 5.3, 1.6, 0.05)),
    Clip("pattern", "too fine", moving.pattern("stripes", 5.6, 0.7, 0.0, 0.1)),
    Clip("stars", "still", plain.stars(0.0)),
    Clip("stars", "drifting", plain.stars(2.6)),
    Clip("water", "waves", moving.water),
)
KINDS = tuple(dict.fromkeys(clip.kind for clip in CLIPS))


@functools.cache
def _known() -> frozenset[str]:
    return frozenset({*KINDS, *(clip.title for clip in CLIPS)})


def chosen(wanted: Sequence[str] | None = None) -> list[Clip]:
    """The clips whose kind or title is in `wanted`; all of them for None. UsageError names what there is not."""
    if wanted is None:
        return list(CLIPS)
    missing = [name for name in wanted if name not in _known()]
    if missing or not wanted:
        raise UsageError(f"no such clips: {', '.join(missing) or 'none named'}; the kinds are {', '.join(KINDS)}")
    return [clip for clip in CLIPS if clip.kind in wanted or clip.title in wanted]
