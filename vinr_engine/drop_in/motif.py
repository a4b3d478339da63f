"""MoTIF's query, for projects that have its encoder, a network of optical flow, and its weights.

    query = MoTIFQuery.of(model)
    motion = query.motion_features(frames, flow)
    pictures = query(features, motion, times, (720, 1280))

It shares the parameters of the project's own network.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from vinr_engine.drop_in.weights import load_part, share_part
from vinr_engine.models.motif.query import MoTIFDecoder
from vinr_engine.models.network import Size, Times

_PARTS = ("flow_process.", "flow_imnet.", "imnet.", "synth_net.", "alpha")


class MoTIFQuery(MoTIFDecoder):
    """MoTIF's query with its motion encoder, under the parameter names of its checkpoints.

    Source: Chen et al., "MoTIF: Learning Motion Trajectories with Local Implicit Neural Functions for Continuous
    Space-Time Video Super-Resolution", ICCV 2023.
    """

    @classmethod
    def of(cls, model: nn.Module) -> MoTIFQuery:
        """With the parameters of a project's own network themselves, so that what trains the one trains the other; its
        encoder and its flow network are left out. Raises ValueError for a module that has not these names."""
        return share_part(cls(), model, _PARTS)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> MoTIFQuery:
        """With the parameters of a whole network's state; those of its encoder and its flow network are left out.

        Raises ValueError.
        """
        return load_part(cls(), state, _PARTS)

    def forward(self, features: Tensor, motion: Tensor, times: Times, size: Size) -> Tensor:
        """Pictures [B, N, 3, HH, WW], clamped to [0, 1] as the published network's; `decode` gives them as they are.

        Args:
            features: [B, 3, 64, h, w], the encoder's, at t = 0, between and at t = 1.
            motion: [2, B, 64, h, w], what `motion_features` gave.
            times: in [0, 1]; a number, [N] or [N, B].
            size: (HH, WW) of the pictures, any.

        Raises ValueError: shapes or times that do not fit.
        """
        return self.decode(features, motion, times, size)[0].clamp(0, 1)
