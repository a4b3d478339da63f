"""BF-STVSR's query, for projects that have its encoder and its weights: change what decodes the features.

    query = BFQuery.of(model)
    pictures = query(features, times, (720, 1280))

The whole network is `vinr_engine.models.BFSTVSR`, which the video tool takes as weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from vinr_engine.drop_in.weights import load_part, share_part
from vinr_engine.models.bf_stvsr.query import BFDecoder
from vinr_engine.models.network import Size, Times

_PARTS, _NEVER_RUN = ("flow_imnet.", "imnet.", "synth_net.", "alpha"), ("imnet.phase.",)


class BFQuery(BFDecoder):
    """BF-STVSR's query, under the parameter names of its checkpoints but for `encoder.` and `flow_predictor.`.

    Source: Kim et al., "BF-STVSR: B-Splines and Fourier-Best Friends for High Fidelity Spatial-Temporal Video
    Super-Resolution", CVPR 2025.
    """

    @classmethod
    def of(cls, model: nn.Module) -> BFQuery:
        """With the parameters of a project's own network themselves, so that what trains the one trains the other; the
        encoder is left out. Raises ValueError for a module that has not these names."""
        return share_part(cls(), model, _PARTS, lacks=_NEVER_RUN)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> BFQuery:
        """With the parameters of a whole network's state; the encoder's are left out. Raises ValueError."""
        return load_part(cls(), state, _PARTS, lacks=_NEVER_RUN)

    def forward(self, features: Tensor, times: Times, size: Size, flow: Tensor | None = None) -> Tensor:
        """Pictures [B, N, 3, HH, WW], clamped to [0, 1] as the published network's; `decode` gives them as they are.

        Args:
            features: [B, 3, 64, h, w], the encoder's, at t = 0, between and at t = 1.
            times: in [0, 1]; a number, [N] or [N, B].
            size: (HH, WW) of the pictures, any.
            flow: [N, 2, B, 2, HH, WW], flow (x, y) in output pixels, from both frames, to splat by in place of the
                network's own: its training begins with that of another network.

        Raises ValueError: shapes or times that do not fit.
        """
        return self.decode(features, times, size, flow)[0].clamp(0, 1)
