"""The picture sheet: where the blend errs most, the truth and each restoration side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vinr_engine.evaluation.metrics import luma, quantise
from vinr_engine.evaluation.restore import BLEND, NEAREST

CROP = 96
"""Largest side of a crop in pixels of the frame."""
CELL = 288
"""Side that a crop is enlarged towards, by repeated pixels."""
MAX_ROWS = 12
_GAP, _LINE = 8, 22
_BACK, _TEXT, _DIM = (24, 24, 27), (240, 240, 240), (165, 165, 175)

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One frame's crops [h, w, 3] by column title, each with a caption, and where they are from."""

    title: str
    crops: dict[str, tuple[Pixels, str]]


def worst_place(picture: Tensor, truth: Tensor) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the crop in which a picture's luma errs most."""
    height, width = (min(CROP, side) for side in truth.shape[-2:])
    error = ((luma(picture) - luma(truth)) ** 2)[None]
    stride = max(1, min(height, width) // 8)
    mean = F.avg_pool2d(error, (height, width), stride)[0, 0]
    row, column = divmod(int(mean.argmax()), mean.shape[1])
    return row * stride, column * stride, height, width


def row(title: str, truth: Tensor, pictures: dict[str, Tensor], captions: dict[str, str], worst: str = BLEND) -> Row:
    """A row from whole pictures [3, H, W]: the truth, the blend and, if there is one, the network.

    `worst` names the picture whose error says where to look.
    """
    top, left, height, width = worst_place(pictures[worst], truth)

    def crop(picture: Tensor) -> Pixels:
        part = quantise(picture[:, top : top + height, left : left + width]).mul(255).round()
        pixels: Pixels = part.byte().cpu().numpy().transpose(1, 2, 0)
        return pixels.copy()

    crops = {"ground truth": (crop(truth), f"at {left}, {top}")}
    for name in (BLEND, *(name for name in pictures if name not in (BLEND, NEAREST))):
        crops[name] = crop(pictures[name]), captions[name]
    return Row(title, crops)


def draw(rows: list[Row]) -> Image.Image:
    """The sheet: a title above each row, crops enlarged by a whole factor, their names above and captions below."""
    font, small = ImageFont.load_default(16), ImageFont.load_default(14)
    zooms = [max(1, CELL // max(next(iter(row.crops.values()))[0].shape[:2])) for row in rows]
    cells = [[(name, *crop) for name, crop in row.crops.items()] for row in rows]
    heights = [3 * _LINE + zoom * row[0][1].shape[0] for row, zoom in zip(cells, zooms, strict=True)]
    width = _GAP + max(map(len, cells)) * (CELL + _GAP)
    image = Image.new("RGB", (width, _GAP + sum(h + 2 * _GAP for h in heights)), _BACK)
    pen = ImageDraw.Draw(image)

    def write(x: int, y: int, text: str, face: Any, colour: tuple[int, int, int], most: int) -> None:
        while len(text) > 4 and pen.textlength(text, face) > most:
            text = text[:-4] + "..."
        pen.text((x, y + _LINE // 2), text, colour, face, anchor="lm")

    top = _GAP
    for one, row_cells, zoom, height in zip(rows, cells, zooms, heights, strict=True):
        write(_GAP, top, one.title, font, _TEXT, width - 2 * _GAP)
        for column, (name, pixels, caption) in enumerate(row_cells):
            left = _GAP + column * (CELL + _GAP)
            write(left, top + _LINE, name, small, _DIM, CELL)
            size = (zoom * pixels.shape[1], zoom * pixels.shape[0])
            image.paste(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST), (left, top + 2 * _LINE))
            write(left, top + 2 * _LINE + size[1], caption, small, _DIM, CELL)
        top += height + 2 * _GAP
    return image
