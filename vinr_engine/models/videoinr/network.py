"""The whole network: encoder of two frames, and the query that decodes any pixel at any time.

Its mathematics is described in docs/network.md; parameter names are those of the published checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.errors import CheckpointError
from vinr_engine.memory import Need
from vinr_engine.models.checkpoint import load_network
from vinr_engine.models.layers.blocks import conv3x3, lrelu
from vinr_engine.models.layers.convolution import convolve
from vinr_engine.models.layers.siren import Siren
from vinr_engine.models.layers.warped_blend import bicubic, warped_blend
from vinr_engine.models.network import Size, Times, register, times_tensor
from vinr_engine.models.videoinr.encoder import PADDING_MULTIPLE, Encoder, check_frames, pad_to_multiple
from vinr_engine.models.videoinr.initialise import FLOW_UNIT, Initialised
from vinr_engine.models.videoinr.published import config_from_shapes
from vinr_engine.ops import inr_query

DETAIL_UNIT = 0.1  # colour, which a residual network's detail counts in: its weights are then of common size
DETAIL_UPSAMPLE = 4  # twice sub-pixel convolution by 2
UPSAMPLER = ("upconv1.", "upconv2.", "HRconv.", "conv_last.")


def _check_config(name: str, values: Sequence[int], lowest: int) -> None:
    if not values or any(not isinstance(v, int) or v < lowest for v in values):
        raise ValueError(f"VideoINR: {name} must be whole numbers from {lowest} up, got {values}")


def need(frames: Size, size: Size, width: float = 1.0) -> Need:
    """What a VideoINR of `width` times the published one's takes; see Network."""
    pixels, out = frames[0] * frames[1], size[0] * size[1]
    frame, pair, encoding, asking = (int(width * n) for n in (1060 * pixels, 1250 * pixels, 2100 * pixels, 330 * out))
    return Need(frame, pair, max(encoding, asking))


