"""What BF-STVSR and MoTIF share: values of both frames, splatted to a time along flow, and a SIREN that makes colour.

Splatting is linear in its values, and so is the first layer of the SIREN: values are projected by it before they are
splatted, 64 numbers in place of 130. `vinr_engine.reference.bf_stvsr` is the straight form.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.models.layers.siren import Siren
from vinr_engine.models.network import Size
from vinr_engine.ops import sampled_mlp, splat_sum
from vinr_engine.ops.checks import check, check_floating, check_rank, check_shape
from vinr_engine.reference.bf_stvsr import FLOW_UNIT, MOST_TAPS
from vinr_engine.reference.mlp import Layer
from vinr_engine.reference.nearest import nearest_index, relative_position

BLOCK = 1 << 14  # output pixels whose hidden numbers lie in the cache together


class Grid:
    """Which input pixel each output pixel reads, and where in it that lies, in blocks of rows.

    size: (HH, WW) of the output; lr_size: (h, w) of the input.
    """

    def __init__(self, lr_size: Size, size: Size, like: Tensor) -> None:
        self.lr_size, self.size, self.device, self.dtype = lr_size, size, like.device, like.dtype
        axes = list(zip(size, lr_size, strict=True))
        self.index = [nearest_index(out, n, like.device) for out, n in axes]
        self._relative = [relative_position(out, n, like.device).to(like.dtype) for out, n in axes]

    def assembled(self, make: Callable[[slice], Tensor], axis: int, whole: bool) -> Tensor:
        """What `make` gives for rows of the output, their pixels along `axis`: of all at once, or block by block."""
        HH, WW = self.size
        step = HH if whole else max(1, BLOCK // WW)
        if step >= HH:
            return make(slice(0, HH))
        out = None
        for first in range(0, HH, step):
            part = make(slice(first, min(HH, first + step)))
            if out is None:
                out = part.new_empty([HH * WW if i == axis else n for i, n in enumerate(part.shape)])
            out.narrow(axis, first * WW, part.shape[axis]).copy_(part)
        assert out is not None
        return out

    def _pairs(self, rows: slice, y: Tensor, x: Tensor, batch: int) -> Tensor:
        """[batch, pixels, 2] of (y, x)."""
        pairs = torch.stack(torch.meshgrid(y[rows], x, indexing="ij"), -1).view(1, -1, 2)
        return pairs.expand(batch, -1, -1)

    def nearest(self, rows: slice, batch: int) -> Tensor:
        """Of the pixels of some rows, the pixel of the input."""
        y, x = (index.to(self.dtype) for index in self.index)
        return self._pairs(rows, y, x, batch)

    def relative(self, rows: slice, batch: int) -> Tensor:
        """Of the pixels of some rows, where in the input's pixel they lie, in half of those."""
        y, x = self._relative
        return self._pairs(rows, y, x, batch)

    def own(self, rows: slice, batch: int) -> Tensor:
        """The pixels of some rows themselves."""
        y, x = (torch.arange(n, device=self.device, dtype=self.dtype) for n in self.size)
        return self._pairs(rows, y, x, batch)

    def nearest_rows(self, rows: slice, maps: Tensor, layers: list[Layer], of_place: Tensor) -> Tensor:
        """[B, pixels, out] of a SIREN on some rows: `layers` after a first one that is maps [B, D, h, w], read nearest,
        and `of_place` [D, 2] the place in the pixel."""
        at, relative = self.nearest(rows, len(maps)), self.relative(rows, len(maps))
        return sampled_mlp([maps], [at], layers, x=relative, x_weight=of_place, modes=["nearest"], wide=True)

    def nearest_mlp(self, maps: Tensor, layers: list[Layer], of_place: Tensor, whole: bool) -> Tensor:
        """`nearest_rows` of all rows, block by block unless `whole`: [B, HH, WW, out]"""
        out = self.assembled(lambda rows: self.nearest_rows(rows, maps, layers, of_place), 1, whole)
        return out.unflatten(1, self.size)

    def add_nearest(self, values: Tensor, maps: Tensor, rows: slice = slice(None)) -> Tensor:
        """values [B, rows, WW, C] of some rows and maps [B, C, h, w], read nearest: their sum."""
        y, x = self.index
        return values + maps.permute(0, 2, 3, 1)[:, y[rows]][:, :, x]


def check_features(op: str, features: Tensor, size: Size) -> None:
    """Raises ValueError unless features are [B, 3, 64, h, w] and the size has pixels."""
    check_rank(op, "features", features, "[B, 3, 64, h, w]")
    check_shape(op, "features", features, "[B, 3, 64, h, w]", (len(features), 3, 64, *features.shape[3:]))
    check(0 not in features.shape[3:], op, "features must have pixels, got {}", list(features.shape))
    check_floating(op, "features", features)
    whole = len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)
    check(whole, op, "size must be two whole numbers above 0, (HH, WW), got {!r}", size)


