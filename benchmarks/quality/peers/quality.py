"""Pictures of every peer from the same small frames, measured as `vinr evaluate` measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vinr_engine.errors import SourceError
from vinr_engine.evaluation.clips import Clip
from vinr_engine.evaluation.metrics import measure
from vinr_engine.evaluation.protocol import Protocol
from vinr_engine.evaluation.restore import Restorer, centre_crop, true_size
from vinr_engine.evaluation.results import ClipFacts, Result
from vinr_engine.evaluation.results import Frame as Measured
from vinr_engine.evaluation.windows import windows

from .listed import Restore
from .stages import FACTOR, Frame, Times

SUBSETS = ("all", "kept", "between")


@dataclass(frozen=True)
class Row:
    """PSNR-Y in dB and SSIM-Y of one clip, the mean of all for "mean", over the frames of one of SUBSETS."""

    clip: str
    keep: int
    peer: str  # its key
    frames: str
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Lost:
    """What is left of a clip: the kept frames, shrunk, and the times of each window. size: (height, width) before."""

    clip: Clip
    protocol: Protocol
    size: tuple[int, int]
    kept: list[Frame]
    times: list[Times]

    @property
    def count(self) -> int:
        """Frames that are measured: to the last kept one."""
        return sum(len(times) - 1 for times in self.times) + 1

    def truths(self) -> Iterator[Tensor]:
        """[3, H, W], as they were."""
        with self.clip.open() as source:
            for picture in islice(source.pictures(), self.count):
                yield centre_crop(picture.rgb, self.size)


def lose(clip: Clip, protocol: Protocol, max_frames: int | None) -> Lost:
    """By the same steps as `vinr evaluate`. Raises SourceError for a clip that is too short or too small."""
    kept: list[Frame] = []
    times: list[Times] = []
    with clip.open() as source:
        size = true_size(source.info.height, source.info.width, None, protocol, clip.name)
        restorer = Restorer(None, size, protocol, None, "float32", 0)
        for window in windows(islice(source.pictures(), max_frames), protocol.keep, protocol.disjoint):
            ends = window.pictures if not kept else window.pictures[-1:]
            kept += [restorer.shrink(centre_crop(p.rgb, size)).low.numpy() for p in (ends[0], ends[-1])[-len(ends) :]]
            times.append(window.times)
    if not times:
        raise SourceError(f"the clip {clip.name} is too short: a window needs {protocol.keep + 1} frames")
    return Lost(clip, protocol, size, kept, times)


def scores(lost: Lost, restore: Restore, step: Callable[[], None]) -> Iterator[tuple[int, int, Fraction, Any]]:
    """Of every frame: its number, its index in its window, its time there, and [variants, 2]: PSNR and SSIM.

    They are nan but for the protocol's variant: all of them take seven times as long.
    Raises RuntimeError where the peer gives another number of pictures, or another size, than was lost.
    """
    variant, variants = lost.protocol.variant, lost.protocol.variants()
    places = [(n, t) for times in lost.times for n, t in enumerate(times[:-1])]
    places.append((len(lost.times[-1]) - 1, lost.times[-1][-1]))
    pictures = restore(iter(lost.kept), iter(lost.times))
    for number, ((index, time), truth) in enumerate(zip(places, lost.truths(), strict=True)):
        picture = next(pictures, None)
        if picture is None or picture.shape != tuple(truth.shape):
            found = "no picture" if picture is None else f"one of {list(picture.shape)}"
            raise RuntimeError(f"frame {number} of {lost.clip.name}: {found} instead of {list(truth.shape)}")
        figures = np.full((len(variants), 2), np.nan)
        figures[variants.index(variant)] = measure(torch.from_numpy(np.ascontiguousarray(picture)), truth, [variant])[0]
        yield number, index, time, figures
        step()
    if next(pictures, None) is not None:
        raise RuntimeError(f"more pictures than frames of {lost.clip.name}")


def run(
    clips: Sequence[Clip], keeps: Sequence[int], peers: dict[str, Restore], max_frames: int | None,
    progress: Callable[[int, int | None], None],
) -> list[Row]:  # fmt: skip
    """Rows of each clip and of their mean, by keep. peers: by key, loaded."""
    protocols = [Protocol(scale=Fraction(FACTOR), keep=keep) for keep in keeps]
    todo = [(protocol, [lose(clip, protocol, max_frames) for clip in clips]) for protocol in protocols]
    total = sum(lost.count for _, each in todo for lost in each) * len(peers)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    rows: list[Row] = []
    for protocol, each in todo:
        result = Result(protocol, tuple(peers))
        for number, lost in enumerate(each):
            facts = ClipFacts(lost.clip.name, (lost.size[1], lost.size[0]), lost.count, len(lost.times))
            result.clips.append(facts)
            for key, restore in peers.items():
                for place, index, time, figures in scores(lost, restore, step):
                    result.frames.append(Measured(number, place, index, float(time), {key: figures}))
        rows += _rows(result)
    return rows


def _rows(result: Result) -> Iterator[Row]:
    names = [(clip.name, n) for n, clip in enumerate(result.clips)]
    for name, clip in [*names, ("mean", None)]:
        for key in result.methods:
            for subset in SUBSETS:
                figures = result.mean(key, subset, clip=clip)
                assert figures is not None
                yield Row(name, result.protocol.keep, key, subset, *(round(float(f), 4) for f in figures[:2]))
