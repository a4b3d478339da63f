"""BF-STVSR complete: VideoINR's encoder, and its own query."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from vinr_engine.memory import Need
from vinr_engine.models.bf_stvsr.query import BFDecoder
from vinr_engine.models.network import NetworkModule, Size, Times, register
from vinr_engine.models.videoinr import network as videoinr
from vinr_engine.models.videoinr.encoder import PADDING_MULTIPLE, Encoder, KnownFrame
from vinr_engine.models.videoinr.published import encoder_config

# What published checkpoints hold beside: the flow network of the training, modules of the alignments for a time that
# nobody gives them, and the upsampler of the encoder's first home.
_NEVER_RUN = re.compile(r"flow_predictor\.|encoder\.(.*\.)?TMB_|encoder\.(upconv[12]|HRconv|conv_last)\.")


@register
class BFSTVSR(BFDecoder, NetworkModule):
    """Continuous space-time super-resolution by B-splines in time and a Fourier basis in space.

    Args:
        groups: offset groups of the encoder's deformable convolutions; divides 64.
        front_blocks, back_blocks: its residual blocks before and after its recurrent part.

    The defaults are the published values. Raises ValueError for values that make no network.
    """

    grid = PADDING_MULTIPLE
    together = 8  # its motion and its texture are the same for all times

    def __init__(self, groups: int = 8, front_blocks: int = 5, back_blocks: int = 40) -> None:
        for name, value, least in (
            ("groups", groups, 1),
            ("front_blocks", front_blocks, 0),
            ("back_blocks", back_blocks, 0),
        ):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"BFSTVSR: {name} must be a whole number from {least} up, got {value!r}")
        if 64 % groups:
            raise ValueError(f"BFSTVSR: groups must divide 64, got {groups}")
        super().__init__()
        self.config = {"groups": groups, "front_blocks": front_blocks, "back_blocks": back_blocks}
        self.encoder = Encoder(64, groups, front_blocks, back_blocks)

    @classmethod
    def from_published(cls, state: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """See NetworkModule: names are those of the published checkpoint, and shapes tell the constructor's values."""
        if "flow_imnet.t_dilation.weight" not in state:
            return None
        return encoder_config(state, "encoder."), {n: t for n, t in state.items() if not _NEVER_RUN.match(n)}

    @property
    def unused(self) -> tuple[str, ...]:
        """A layer of the published texture that nothing runs."""
        return ("imnet.phase.",)

    def need(self, frames: Size, size: Size) -> Need:
        """See Network; of one picture, and of eight at once."""
        encoder = videoinr.need(frames, (1, 1))
        return Need(encoder.frame, encoder.pair, max(encoder.working, 2600 * size[0] * size[1]))

    def known(self, frame: Tensor, size: Size | None = None) -> KnownFrame:
        """See Encoder."""
        return self.encoder.known(frame)

    def encode_pair(self, first: KnownFrame, second: KnownFrame) -> Tensor:
        """-> features [B, 3, 64, ceil4(h), ceil4(w)]: at t = 0, between, t = 1."""
        return self.encoder.encode_pair(first, second)

    def encode(self, frames: Tensor) -> Tensor:
        """frames [B, 2, 3, h, w] in [0, 1] -> features [B, 3, 64, ceil4(h), ceil4(w)], padded, not cropped."""
        return self.encoder.encode(frames)

    def query(self, features: Tensor, frames: Tensor, times: Times, size: Size, *, shared: None = None) -> Tensor:
        """See Network; batches of any size. The frames' colours are not used."""
        h, w = frames.shape[-2:]
        return self.decode(features[..., :h, :w], times, size)[0]
