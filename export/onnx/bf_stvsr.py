"""The two graphs of an exported BF-STVSR: the encoder of a pair of frames, and the query.

In standard operations, for all pixels at once: a runtime that fuses nothing stores what the engine keeps in its cache.
What an input pixel alone determines is computed at input size, but for the texture's convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.export.onnx.graphs import output_size
from vinr_engine.export.onnx.tracing import Coarse, conv2d, layers, mix, scatter_most, scatter_sum
from vinr_engine.models import BFSTVSR
from vinr_engine.models.layers.siren import OMEGA, Siren
from vinr_engine.reference.bf_stvsr import FLOW_UNIT, MOST_TAPS

TIE = 1_000_000  # parts of half a picture by one of which places go up, as `reference.nearest` has it
FARTHEST = 1 << 17  # pixels, beyond any picture: flow that is longer ends there


class BFEncoder(nn.Module):
    """frames [1, 2, 3, h', w'] in [0, 1], h' and w' multiples of 4 -> features [1, 3, 64, h', w']."""

    output_names = ("features",)

    def __init__(self, model: BFSTVSR) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, frames: Tensor) -> Tensor:
        with Coarse():
            return self.encoder.encode(frames).contiguous()


class BFQuery(nn.Module):
    """The query of features [1, 3, 64, h', w'], times [T] float32 in [0, 1], lr_size (h, w) and size (HH, WW), both
    int64 [2], HH and WW from 2 up -> colour [1, T, 3, HH, WW], and flow [1, T, 4, HH, WW] in output pixels: (x, y) from
    the first frame to the time, and from the second.
    """

    times: Tensor | None

    def __init__(self, model: BFSTVSR, times: Sequence[float] | None, size: tuple[int, int] | None) -> None:
        super().__init__()
        self.model, self.size = model, size
        self.register_buffer("times", None if times is None else torch.tensor(times, dtype=torch.float32))
        self.grows = bool((model.alpha > 0).any())  # else no weight exceeds 1

    @property
    def input_names(self) -> list[str]:
        names = ["features", "lr_size", *(["times"] if self.times is None else [])]
        return names if self.size is not None else [*names, "size"]

    def forward(self, *values: Tensor) -> tuple[Tensor, Tensor]:
        given = dict(zip(self.input_names, values, strict=True))
        features, lr_size = given["features"], given["lr_size"]
        times = given["times"] if self.times is None else self.times
        HH, WW = output_size(self.size, given.get("size"))
        (y, rel_y), (x, rel_x) = (_nearest(lr_size[k], n) for k, n in ((0, HH), (1, WW)))

        def read(maps: Tensor) -> Tensor:
            return maps.index_select(2, y).index_select(3, x)

        unit = FLOW_UNIT * HH / lr_size[0].float()  # of both axes
        place = rel_y.reshape(1, 1, HH, 1), rel_x.reshape(1, 1, 1, WW)
        of_texture, of_flow, of_features, of_weights, of_between, of_time = self.model.columns()
        sums, moves = None, []
        for direction, t in ((0, times), (1, 1 - times)):
            maps = features[:, 2 * direction]
            motion = self._motion(maps, t.reshape(-1, 1, 1, 1), place, read)  # [T, 3, HH, WW]
            flow, metric = motion[:, :2] * unit, self.model.alpha * motion[:, 2:].clamp(min=0)
            values_ = self._texture(maps, of_texture, place, read) + read(_linear(maps, of_features, None))
            thrown = values_ + _linear(motion[:, :2], of_flow, None)
            sums = _splatted(thrown, flow, metric.exp(), sums, self.grows)
            moves.append(flow)
        assert sums is not None
        average, extra = _averaged(*sums)
        (_, bias), *_ = self.model.synth_net.layers()
        known = read(_linear(features[:, 1], of_between, bias))
        phases = average + known + _linear(extra, of_weights, None) + (of_time * times).t()[..., None, None]
        rgb = layers(OMEGA * phases, _scaled(self.model.synth_net))
        return rgb[None], torch.cat(moves, 1)[None]

    def _motion(self, maps: Tensor, t: Tensor, place: tuple[Tensor, Tensor], read: object) -> Tensor:
        """[T, 3, HH, WW]"""
        net = self.model.flow_imnet
        (weight, bias), *_ = net.layers()
        first = read(_linear(maps, weight[:, :64], bias))  # type: ignore[operator]
        row, column = (part.reshape(1, -1, 1, 1) for part in weight[:, 64:].unbind(1))
        splines = layers(OMEGA * (first + row * place[0] + column * place[1]), _scaled(net))
        coef, knot = splines[:, :64], splines[:, 64:]
        dilation = (net.t_dilation.weight[:, 0] * net.t_res).reshape(1, -1, 1, 1)
        u = (dilation * (t - knot)).abs()
        beta = (F.relu(2 - u) ** 3 - 4 * F.relu(1 - u) ** 3) / 6
        return _linear(coef * beta, net.final_linear.weight, net.final_linear.bias)

    def _texture(self, maps: Tensor, projection: Tensor, place: tuple[Tensor, Tensor], read: object) -> Tensor:
        """[1, 64, HH, WW]"""
        net = self.model.imnet
        basis = layers(OMEGA * _linear(maps, *net.layers()[0]), _scaled(net))
        wide = read(basis)  # type: ignore[operator]
        a, f = (
            conv2d(part, conv.weight, conv.bias, 1, 1)
            for part, conv in ((wide[:, :64], net.coef), (wide[:, 64:], net.freq))
        )
        theta = math.pi * (f[:, ::2] * place[0] + f[:, 1::2] * place[1])
        z = a * torch.cat([theta.cos(), theta.sin()], 1)
        return _linear(z, projection @ net.final_linear.weight, projection @ net.final_linear.bias)


def _linear(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A layer at every pixel of maps [N, C, H, W]."""
    N, C, H, W = maps.shape
    out = mix(weight, maps.reshape(N, C, -1)).reshape(N, -1, H, W)
    return out if bias is None else out + bias.reshape(1, -1, 1, 1)


