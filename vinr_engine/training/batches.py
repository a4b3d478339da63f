"""Batches of samples: everything about batch number k follows from the seed and k, whoever computes it.

That makes a run reproducible, whatever the number of workers; lets it resume with nothing saved; lets processes share
a batch without talking; and makes each epoch differ.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vinr_engine.training import photographs
from vinr_engine.training.clips import ClipSource
from vinr_engine.training.config import Data, Stage
from vinr_engine.training.procedural import Scene
from vinr_engine.training.samples import FRAMES, Batch, Source, inputs_of
from vinr_engine.training.stills import StillSource
from vinr_engine.training.teacher import SCALE, Teacher


class ProceduralSource:
    """Scenes made of photographs and drawings; their inputs have 8 bits.

    With a teacher, samples of its scale hold its pictures too, as "taught": made of each target's own small copy.
    """

    def __init__(self, data: Data) -> None:
        self.motion = data.motion
        self.names = photographs.named(data.photos, data.folder)
        self.teacher = Teacher() if data.teacher else None

    def sample(
        self, rng: np.random.Generator, times: Tensor, input_crop: int, scale: float, target_shrink: float
    ) -> Batch:
        """`target_shrink` plays no part: photographs are fine enough."""
        side = round(input_crop * scale)
        scene = Scene(rng, side, self.names, self.motion)
        known = {t: scene.frame_and_flow(t) for t in {0.0, 1.0, *times.tolist()}}
        inputs = torch.stack([known[0.0][0], known[1.0][0]])
        pictures, flows = zip(*(known[t] for t in times.tolist()), strict=True)
        target, low = torch.stack(pictures), inputs_of(inputs, input_crop)
        sample = {"frames": low, "target": target, "flow": torch.stack(flows), "times": times}
        if self.teacher is not None and scale == SCALE:
            sample["taught"] = torch.stack([self.teacher(frame) for frame in inputs_of(target, input_crop)])
        return sample


def open_source(data: Data) -> Source:
    """The source of a configuration. Raises DataError."""
    if data.source == "procedural":
        return ProceduralSource(data)
    if data.source == "stills":
        return StillSource(data)
    return ClipSource(data)


def draw_times(rng: np.random.Generator, stage: Stage) -> Tensor:
    """[T]: eighths from 0 to 1, none twice."""
    if stage.times == "any":
        eighths = rng.permutation(FRAMES)[: stage.targets]
    else:
        ends = [0, FRAMES - 1] if stage.times == "ends_and_between" else [rng.integers(2) * (FRAMES - 1)]
        between = rng.permutation(np.arange(1, FRAMES - 1))[: stage.targets - len(ends)]
        eighths = np.array([*ends, *between])
    return torch.tensor(eighths / (FRAMES - 1), dtype=torch.float32)


def draw_scale(rng: np.random.Generator, stage: Stage) -> float:
    """One of the stage's scales."""
    low, high = stage.scales()
    if low == high or rng.random() < stage.largest_scale_share:
        return high
    scale = rng.uniform(low, high)
    return float(round(scale)) if stage.whole_scale_share and rng.random() < stage.whole_scale_share else scale


def join(samples: list[Batch]) -> Batch:
    """Samples of one size as a batch."""
    batch = {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
    return {**batch, "times": batch["times"].T.contiguous()}


class Batches(Dataset[Batch]):
    """Batch k of a stage, or of it the part of process `rank` of `world`.

    Raises (from item access) what the source raises.
    """

    def __init__(self, stage: Stage, source: Source, seed: int, rank: int = 0, world: int = 1) -> None:
        self.stage, self.source, self.seed = stage, source, seed
        self.share = range(rank * stage.batch // world, (rank + 1) * stage.batch // world)

    def __getitem__(self, k: int) -> Batch:
        # All processes draw the same scale: a batch has one size.
        scale = draw_scale(np.random.default_rng([self.seed, k]), self.stage)
        samples = []
        for number in self.share:
            rng = np.random.default_rng([self.seed, k, number])
            times = draw_times(rng, self.stage)
            stage = self.stage
            samples.append(self.source.sample(rng, times, stage.input_crop, scale, stage.target_shrink))
        return join(samples)
