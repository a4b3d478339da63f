"""Each clip restored by a network and by bicubic and blend, measured as `vinr evaluate` does, and the rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vinr_engine.errors import SourceError
from vinr_engine.evaluation import sheet
from vinr_engine.evaluation.metrics import measure, quantise
from vinr_engine.evaluation.protocol import Protocol, decimal
from vinr_engine.evaluation.restore import BLEND, Restorer, Shrunk, centre_crop, true_size
from vinr_engine.evaluation.windows import windows
from vinr_engine.models.network import Network
from vinr_engine.video.io.source import Picture

from .suite import Clip

ALLOWED = 0.05
"""How many dB a network may be below."""
EXACT = 50.0
"""Where both are above that many dB, an error can hardly be seen, and the row does not count."""


def broken(network: float, blend: float) -> bool:
    """Whether a network's PSNR, beside that of bicubic and blend, breaks the rule."""
    if not (np.isfinite(network) and np.isfinite(blend)):
        raise ValueError(f"PSNR must be finite, got {network} and {blend}")
    return network < blend - ALLOWED and not (network > EXACT and blend > EXACT)


@dataclass(frozen=True)
class Row:
    """PSNR-Y in dB of one clip by one protocol, by network and blend: means over kept frames, and those between."""

    clip: Clip
    protocol: Protocol
    kept: tuple[float, float]
    between: tuple[float, float]
    lowest: float
    """How far the network is above the blend in the frame in which it is least so, in dB; 0 if both are exact there."""
    worst: sheet.Row
    """That frame."""

    @property
    def title(self) -> str:
        """The clip, and what was lost of it."""
        return f"{self.clip.title}, x{decimal(self.protocol.scale)}, 1 of {self.protocol.keep}"

    @property
    def broken(self) -> bool:
        """Whether kept frames or those between break the rule."""
        return broken(*self.kept) or broken(*self.between)


def protocols(scales: list[Fraction], keeps: list[int]) -> list[Protocol]:
    """The protocol of `vinr evaluate` at each scale, with one of each of `keeps` frames kept."""
    return [Protocol(scale=s, keep=k) for s in scales for k in keeps]


def measured(
    clip: Clip, truth: NDArray[np.uint8], model: Network, protocol: Protocol, dtype: str = "float32",
    step: Callable[[], None] = lambda: None,
) -> Row:  # fmt: skip
    """Restore and measure a clip's `frames()`; `step` is called after each. SourceError where they are too few."""
    frames = truth.astype(np.float32).transpose(0, 3, 1, 2) / 255
    pictures = [Picture(Fraction(n), Fraction(1), np.ascontiguousarray(rgb)) for n, rgb in enumerate(frames)]
    size = true_size(*frames.shape[2:], None, protocol, clip.title)
    restorer = Restorer(model, size, protocol, None, dtype, 0)
    truths = [centre_crop(picture.rgb, size).to(restorer.device) for picture in pictures]
    kept = dict(zip(range(0, len(truths), protocol.keep), _shrunk(clip, restorer, truths), strict=True))
    scores: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    worst: tuple[float, sheet.Row] | None = None
    for window in windows(pictures, protocol.keep, protocol.disjoint):
        first, last = kept[window.start], kept[window.start + protocol.keep]
        # a window's last frame is the next one's first
        times = window.times[: None if protocol.last else -1]
        for index, restored in enumerate(restorer.window(first, last, times)):
            number = window.start + index
            both = {m: restored[m] for m in (restorer.network, BLEND)}
            network, blend = (_psnr(p, truths[number], protocol) for p in both.values())
            scores[index in (0, protocol.keep)].append((network, blend))
            # what both make nearly exactly is the last to be shown
            lower = 0.0 if min(network, blend) > EXACT else network - blend
            if worst is None or lower < worst[0]:
                captions = {restorer.network: f"{network:.2f} dB", BLEND: f"{blend:.2f} dB"}
                title = f"{clip.title}, 1 of {protocol.keep}, frame {number}, {network - blend:+.2f} dB"
                worst = lower, sheet.row(title, truths[number], both, captions, restorer.network)
            step()
    if worst is None:
        raise SourceError(f"the clip {clip.title} has {len(truths)} frames: too few to keep 1 of {protocol.keep}")
    return Row(clip, protocol, _mean(scores[True]), _mean(scores[False]), *worst)


def steps(protocol: Protocol, frames: int) -> int:
    """How often `measured` calls `step` for a clip of so many frames."""
    return (frames - 1) // protocol.keep * (protocol.keep + protocol.last)


def _shrunk(clip: Clip, restorer: Restorer, truths: list[Tensor]) -> list[Shrunk]:
    kept = [restorer.shrink(truth) for truth in truths[:: restorer.protocol.keep]]
    if clip.input_damage is not None:
        # shrunk frames become a file, as users have it, before anybody enlarges them
        before = [(quantise(k.low) * 255).round().byte().permute(1, 2, 0).cpu().numpy() for k in kept]
        for one, low in zip(kept, clip.input_damage(before), strict=True):
            one.low = torch.from_numpy(low.copy()).permute(2, 0, 1).to(one.low) / 255
    return kept


def _psnr(picture: Tensor, truth: Tensor, protocol: Protocol) -> float:
    return float(measure(picture, truth, [protocol.variant])[0, 0])


def _mean(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    network, blend = np.mean(pairs, axis=0)
    return float(network), float(blend)
