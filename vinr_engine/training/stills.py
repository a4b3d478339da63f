"""Samples of enlargement alone: two crops that have nothing to do with each other, each its own target."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vinr_engine.evaluation.metrics import quantise
from vinr_engine.training import drawings, photographs
from vinr_engine.training.config import Data
from vinr_engine.training.samples import Batch, inputs_of
from vinr_engine.training.teacher import SCALE, Teacher

DRAWN = 0.1  # of the crops
PLAIN = 0.5  # of the crops: brightness and colours as they are
WORN = 0.1  # of the inputs: with noise, or compressed


class StillSource:
    """Crops of photographs and drawings, turned and mirrored, half of them in other colours, some of them worn.

    With a teacher, samples of its scale hold its pictures too, as "taught": of worn inputs, the true ones instead.
    """

    def __init__(self, data: Data) -> None:
        self.names = photographs.named(data.photos, data.folder)
        self.teacher = Teacher() if data.teacher else None

    def sample(
        self, rng: np.random.Generator, times: Tensor, input_crop: int, scale: float, target_shrink: float
    ) -> Batch:
        """`times` are the ends, 0 and 1; `target_shrink` plays no part."""
        side = round(input_crop * scale)
        target = torch.stack([self._crop(rng, side) for _ in range(2)])
        low = inputs_of(target, input_crop)
        wears = [rng.random() < WORN for _ in low]
        frames = torch.stack([worn(rng, frame) if wear else frame for frame, wear in zip(low, wears, strict=True)])
        sample = {"frames": frames, "target": target, "times": torch.tensor([0.0, 1.0])}
        if self.teacher is not None and scale == SCALE:
            sample["taught"] = torch.stack(
                [true if wear else self.teacher(frame) for frame, true, wear in zip(low, target, wears, strict=True)]
            )
        return sample

    def _crop(self, rng: np.random.Generator, side: int) -> Tensor:
        crop = drawings.draw(rng, side) if rng.random() < DRAWN else photographed(rng, self.names, side)
        crop = turned(crop, int(rng.integers(8)))
        return crop if rng.random() < PLAIN else recoloured(rng, crop)


def photographed(rng: np.random.Generator, names: dict[str, float], side: int) -> Tensor:
    """[3, side, side] in [0, 1]: a part of one of the photographs, its edges repeated where it is smaller."""
    image = photographs.draw(rng, names)
    H, W = image.shape[-2:]
    top, left = (int(rng.integers(max(1, n - side + 1))) for n in (H, W))
    crop = image[:, top : top + side, left : left + side].float() / 255
    missing = [max(0, side - n) for n in (W, H)]
    return F.pad(crop[None], (0, missing[0], 0, missing[1]), mode="replicate")[0]


def turned(image: Tensor, way: int) -> Tensor:
    """[3, n, n] in one of the 8 ways that a square lies."""
    image = image.rot90(way % 4, (-2, -1))
    return image.flip(-1) if way >= 4 else image


def recoloured(rng: np.random.Generator, image: Tensor) -> Tensor:
    """[3, H, W] with other colours, contrast and brightness: dark, faded and bleached pictures among them."""
    image = image[torch.from_numpy(rng.permutation(3))]
    gain = math.exp(rng.uniform(-1.5, 0.3))
    low = float(image.min())
    offset = rng.uniform(0, 1 - min(1.0, gain)) if gain < 1 else 0.0
    image = (image - low) * gain + offset + (low * gain if rng.random() < 0.5 else 0.0)
    return image.clamp(0, 1).contiguous()


def worn(rng: np.random.Generator, frame: Tensor) -> Tensor:
    """[3, h, w] of 8 bits as a camera in the dark or a JPEG file would have it, of 8 bits again."""
    if rng.random() < 0.5:
        noise = rng.normal(0, math.exp(rng.uniform(math.log(0.5), math.log(12))) / 255, frame.shape)
        return quantise((frame + torch.from_numpy(noise).float()).clamp(0, 1))
    image = Image.fromarray((frame * 255).round().byte().permute(1, 2, 0).numpy())
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(25, 95)))
    return torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1).float() / 255