@register
class VideoINR(Encoder, Initialised):
    """Continuous space-time video super-resolution of a pair of frames.

    Args:
        nf: width of every feature map.
        groups: offset groups of the deformable convolutions; divides nf.
        front_blocks, back_blocks: residual blocks before and after the recurrent part.
        hr_features: width of the HR feature that the first query network decodes.
        feat_hidden, flow_hidden, encode_hidden: hidden widths of the three query networks.
        recurrent: whether a ConvBLSTM runs over the three feature maps before the blocks at the back. It is most of the
            encoder's work: networks made to be fast leave it out.
        residual: whether colours are added to the frames, enlarged (`enlarge`), warped by the flows and blended
            (`warped_blend`), instead of standing for themselves. Such a network starts as bicubic enlargement and
            linear blend, and its flow follows the scale.
        motion_prior: whether the features between the frames also get an estimate of their motion that no training
            made (`MotionPrior`). Networks then learn to follow motion in far fewer steps.

    The defaults are the published values. Raises ValueError for values that make no network.
    """

    def __init__(
        self,
        nf: int = 64,
        groups: int = 8,
        front_blocks: int = 5,
        back_blocks: int = 40,
        hr_features: int = 64,
        feat_hidden: Sequence[int] = (64, 64, 256),
        flow_hidden: Sequence[int] = (64, 64, 256),
        encode_hidden: Sequence[int] = (64, 64, 256, 256),
        recurrent: bool = True,
        residual: bool = False,
        motion_prior: bool = False,
    ) -> None:
        _check_config("nf, groups, hr_features", (nf, groups, hr_features), 1)
        _check_config("front_blocks, back_blocks", (front_blocks, back_blocks), 0)
        for name, widths in (("feat", feat_hidden), ("flow", flow_hidden), ("encode", encode_hidden)):
            _check_config(f"{name}_hidden", widths, 1)
        for name, flag in (("recurrent", recurrent), ("residual", residual), ("motion_prior", motion_prior)):
            if not isinstance(flag, bool):
                raise ValueError(f"VideoINR: {name} must be true or false, got {flag!r}")
        if nf % groups:
            raise ValueError(f"VideoINR: groups must divide nf, got nf {nf}, groups {groups}")
        Encoder.__init__(self, nf, groups, front_blocks, back_blocks, recurrent, motion_prior)
        self.config: dict[str, Any] = {
            "nf": nf,
            "groups": groups,
            "front_blocks": front_blocks,
            "back_blocks": back_blocks,
            "hr_features": hr_features,
            "feat_hidden": list(feat_hidden),
            "flow_hidden": list(flow_hidden),
            "encode_hidden": list(encode_hidden),
            "recurrent": recurrent,
            "residual": residual,
            "motion_prior": motion_prior,
        }
        # See `unused`.
        self.upconv1 = conv3x3(nf, 4 * nf)
        self.upconv2 = conv3x3(nf, 4 * nf)
        self.HRconv = conv3x3(nf, nf)
        self.conv_last = conv3x3(nf, 3)
        sampled = 3 * nf + 6  # what is read at a position: three feature maps and both frames
        self.feat_imnet = Siren(sampled + 3, feat_hidden, hr_features)
        self.flow_imnet = Siren(hr_features + sampled + 1, flow_hidden, 4)
        self.encode_imnet = Siren(2 * (hr_features + sampled) + 1, encode_hidden, 3)
        if residual:
            for layer in (self.flow_imnet.net[-1], self.encode_imnet.net[-1], self.conv_last):
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str]) -> VideoINR:
        """`load_network` for a file that must hold a VideoINR. Raises CheckpointError if it holds another network."""
        model = load_network(path)
        if not isinstance(model, VideoINR):
            raise CheckpointError(f"{path}: holds a {type(model).__name__}, not a VideoINR")
        return model

    @classmethod
    def from_published(cls, state: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """See NetworkModule: names are those of the published checkpoint, and shapes tell the constructor's values."""
        return config_from_shapes(state), state

    @property
    def unused(self) -> tuple[str, ...]:
        """The published checkpoint holds an upsampler that its network never runs; a residual network does."""
        return () if self.config["residual"] else UPSAMPLER

    @property
    def learns(self) -> tuple[str, ...]:  # type: ignore[override]
        """Residual networks make enlarged frames and flow that can be compared each for itself."""
        return ("pictures", "parts") if self.config["residual"] else ("pictures",)

    grid = PADDING_MULTIPLE

    def need(self, frames: Size, size: Size) -> Need:
        """See Network; measured, for the published sizes, and as wide maps take more."""
        return need(frames, size, self.config["nf"] / 64)

    def shared(self, features: Tensor, frames: Tensor, size: Size) -> Tensor | None:
        """Of a residual network, both frames enlarged."""
        return self.enlarge(features, frames, size) if self.config["residual"] else None

    def query(
        self,
        features: Tensor,
        frames: Tensor,
        times: Times,
        size: Size,
        frame_upsample: int = 4,
        shared: Tensor | None = None,
    ) -> Tensor:
        """Decode the frames at `times`.

        Args:
            features: what `encode` gave for `frames`.
            frames: [B, 2, 3, h, w] in [0, 1], unpadded: the output covers exactly this rectangle.
            times: in [0, 1], 0 at the first frame and 1 at the second; a number, [T], or [T, B].
            size: (HH, WW) of the output.
            frame_upsample: factor by which colours are enlarged bilinearly before they are read; 4 on the published
                test path, 1 on its training path.
            shared: what `shared` gave for the pair and `size`, for several queries to a residual network.

        Returns:
            [B, T, 3, HH, WW], not clamped to [0, 1].
        """
        return self.query_with_flow(features, frames, times, size, frame_upsample, shared)[0]

    def query_with_flow(
        self,
        features: Tensor,
        frames: Tensor,
        times: Times,
        size: Size,
        frame_upsample: int = 4,
        shared: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What `query` gives, and the two flows [B, T, 4, HH, WW]: A (x, y) and B (x, y) in output pixels."""
        check_frames(frames)
        B, _, _, h, w = frames.shape
        expected = (B, 3, self.config["nf"], h + -h % PADDING_MULTIPLE, w + -w % PADDING_MULTIPLE)
        if tuple(features.shape) != expected:
            raise ValueError(
                f"features must be [B, 3, nf, ceil4(h), ceil4(w)] = {list(expected)} for frames {list(frames.shape)}, "
                f"got {list(features.shape)}"
            )
        out, flow = self.decode(features, frames, times, size, frame_upsample)
        if self.config["residual"]:
            enlarged = self.enlarge(features, frames, size) if shared is None else shared
            out = out + warped_blend(enlarged, times_tensor(times, B, frames), flow)
        return out, flow

    def decode(
        self, features: Tensor, frames: Tensor, times: Times, size: Size, frame_upsample: int = 4
    ) -> tuple[Tensor, Tensor]:
        """The query networks alone, arguments as of `query`: colours [B, T, 3, HH, WW] and flow [B, T, 4, HH, WW].

        The colours of a residual network are what it adds.
        """
        padded = pad_to_multiple(frames)
        return inr_query(
            features,
            padded.flatten(1, 2),
            times_tensor(times, len(frames), frames),
            (frames.shape[-2], frames.shape[-1]),
            size,
            self.feat_imnet.layers(),
            self._flow_layers((frames.shape[-2], frames.shape[-1]), size),
            self.encode_imnet.layers(),
            frame_upsample,
        )

    def enlarge(self, features: Tensor, frames: Tensor, size: Size) -> Tensor:
        """Both frames [B, 2, 3, h, w] at `size`, from what `encode` gave: [B, 2, 3, HH, WW], bicubic plus detail.

        The detail is made at four times the input's size and resized from there.
        """
        h, w = (DETAIL_UPSAMPLE * n for n in frames.shape[-2:])
        detail = self.detail(features)[..., :h, :w]
        with torch.autocast(frames.device.type, enabled=False):
            return bicubic(frames, size) + bicubic(detail.to(frames.dtype), size)

    def detail(self, features: Tensor) -> Tensor:
        """What `enlarge` adds to both frames, by sub-pixel convolution: [B, 2, 3, 4 ceil4(h), 4 ceil4(w)]."""
        x = features[:, ::2].flatten(0, 1).contiguous(memory_format=torch.channels_last)
        for conv in (self.upconv1, self.upconv2):
            x = lrelu(F.pixel_shuffle(convolve(conv, x), 2))
        x = convolve(self.conv_last, convolve(self.HRconv, x, slope=0.1))
        return DETAIL_UNIT * x.unflatten(0, (-1, 2))

    def _flow_layers(self, lr_size: Size, size: Size) -> list[tuple[Tensor, Tensor]]:
        """The flow network's layers, whose last gives output pixels whatever the scale.

        The query tells its networks nothing of the scale. The published one has to do with that; here, a residual
        network's flow is in units of FLOW_UNIT input pixels, which also suits the size of its last layer's weights.
        """
        *layers, (weight, bias) = self.flow_imnet.layers()
        if self.config["residual"]:
            y, x = (FLOW_UNIT * out / n for n, out in zip(lr_size, size, strict=True))
            unit = torch.stack([weight.new_full((), n) for n in (x, y, x, y)])  # a CUDA graph takes no copy from a host
            weight, bias = weight * unit[:, None], bias * unit
        return [*layers, (weight, bias)]

    def forward(self, frames: Tensor, times: Times, size: Size, frame_upsample: int = 4) -> Tensor:
        """frames [B, 2, 3, h, w] in [0, 1] -> [B, T, 3, HH, WW] at `times`; see `query`."""
        return self.query(self.encode(frames), frames, times, size, frame_upsample)

    def training_outputs(
        self, frames: Tensor, times: Tensor, size: Size, frame_upsample: int, learn: str
    ) -> tuple[Tensor, list[Tensor]]:
        """See NetworkModule."""
        features = self.encode(frames)
        if learn == "pictures":
            out, found = self.query_with_flow(features, frames, times, size, frame_upsample)
            return out, [found]
        coarse = (frames.shape[-2], frames.shape[-1])
        _, found = self.decode(features, frames, times, coarse, frame_upsample)
        return self.enlarge(features, frames, size), [found]
