"""MoTIF's query: motion and texture by SIRENs, both splatted to the time asked for.

First layers run at input size, and the texture's last layer is one with what the next network does with it.
`vinr_engine.reference.motif_query` is the straight form.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vinr_engine.models.layers.siren import Siren
from vinr_engine.models.layers.splatted import Grid, SplattedColours, check_features, exactly, pointwise_map
from vinr_engine.models.motif.features import MotionEncoder, motion_input
from vinr_engine.models.network import Size, Times, times_tensor
from vinr_engine.ops.checks import check_shape

OP = "MoTIF's query"
WIDTH = 64  # of features


class MoTIFDecoder(SplattedColours):
    """MoTIF's query with its motion encoder, under the parameter names of its checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.flow_process = MotionEncoder()
        self.flow_imnet = Siren(WIDTH + 3, (64, 64, 256), 3)
        self.imnet = Siren(WIDTH + 2, (64, 64, 256), WIDTH)

    def motion_features(self, frames: Tensor, flow: Tensor) -> Tensor:
        """What the query reads of motion, once for two frames and a size: [2, B, 64, h, w].

        Args:
            frames: [B, 2, 3, h, w] in [0, 1].
            flow: [2, 2, B, 2, HH, WW], at [a, b] flow (x, y) from frame a to frame b in pixels of its own size, as an
                estimator makes it; that of a frame to itself is not read. MoTIF's own gives both frames to RAFT,
                enlarged bilinearly to the output's size, times 255.

        Raises ValueError: shapes that do not fit.
        """
        features: Tensor = self.flow_process(motion_input(frames, flow).flatten(0, 1))
        return features.unflatten(0, (2, -1))

    def decode(self, features: Tensor, motion: Tensor, times: Times, size: Size) -> tuple[Tensor, Tensor]:
        """Pictures [B, N, 3, HH, WW], not clamped, and motion [N, direction, B, HH, WW, 3]: flow (x, y) in units of 20
        input rows, and the metric before its scale. Arguments as of `vinr_engine.drop_in.motif.MoTIFQuery`."""
        check_features(OP, features, size)
        B, _, _, h, w = features.shape
        check_shape(OP, "motion", motion, "[2, B, 64, h, w]", (2, B, WIDTH, h, w))
        t = times_tensor(times, B, features)
        grid = Grid((h, w), size, features)
        whole = torch.is_grad_enabled()
        both = features[:, ::2].transpose(0, 1).flatten(0, 1)  # first frames, then second ones
        moved = self._motion(motion.flatten(0, 1), t, grid, whole)
        return self.colours(self._values(both, grid, whole), moved, features[:, 1], t, grid), moved.unflatten(1, (2, B))

    def _motion(self, maps: Tensor, times: Tensor, grid: Grid, whole: bool) -> Tensor:
        """[N, 2 B, HH, WW, 3]; a time is the same number at every pixel: it belongs to the maps."""
        (weight, bias), *layers = self.flow_imnet.layers()
        known = pointwise_map(maps, weight[:, :WIDTH], bias)
        of_time, of_place = weight[:, WIDTH], weight[:, WIDTH + 1 :]
        moved = []
        for t in times.repeat(1, 2):
            first = known + (t[:, None] * of_time)[..., None, None]
            moved.append(grid.nearest_mlp(first, layers, of_place, whole))
        return torch.stack(moved)

    def _values(self, maps: Tensor, grid: Grid, whole: bool) -> Tensor:
        """[2 B, HH, WW, 64]"""
        (weight, bias), *layers, (last, last_bias) = self.imnet.layers()
        of_texture, _, of_features, *_ = self.columns()
        with exactly(maps):
            layers.append((of_texture @ last, of_texture @ last_bias))
        known = pointwise_map(maps, weight[:, :WIDTH], bias)
        values = grid.nearest_mlp(known, layers, weight[:, WIDTH:], whole)
        return grid.add_nearest(values, pointwise_map(maps, of_features))
