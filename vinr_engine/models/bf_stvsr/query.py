"""BF-STVSR's query: motion by B-splines in time, texture by a Fourier basis, both splatted to the time asked for.

All that belongs to an input pixel alone is computed at input size: first layers, the whole network of the texture, and
its two convolutions, of which an output pixel looks up one of a few values. `vinr_engine.reference.bf_query` is the
straight form, docs/drop-in-bf-stvsr.md says what follows from it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vinr_engine.models.layers.siren import Siren
from vinr_engine.models.layers.splatted import Grid, SplattedColours, check_features, exactly, pointwise_map
from vinr_engine.models.network import Size, Times, times_tensor
from vinr_engine.ops import bspline_head, fourier_mlp, sampled_mlp
from vinr_engine.ops.nearest_conv import nearest_conv_table

OP = "BF-STVSR's query"
WIDTH = 64  # of features, and of both bases


class MotionSpline(Siren):
    """`net` gives a place amplitudes and knots of splines in time, `final_linear` makes flow and metric of those."""

    def __init__(self) -> None:
        super().__init__(WIDTH + 2, (64, 64, 256), 2 * WIDTH)
        self.t_res: Tensor
        self.t_dilation = nn.Linear(1, WIDTH, bias=False)
        self.register_buffer("t_res", torch.full((1,), 0.125))
        self.final_linear = nn.Linear(WIDTH, 3)

    def forward(self, features: Tensor, times: Tensor, grid: Grid, whole: bool) -> Tensor:
        """features [B, 64, h, w] seen at times [N, B] -> [N, B, HH, WW, 3]; all rows at once if `whole`."""
        (weight, bias), *layers = self.layers()
        maps = pointwise_map(features, weight[:, :WIDTH], bias)
        dilation = self.t_dilation.weight[:, 0] * self.t_res
        head = dilation, times, self.final_linear.weight, self.final_linear.bias

        def moved(rows: slice) -> Tensor:
            coef, knot = grid.nearest_rows(rows, maps, layers, weight[:, WIDTH:]).chunk(2, -1)
            with exactly(maps):
                return bspline_head(coef, knot, *head)

        return grid.assembled(moved, 2, whole).unflatten(2, grid.size)


class FourierTexture(Siren):
    """`net` gives an input pixel amplitudes and frequencies, which two convolutions at output size make smooth."""

    def __init__(self) -> None:
        super().__init__(WIDTH, (64, 64, 256), 2 * WIDTH)
        self.coef = nn.Conv2d(WIDTH, WIDTH, 3, 1, 1)
        self.freq = nn.Conv2d(WIDTH, WIDTH, 3, 1, 1)
        self.phase = nn.Linear(1, WIDTH, bias=False)  # which the published network never runs
        self.final_linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, features: Tensor, projection: Tensor, added: Tensor, grid: Grid, whole: bool) -> Tensor:
        """What `projection` [out, 64] makes of the texture, and `added` [B, out, h, w] read nearest: [B, HH, WW, out].

        features: [B, 64, h, w].
        """
        amplitude, frequency = self._basis(features).chunk(2, 1)
        coef, index = nearest_conv_table(amplitude, self.coef.weight, self.coef.bias, grid.size)
        order = torch.arange(WIDTH, device=features.device).view(-1, 2).T.flatten()  # along y, then those along x
        freq, _ = nearest_conv_table(frequency, self.freq.weight[order], _at(self.freq.bias, order), grid.size)
        with exactly(features):
            layer = projection @ self.final_linear.weight, projection @ self.final_linear.bias

        def values(rows: slice) -> Tensor:
            at = index[rows].view(1, -1, 1).expand(len(features), -1, -1)
            relative = grid.relative(rows, len(features))[:, :, None]
            texture = fourier_mlp(coef, freq, at, relative, None, [layer], wide=True).unflatten(1, (-1, grid.size[1]))
            return grid.add_nearest(texture, added, rows).flatten(1, 2)

        return grid.assembled(values, 1, whole).unflatten(1, grid.size)

    def _basis(self, features: Tensor) -> Tensor:
        """[B, 128, h, w] of an input pixel, before the convolutions."""
        B, _, h, w = features.shape
        (weight, bias), *layers = self.layers()
        maps = pointwise_map(features, weight, bias)
        own = Grid((h, w), (h, w), features).own(slice(0, h), B)
        return sampled_mlp([maps], [own], layers, modes=["nearest"], wide=True).view(B, h, w, -1).permute(0, 3, 1, 2)


def _at(bias: Tensor | None, order: Tensor) -> Tensor | None:
    return None if bias is None else bias[order]


class BFDecoder(SplattedColours):
    """All of BF-STVSR but its encoder, under the parameter names of its checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.flow_imnet = MotionSpline()
        self.imnet = FourierTexture()

    def decode(self, features: Tensor, times: Times, size: Size, flow: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pictures [B, N, 3, HH, WW], not clamped, and motion [N, direction, B, HH, WW, 3]: flow (x, y) in units of 20
        input rows, and the metric before its scale.

        Args:
            features: [B, 3, 64, h, w], the encoder's, at t = 0, between and at t = 1.
            times: in [0, 1]; a number, [N] or [N, B].
            size: (HH, WW) of the pictures, any.
            flow: [N, direction, B, 2, HH, WW], flow (x, y) in output pixels to splat by in place of the network's own:
                its training begins with that of another network.

        Raises ValueError: shapes or times that do not fit.
        """
        check_features(OP, features, size)
        B, _, _, h, w = features.shape
        t = times_tensor(times, B, features)
        grid = Grid((h, w), size, features)
        whole = torch.is_grad_enabled()
        both = features[:, ::2].transpose(0, 1).flatten(0, 1)  # first frames, then second ones
        motion = self.flow_imnet(both, torch.cat([t, 1 - t], 1), grid, whole)
        of_texture, _, of_features, *_ = self.columns()
        values = self.imnet(both, of_texture, pointwise_map(both, of_features), grid, whole)
        return self.colours(values, motion, features[:, 1], t, grid, flow), motion.unflatten(1, (2, B))
