"""The figures of a run, frame by frame, and every mean of them that is reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vinr_engine.evaluation.metrics import Variant
from vinr_engine.evaluation.protocol import Protocol

Figures = npt.NDArray[np.float64]
"""PSNR in dB, SSIM and, where it was asked for, LPIPS."""


@dataclass(frozen=True)
class Frame:
    """One measured frame: number `index` of its window, number `number` of clip `clip`; `time` within the window.

    `scores` holds [variants, 2] a method: PSNR and SSIM. LPIPS has no variants: it is of RGB in 8 bits.
    """

    clip: int
    number: int
    index: int
    time: float
    scores: dict[str, Figures]
    lpips: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipFacts:
    """What was measured of a clip: (width, height), frames read, windows."""

    name: str
    size: tuple[int, int]
    frames: int
    windows: int


@dataclass
class Result:
    """One run: all clips by one protocol."""

    protocol: Protocol
    methods: tuple[str, ...]
    clips: list[ClipFacts] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    seconds: float = 0.0

    def subset(self, name: str, last: bool) -> list[Frame]:
        """The frames that a mean is taken over; see protocol.SUBSETS. Without `last`, no window's last frame."""
        keep = self.protocol.keep
        wanted = {
            "all": range(keep + 1),
            "kept": (0, keep),
            "between": range(1, keep),
            "centre": (0, keep // 2, keep),
        }[name]
        return [f for f in self.frames if f.index in wanted and (last or f.index < keep)]

    def mean(
        self, method: str, subset: str, variant: Variant | None = None, last: bool | None = None,
        over: str | None = None, clip: int | None = None,
    ) -> Figures | None:  # fmt: skip
        """[2] or, with LPIPS, [3]; the protocol's choice where none is given. None if the method has no such frame.

        PSNR is the mean of the frames' decibels, not that of the mean error.
        """
        row = self.protocol.variants().index(variant or self.protocol.variant)
        by_clip: dict[int, list[Figures]] = {}
        for frame in self.subset(subset, self.protocol.last if last is None else last):
            if method in frame.scores and clip in (None, frame.clip):
                figures = frame.scores[method][row]
                if frame.lpips:
                    figures = np.append(figures, frame.lpips[method])
                by_clip.setdefault(frame.clip, []).append(figures)
        if not by_clip:
            return None
        if (over or self.protocol.over) == "clips":
            means = [np.mean(figures, axis=0) for figures in by_clip.values()]
            return np.asarray(np.mean(means, axis=0))
        return np.asarray(np.mean([one for figures in by_clip.values() for one in figures], axis=0))

    def gain(self, method: str, other: str, subset: str) -> tuple[float, float] | None:
        """How many dB of PSNR `method` is above `other`: the mean, and that of the worst clip."""

        def difference(clip: int | None) -> float | None:
            a, b = self.mean(method, subset, clip=clip), self.mean(other, subset, clip=clip)
            return None if a is None or b is None else float(a[0] - b[0])

        mean = difference(None)
        lowest = [d for n in range(len(self.clips)) if (d := difference(n)) is not None]
        return None if mean is None else (mean, min(lowest))

    def named(self, figures: Figures | None) -> dict[str, Any] | None:
        """Figures by name."""
        if figures is None:
            return None
        return {name: float(value) for name, value in zip(("psnr", "ssim", "lpips"), figures, strict=False)}
