"""What is compared: the network, and the enlargements by formula that it must beat."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from vinr_engine.errors import SourceError
from vinr_engine.evaluation.metrics import WINDOW, quantise
from vinr_engine.evaluation.protocol import Protocol, decimal
from vinr_engine.evaluation.resize import resize
from vinr_engine.models.network import Network, NetworkModule
from vinr_engine.video.enlarge import Enlarger, Slot
from vinr_engine.video.io.colour import Array

NETWORK, BLEND, NEAREST = "VideoINR", "bicubic + blend", "bicubic, nearest"
"""Names of methods; the first is that of networks that are no module, and cannot tell their own."""


def true_size(height: int, width: int, crop: tuple[int, int] | None, protocol: Protocol, name: str) -> tuple[int, int]:
    """(height, width) of what is measured: `crop` (width, height) if there is one, and shrinking gives whole pixels.

    SourceError naming the clip if it is smaller than `crop`, or too little is left to measure.
    """
    if crop is not None:
        if height < crop[1] or width < crop[0]:
            raise SourceError(f"the clip {name} is {width}x{height}, smaller than --crop {crop[0]}x{crop[1]}")
        height, width = crop[1], crop[0]
    unit = protocol.scale.numerator
    size = height // unit * unit, width // unit * unit
    border = max(v.border for v in protocol.variants())
    least = WINDOW + 2 * border
    if min(size) < least:
        raise SourceError(
            f"the clip {name} is too small for --scale {decimal(protocol.scale)}: {size[1]}x{size[0]} pixels are left, "
            f"and at least {least}x{least} are needed (SSIM's window and a border of {border})"
        )
    return size


def centre_crop(rgb: Array, size: tuple[int, int]) -> Tensor:
    """The middle of a picture [3, H, W], (height, width) = `size`."""
    _, H, W = rgb.shape
    top, left = (H - size[0]) // 2, (W - size[1]) // 2
    return torch.from_numpy(rgb)[:, top : top + size[0], left : left + size[1]].contiguous()


class Shrunk:
    """One kept frame: shrunk, and enlarged again by each method when it is asked for."""

    def __init__(self, restorer: Restorer, truth: Tensor) -> None:
        protocol, (H, W) = restorer.protocol, restorer.size
        s = protocol.scale
        low = resize(truth, 1 / float(s), (int(H / s), int(W / s))).clamp(0, 1)
        self.low = low if protocol.exact_input else quantise(low)
        self._restorer = restorer
        self._bicubic: Tensor | None = None
        self._slot: Slot | None = None

    @property
    def bicubic(self) -> Tensor:
        """[3, H, W] in [0, 1]."""
        if self._bicubic is None:
            self._bicubic = bicubic(self.low, self._restorer.size, self._restorer.protocol).to(self._restorer.device)
        return self._bicubic

    @property
    def slot(self) -> Slot:
        """This frame as the network takes it."""
        if self._slot is None:
            assert self._restorer.enlarger is not None
            self._slot = self._restorer.enlarger.slot(self.low.cpu().numpy())
        return self._slot


def bicubic(low: Tensor, size: tuple[int, int], protocol: Protocol) -> Tensor:
    """[3, h, w] -> [3, H, W] in [0, 1], by the protocol's kernel: torch's (a = -3/4) or MATLAB's (a = -1/2)."""
    if protocol.bicubic == "matlab":
        return resize(low, float(protocol.scale), size).clamp(0, 1)
    return F.interpolate(low[None], size, mode="bicubic")[0].clamp(0, 1)


class Restorer:
    """Restores windows of one clip; (height, width) = `size` is that of what is measured."""

    def __init__(
        self,
        model: Network | None,
        size: tuple[int, int],
        protocol: Protocol,
        device: torch.device | None,
        dtype: str,
        memory: int,
    ) -> None:
        """`model`: None leaves the network out. `memory`: bytes to stay within."""
        self.size, self.protocol = size, protocol
        s = protocol.scale
        self.network = type(model).__name__ if isinstance(model, NetworkModule) else NETWORK
        frames = int(size[0] / s), int(size[1] / s)
        self.enlarger = None if model is None else Enlarger(model, size, device, dtype, frames=frames, memory=memory)
        self.device = self.enlarger.device if self.enlarger else device or torch.device("cpu")

    @property
    def methods(self) -> tuple[str, ...]:
        """Names, the network's first."""
        return (*([self.network] if self.enlarger else []), BLEND, *([] if self.protocol.still else [NEAREST]))

    def shrink(self, truth: Tensor) -> Shrunk:
        """Lose what the protocol loses of a frame [3, H, W]."""
        return Shrunk(self, truth)

    def window(self, first: Shrunk, second: Shrunk, times: list[Fraction]) -> Iterator[dict[str, Tensor]]:
        """For each time in [0, 1] in turn: the pictures [3, H, W] in [0, 1] by method.

        At a kept frame, and where all stands still, the nearest frame is the blend, and is left out. At equal distance
        the earlier one is nearest.
        """
        pair = self.enlarger.pair(first.slot, second.slot) if self.enlarger else None
        for t in times:
            pictures: dict[str, Tensor] = {}
            if pair is not None:
                pictures[self.network] = torch.from_numpy(pair.at(t)).to(self.device)
            pictures[BLEND] = torch.lerp(first.bicubic, second.bicubic, float(t))
            if 0 < t < 1 and NEAREST in self.methods:
                pictures[NEAREST] = first.bicubic if t <= Fraction(1, 2) else second.bicubic
            yield pictures
