"""FlowINR: frames enlarged once each, moved along the flow at a time between them, blended, and corrected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vinr_engine.memory import Need
from vinr_engine.models.flowinr import bands
from vinr_engine.models.flowinr.enlarge import Enlarger, base, contrast, without_mean
from vinr_engine.models.flowinr.merge import KnownFrame, Merge
from vinr_engine.models.flowinr.motion import COARSEST, FINEST, Motion
from vinr_engine.models.layers.warped_blend import warp
from vinr_engine.models.network import NetworkModule, Size, Times, register, times_tensor


@register
class FlowINR(NetworkModule):
    """Continuous space-time super-resolution in three parts: `enlarger`, `motion` and `merge`.

    Args:
        nf: features of a pixel.
        blocks: residual blocks that enlarge a frame.
        merge_blocks: residual blocks that correct a picture between two frames.
        pyramid: features of a pixel at the three levels of the search for motion, finest first.
    """

    learns = ("pictures", "frames", "flow", "parts")
    reach = 80
    grid = COARSEST

    def __init__(self, nf: int = 48, blocks: int = 12, merge_blocks: int = 2, pyramid: list[int] | None = None) -> None:
        super().__init__()
        pyramid = [24, 32, 64] if pyramid is None else list(pyramid)
        self.config = {"nf": nf, "blocks": blocks, "merge_blocks": merge_blocks, "pyramid": pyramid}
        fine, middle, coarse = pyramid
        self.enlarger = Enlarger(nf, blocks)
        self.motion = Motion((fine, middle, coarse))
        self.merge = Merge(nf, merge_blocks)

    def need(self, frames: Size, size: Size) -> Need:
        """See Network."""
        return bands.need(self.config["nf"], self.config["pyramid"], frames, size, self.device)

    def known(self, frame: Tensor, size: Size | None = None) -> KnownFrame:
        """What a frame [B, 3, h, w] gives by itself, the enlarged frame with it if `size` is given."""
        if bands.wanted(frame, self.enlarger.decoder, size):
            return self._known_by_bands(frame, size)
        detail = without_mean(frame)
        local = contrast(detail)
        features = self.enlarger(detail, local)
        return KnownFrame(
            detail,
            local,
            features,
            self.motion.pyramid(frame, detail),
            None if size is None else self.enlarger.decoder(features, size, base(frame, size)),
        )

    def _known_by_bands(self, frame: Tensor, size: Size | None) -> KnownFrame:
        rows = bands.rows_of((frame.shape[-2], frame.shape[-1]), frame.device)
        detail, local = bands.detail_and_contrast(frame, rows)
        picture = None if size is None else bands.enlarged_base(frame, size)
        features = bands.features_and_picture(self.enlarger, detail, local, rows, picture)
        return KnownFrame(detail, local, features, bands.levels(self.motion.pyramid, frame, detail, rows), picture)

    def encode_pair(self, first: KnownFrame, second: KnownFrame) -> tuple[KnownFrame, KnownFrame]:
        """Both, as they are: all that a pair shares belongs to one of its frames."""
        return first, second

    def query(self, features: Any, frames: Tensor, times: Times, size: Size, *, shared: None = None) -> Tensor:
        """See Network; batches of any size."""
        if bands.wanted(frames[:, 0], self.merge.decoder, size):
            enlarged = self.enlarged(features, frames, size)
            pictures = [
                bands.picture(self.motion, self.merge, features, enlarged, t, size, _end(t))
                for t in times_tensor(times, len(frames), frames)
            ]
            return torch.stack(pictures, 1) if len(pictures) > 1 else pictures[0][:, None]
        return self.query_with_flow(features, frames, times, size)[0]

    def query_with_flow(
        self, features: tuple[KnownFrame, KnownFrame], frames: Tensor, times: Times, size: Size
    ) -> tuple[Tensor, Tensor]:
        """What `query` gives, and the flows [B, T, 4, HH, WW]: from a pixel to where its content lies in the first
        frame and in the second, (x, y) each, in output pixels."""
        outs, flows, _ = zip(*self._decoded(features, frames, times, size), strict=True)
        return torch.stack(outs, 1), torch.stack(flows, 1)

    def _decoded(
        self, features: tuple[KnownFrame, KnownFrame], frames: Tensor, times: Times, size: Size
    ) -> list[tuple[Tensor, Tensor, list[Tensor]]]:
        """For each time: the picture, the flow that moves it, and the velocities of the search's levels."""
        enlarged = self.enlarged(features, frames, size)
        return [self._at(features, enlarged, t, size) for t in times_tensor(times, len(frames), frames)]

    def enlarged(self, features: tuple[KnownFrame, KnownFrame], frames: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """Both frames at `size`, each from itself alone: two of [B, 3, HH, WW]."""
        first, second = (
            known.enlarged
            if known.enlarged is not None and tuple(known.enlarged.shape[-2:]) == tuple(size)
            else self._enlarge(known.features, frame, size)
            for known, frame in zip(features, frames.unbind(1), strict=True)
        )
        return first, second

    def _enlarge(self, features: Tensor, frame: Tensor, size: Size) -> Tensor:
        decoder = self.enlarger.decoder
        if bands.wanted(frame, decoder, size):
            return bands.enlarged(decoder, frame, features, size)
        return decoder(features, size, base(frame, size))

    def _at(
        self, features: tuple[KnownFrame, KnownFrame], enlarged: tuple[Tensor, Tensor], times: Tensor, size: Size
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        first, second = features
        h, w = first.detail.shape[-2:]
        velocities = self.motion(first.levels, second.levels, times)
        velocity = F.interpolate(FINEST * velocities[0], scale_factor=FINEST, mode="bilinear", align_corners=False)[
            ..., :h, :w
        ]
        flow, logit, residual = self.merge(first, second, times, velocity, size)
        if (end := _end(times)) is not None:
            return enlarged[end] + residual, flow, velocities
        t = times[:, None, None, None]
        one, two = warp(enlarged[0], flow[:, :2]), warp(enlarged[1], flow[:, 2:])
        weight = (1 - t) * torch.sigmoid(logit)
        other = t * torch.sigmoid(-logit)
        return (weight * one + other * two) / (weight + other) + residual, flow, velocities

    def training_outputs(
        self, frames: Tensor, times: Tensor, size: Size, frame_upsample: int, learn: str
    ) -> tuple[Tensor | None, list[Tensor] | None]:
        """See NetworkModule; the flows are those of the levels, and with pictures also the one that moves them."""
        pictures = self._both_enlarged(frames, size) if learn in ("frames", "parts") else None
        if learn == "frames":
            return pictures, None
        if learn == "pictures":
            found = self._decoded(self.encode(frames), frames, times, size)
            outs, flows, velocities = zip(*found, strict=True)
            return torch.stack(outs, 1), [torch.stack(flows, 1), *_level_flows(velocities, times)]
        pyramids = [self.motion.pyramid(frame, without_mean(frame)) for frame in frames.unbind(1)]
        return pictures, _level_flows([self.motion(*pyramids, t) for t in times], times)

    def _both_enlarged(self, frames: Tensor, size: Size) -> Tensor:
        """frames [B, 2, 3, h, w] -> [B, 2, 3, HH, WW], without the search for motion."""
        flat = frames.flatten(0, 1)
        detail = without_mean(flat)
        features = self.enlarger(detail, contrast(detail))
        return self.enlarger.decoder(features, size, base(flat, size)).unflatten(0, (-1, 2))


def _end(times: Tensor) -> int | None:
    """Whose own time all of `times` are, the first frame's or the second's: nothing needs to be moved there.

    Not asked on a GPU, which would be waited for, nor in a graph.
    """
    if times.device.type != "cpu" or torch.compiler.is_compiling() or torch._C._get_tracing_state():
        return None
    return next((end for end in (0, 1) if bool((times == end).all())), None)


def _level_flows(velocities: Sequence[list[Tensor]], times: Tensor) -> list[Tensor]:
    """Velocities of all levels at each of the times [T, B] -> the flows [B, T, 4, _, _] of each level, to the first
    frame and to the second."""

    def flow(velocity: Tensor, times: Tensor) -> Tensor:
        t = times[:, None, None, None]
        return torch.cat([-t * velocity, (1 - t) * velocity], 1)

    levels = zip(*velocities, strict=True)
    return [torch.stack([flow(v, t) for v, t in zip(level, times, strict=True)], 1) for level in levels]
