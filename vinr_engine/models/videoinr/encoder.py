"""The encoder of two frames, which VideoINR and networks after it share; docs/network.md describes it.

Parameter names are those of the published checkpoint.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.models.layers.blocks import Pyramid, PyramidLevels, ResidualBlocks, conv3x3, padding_to_multiple
from vinr_engine.models.layers.conv_blstm import ConvBLSTM
from vinr_engine.models.layers.convolution import convolve, pointwise
from vinr_engine.models.layers.motion_prior import MotionPrior
from vinr_engine.models.layers.pcd_align import Known, PCDAlign
from vinr_engine.models.network import Size

PADDING_MULTIPLE = 4  # the pyramid halves the frame twice


class KnownFrame(NamedTuple):
    """What pairs that share a frame share: the frame, padded, and its pyramid."""

    frame: Tensor
    levels: Pyramid

    def part(self, of_batch: slice) -> KnownFrame:
        """Of some of the batch."""
        return KnownFrame(self.frame[of_batch], self.levels.map(lambda level: level[of_batch]))


def pad_to_multiple(frames: Tensor) -> Tensor:
    """[..., C, h, w] -> [..., C, ceil4(h), ceil4(w)], the last row and column repeated."""
    h, w = frames.shape[-2:]
    padding = padding_to_multiple(h, w, PADDING_MULTIPLE)
    if not any(padding):
        return frames
    return F.pad(frames.flatten(0, -4), padding, mode="replicate").unflatten(0, frames.shape[:-3])


def check_frames(frames: Tensor) -> None:
    """Raises ValueError."""
    if frames.dim() != 5 or frames.shape[1:3] != (2, 3) or 0 in frames.shape[3:]:
        raise ValueError(f"frames must be [B, 2, 3, h, w] with h, w > 0, got {list(frames.shape)}")


class Encoder(PyramidLevels):
    """A pair of frames -> three feature maps of `nf` channels: at the first frame, between, and at the second.

    A base class of networks that hold its parameters under their own names, and a module of others.

    Args:
        nf: width of every feature map.
        groups: offset groups of the deformable convolutions; divides nf.
        front_blocks, back_blocks: residual blocks before and after the recurrent part.
        recurrent, motion_prior: see VideoINR.
    """

    def __init__(
        self,
        nf: int = 64,
        groups: int = 8,
        front_blocks: int = 5,
        back_blocks: int = 40,
        recurrent: bool = True,
        motion_prior: bool = False,
    ) -> None:
        # Registered in the order of the published checkpoint, in which the levels are not the first.
        nn.Module.__init__(self)
        self.conv_first = conv3x3(3, nf)
        self.feature_extraction = ResidualBlocks(front_blocks, nf)
        levels = PyramidLevels(nf)
        for name, layer in levels.named_children():
            self.add_module(name, layer)
        self.pcd_align = PCDAlign(nf, groups)
        self.fusion = nn.Conv2d(2 * nf, nf, 1)
        self.motion_prior = MotionPrior(nf) if motion_prior else None
        self.ConvBLSTM = ConvBLSTM(nf, groups) if recurrent else None
        self.recon_trunk = ResidualBlocks(back_blocks, nf)

    def known(self, frame: Tensor, size: Size | None = None) -> KnownFrame:
        """The frame [B, 3, h, w] in [0, 1], padded to multiples of 4, and its pyramid, whatever the size to come."""
        if frame.dim() != 4 or frame.shape[1] != 3 or 0 in frame.shape[2:]:
            raise ValueError(f"frame must be [B, 3, h, w] with h, w > 0, got {list(frame.shape)}")
        # All that follows keeps this memory format, in which convolutions are fastest; weights are copied to it on use.
        frame = pad_to_multiple(frame).contiguous(memory_format=torch.channels_last)
        return KnownFrame(
            frame, self.build_pyramid(self.feature_extraction(convolve(self.conv_first, frame, slope=0.1)))
        )

    def encode_pair(self, first: KnownFrame, second: KnownFrame) -> Tensor:
        """-> features [B, 3, nf, ceil4(h), ceil4(w)]: at t = 0, between, t = 1."""
        sequence = [first.levels.level1, self._between(first, second), second.levels.level1]
        if self.ConvBLSTM is not None:
            sequence = self.ConvBLSTM(sequence)
        return self.recon_trunk.stacked(sequence).unflatten(0, (3, -1)).transpose(0, 1)

    def _between(self, first: KnownFrame, second: KnownFrame) -> Tensor:
        between = pointwise(self.fusion, *self.pcd_align(Known(first.levels), second.levels))
        if self.motion_prior is not None:
            between = between + self.motion_prior(first.frame, second.frame)
        return between

    def encode(self, frames: Tensor) -> Tensor:
        """frames [B, 2, 3, h, w] in [0, 1] -> features [B, 3, nf, ceil4(h), ceil4(w)], padded, not cropped."""
        check_frames(frames)
        both = self.known(frames.transpose(0, 1).flatten(0, 1))
        B = len(frames)
        return self.encode_pair(both.part(slice(0, B)), both.part(slice(B, 2 * B)))