def _scaled(network: Siren) -> list[Tensor]:
    """Weight and bias of the layers after the first, those that a sine follows giving phases."""
    *hidden, last = network.layers()[1:]
    return [*(OMEGA * t for layer in hidden for t in layer), *last]


def _nearest(n: Tensor, n_out: int) -> tuple[Tensor, Tensor]:
    """Of `n_out` output pixels the nearest of n, and where in it they lie; as `reference.nearest`, in whole numbers."""
    twice = 2 * torch.arange(n_out) + 1
    index = torch.minimum((twice * TIE + n_out) * n // (2 * n_out * TIE), n - 1)
    return index, (twice * n - (2 * index + 1) * n_out).float() / n_out


def _splatted(
    values: Tensor, flow: Tensor, weight: Tensor, sums: tuple[Tensor, Tensor] | None, grows: bool
) -> tuple[Tensor, Tensor]:
    """values [T, C, H, W] thrown by flow [T, 2, H, W], on top of `sums`: of values times weight, weights and taps
    [T, H, W, C + 2], and the largest weights [T, H, W, 1], not less than 1.
    """
    T, C, H, W = values.shape
    rows, columns = torch.arange(H, dtype=torch.float32).reshape(1, H, 1), torch.arange(W, dtype=torch.float32)
    at_x, at_y = (flow[:, k].clamp(-FARTHEST, FARTHEST) + n for k, n in ((0, columns), (1, rows)))
    x0, y0 = at_x.floor(), at_y.floor()
    a, b = at_x - x0, at_y - y0
    thrown = torch.cat([values * weight, weight], 1).permute(0, 2, 3, 1)
    image = (torch.arange(T) * (H * W)).reshape(T, 1, 1)
    if sums is None:
        sums = values.new_zeros(T, H, W, C + 2), values.new_ones(T, H, W, 1)
    total, largest = (part.reshape(T * H * W, -1) for part in sums)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = ((a if dx else 1 - a) * (b if dy else 1 - b))[..., None]
        r, c = y0 + dy, x0 + dx
        inside = (r >= 0) & (r < H) & (c >= 0) & (c < W)
        to = torch.where(inside, image + (r * W).long() + c.long(), T * H * W).reshape(-1)
        part = torch.cat([share * thrown, torch.ones_like(share)], -1)
        total = scatter_sum(total, to, part.reshape(-1, C + 2))
        if grows:
            largest = scatter_most(largest, to, part[..., C : C + 1].reshape(-1, 1))
    return total.reshape(T, H, W, C + 2), largest.reshape(T, H, W, 1)


def _averaged(sums: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    """Means [T, C, H, W], and the three maps of weights [T, 3, H, W]."""
    C = sums.shape[-1] - 2
    numerator, total, count = sums[..., :C], sums[..., C : C + 1], sums[..., C + 1 :]
    total = torch.where(total == 0, 1.0, total)
    mean = torch.where(total == 1, 0.0, total) / count.clamp(min=1)
    extra = torch.cat([largest, count / MOST_TAPS, mean], -1)
    return (numerator / total).permute(0, 3, 1, 2), extra.permute(0, 3, 1, 2)