def pointwise_map(maps: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer on the channels of maps [B, C, h, w], in channels-last memory: [B, out, h, w]"""
    with exactly(maps):
        return F.linear(maps.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


def exactly(like: Tensor) -> torch.autocast:
    """A context without autocast: for products that are few, and for what becomes positions."""
    return torch.autocast(like.device.type, enabled=False)


class SplattedColours(nn.Module):
    """The parameters of the last two steps, under the published names, and these steps.

    `synth_net` sees, of a pixel: 130 splatted numbers (64 of texture, flow (x, y), 64 features), the largest weight,
    the taps / 16, the mean weight, 64 features between the frames, and the time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.synth_net = Siren(198, (64, 64, 64, 256), 3)
        self.alpha = nn.Parameter(torch.full((1,), -20.0))

    def columns(self) -> tuple[Tensor, ...]:
        """Of the first layer's weight: of texture, flow, features, maps of weights, features between, time."""
        weight, _ = self.synth_net.layers()[0]
        return weight.split([64, 2, 64, 3, 64, 1], 1)

    def colours(
        self,
        values: Tensor,
        motion: Tensor,
        between: Tensor,
        times: Tensor,
        grid: Grid,
        flow: Tensor | None = None,
    ) -> Tensor:
        """Pictures [B, N, 3, HH, WW], not clamped.

        Args:
            values: [2 B, HH, WW, 64], first frames and then second ones: what is splatted, projected, but its flow.
            motion: [N, 2 B, HH, WW, 3]: flow (x, y) in units of 20 input rows, and the metric before its scale.
            between: features between the frames [B, 64, h, w].
            times: [N, B].
            flow: [N, 2, B, 2, HH, WW], to splat by in place of that of `motion`, in output pixels.
        """
        if flow is not None:
            check_shape(
                "splatted colours", "flow", flow, "[N, 2, B, 2, HH, WW]", (len(times), 2, times.shape[1], 2, *grid.size)
            )
        _, _, _, _, of_between, _ = self.columns()
        known = pointwise_map(between, of_between, self.synth_net.layers()[0][1])
        all_rows, B = slice(0, grid.size[0]), len(between)
        places = [grid.nearest(all_rows, B), grid.own(all_rows, B)]
        pictures = []
        for n, t in enumerate(times):
            given = None if flow is None else flow[n].flatten(0, 1)
            average, extra = self._splatted(values, motion[n], grid, given)
            pictures.append(self._decoded([known, average], places, extra, t))
        return torch.stack(pictures, 1) if len(pictures) > 1 else pictures[0][:, None]

    def _splatted(self, values: Tensor, motion: Tensor, grid: Grid, flow: Tensor | None) -> tuple[Tensor, Tensor]:
        """Means [B, 64, HH, WW], and the three maps of weights [B, 3, HH, WW]."""
        of_flow = F.pad(self.columns()[1], (0, 1))  # nothing of the metric
        with exactly(values):
            # As published, flow that is splatted passes no gradient, and neither do the largest weight and the taps.
            thrown = torch.addmm(values.view(-1, values.shape[-1]), motion.detach().view(-1, 3), of_flow.T)
        if flow is None:
            flow = (motion[..., :2] * (FLOW_UNIT * grid.size[0] / grid.lr_size[0])).permute(0, 3, 1, 2)  # of both axes
        weight = (self.alpha * motion[..., 2].clamp(min=0)).exp()[:, None]
        numerator, total, count, largest = splat_sum(
            thrown.view_as(values).permute(0, 3, 1, 2), flow, weight, count=True, maximum=True
        )
        assert count is not None and largest is not None  # noqa: PT018
        numerator, total, count = (_sum_of_both(x) for x in (numerator, total, count))
        total = torch.where(total == 0, 1, total)
        # 1 marks pixels on which nothing landed, also where it is the sum of weights.
        mean = torch.where(total == 1, 0, total) / count.clamp(min=1)
        first, second = largest.chunk(2)
        return numerator / total, torch.cat([torch.maximum(first, second), count / MOST_TAPS, mean], 1)

    def _decoded(self, maps: list[Tensor], places: list[Tensor], extra: Tensor, times: Tensor) -> Tensor:
        """[B, 3, HH, WW] at times [B]; the first layer sums `maps` at `places`, the weights and the time."""
        B, _, HH, WW = extra.shape
        _, *layers = self.synth_net.layers()
        _, _, _, of_weights, _, of_time = self.columns()
        x = torch.cat([extra.permute(0, 2, 3, 1), times[:, None, None, None].expand(-1, HH, WW, 1)], -1)
        rgb = sampled_mlp(
            maps,
            places,
            layers,
            x=x.view(B, -1, 4),
            x_weight=torch.cat([of_weights, of_time], 1),
            modes=["nearest", "nearest"],
            wide=True,
        )
        return rgb.view(B, HH, WW, 3).permute(0, 3, 1, 2)


def _sum_of_both(maps: Tensor) -> Tensor:
    """Of both directions [2 B, ...], their sum [B, ...]."""
    first, second = maps.chunk(2)
    return first + second
