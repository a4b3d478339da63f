"""One frame, enlarged: plain 3x3 convolutions, and a function of their features that is asked at every output pixel.

What is added to the bicubic enlargement grows with contrast and is exactly zero where the frame is flat: no convolution
has a bias, and all see the frame without its local mean. A darker picture gets the same detail, darker; only where all
contrast is as small as the rounding to 8 bits is there little to trust, and little is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.models.layers.blocks import ResidualBlocks, local_mean
from vinr_engine.models.layers.convolution import convolve
from vinr_engine.models.network import Size
from vinr_engine.ops.phase_linear import phase_linear
from vinr_engine.reference.phase_linear import phases
from vinr_engine.reference.sampling import axis_grid

MEAN_SIDE = 9  # pixels each way of the mean that is taken off
CONTRAST_SIDE = 7
ROUNDING = 0.5 / 255  # the contrast of which half is trusted
SCALES = (2.0, 3.0, 4.0)
PLACES = (-0.75, -0.25, 0.25, 0.75)  # in an input pixel, half of them from its centre: those of scale 4
KNOTS = len(PLACES)


def conv(inputs: int, outputs: int, stride: int = 1, gain: float = 1.0) -> nn.Conv2d:
    """3x3 and without a bias, by He's initialisation times `gain`."""
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    layer.weight.data.mul_(gain)
    return layer


def without_mean(frame: Tensor) -> Tensor:
    """frame [B, 3, h, w] less its local mean: zero where it is flat, and beyond its edges as good as zero."""
    return frame - local_mean(frame, MEAN_SIDE)


def base(frames: Tensor, size: Size) -> Tensor:
    """[..., 3, h, w] -> [..., 3, HH, WW], bicubic: PyTorch's, with a = -3/4; antialiased where it shrinks."""
    antialias = size[0] < frames.shape[-2] or size[1] < frames.shape[-1]
    flat = F.interpolate(frames.flatten(0, -4), size, mode="bicubic", antialias=antialias)
    return flat.unflatten(0, frames.shape[:-3])


def contrast(detail: Tensor) -> Tensor:
    """detail [B, 3, h, w], as of `without_mean` -> [B, 1, h, w], how much there is of it nearby."""
    return local_mean(detail.abs().mean(1, keepdim=True), CONTRAST_SIDE)


def blocks(count: int, nf: int) -> ResidualBlocks:
    """Residual blocks without biases."""
    return ResidualBlocks(count, nf, bias=False, first_gain=1.0)


class Decoder(nn.Module):
    """Features, asked for what they add to a picture of any size.

    At each output pixel that is a linear function of the features of the input pixel that holds it, and which function
    follows from where in it the pixel lies, and from the scale: interpolated linearly between those of KNOTS x KNOTS
    places at each of SCALES. Below the first, it fades to nothing at scale 1.
    """

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.project = conv(nf, nf)
        self.functions = nn.Parameter(torch.empty(len(SCALES), KNOTS, KNOTS, 3, nf))
        nn.init.normal_(self.functions, std=0.1 * nf**-0.5)

    def forward(self, features: Tensor, size: Size, picture: Tensor | None = None) -> Tensor:
        """features [B, nf, h, w] -> [B, 3, HH, WW], with it `picture`, of that shape, if one is given."""
        return phase_linear(convolve(self.project, features), self._weights(features, size), size, picture)

    def _weights(self, features: Tensor, size: Size) -> Tensor:
        """[Py, Px, 3, nf], see `phase_linear`."""
        functions = Functions(self, (features.shape[-2], features.shape[-1]), size)
        return functions.of_rows(0, functions.periods[0])


class Functions:
    """What a decoder's linear functions are in the rows of pictures of `size`, of frames of size `coarse`."""

    def __init__(self, decoder: Decoder, coarse: Size, size: Size) -> None:
        stored = decoder.functions
        self.coarse, self.size = coarse, size
        self.periods = phases(coarse[0], size[0]), phases(coarse[1], size[1])
        self._shape = stored.shape[3:]
        scale = math.sqrt(size[0] * size[1] / (coarse[0] * coarse[1]))
        shares = interpolation(stored.new_tensor([scale]), (1.0, *SCALES), extrapolate=False)[0, 1:]
        self._rows, self._columns = (
            interpolation(axis_grid(n, m, shares.dtype, shares.device).relative[:period], PLACES)
            for n, m, period in zip(coarse, size, self.periods, strict=True)
        )
        # The widest product last: in the order of the letters of one einsum, places meet before functions do.
        self._of_scale = torch.matmul(shares, stored.flatten(1)).unflatten(0, (KNOTS, -1))

    @staticmethod
    def numbers(decoder: Decoder, coarse: Size, size: Size) -> int:
        """Of all rows of a period."""
        return phases(coarse[0], size[0]) * phases(coarse[1], size[1]) * decoder.functions[0, 0, 0].numel()

    def of_rows(self, first: int, last: int) -> Tensor:
        """[last - first, Px, 3, nf]: of rows of one period, as `phase_linear` takes all of them."""
        rows = self._rows[first:last]
        of_rows = torch.matmul(rows, self._of_scale).unflatten(1, (KNOTS, -1))
        # [Px, KNOTS] times [Py, KNOTS, 3 nf]
        return torch.matmul(self._columns, of_rows).unflatten(2, self._shape)


def interpolation(values: Tensor, knots: Sequence[float], extrapolate: bool = True) -> Tensor:
    """values [n], knots in rising order -> [n, knots]: the shares by which a function that is linear between its values
    at the knots, and beyond them or constant there, has its values at `values`."""
    at = values.new_tensor(knots)
    if not extrapolate:
        values = values.clamp(at[0], at[-1])
    left = (torch.searchsorted(at, values.contiguous(), right=True) - 1).clamp(0, len(knots) - 2)
    part = (values - at[left]) / (at[left + 1] - at[left])
    shares = values.new_zeros(len(values), len(knots))
    return shares.scatter(1, left[:, None], (1 - part)[:, None]).scatter(1, left[:, None] + 1, part[:, None])


class Enlarger(nn.Module):
    """The features of a frame, and what they add to its bicubic enlargement."""

    def __init__(self, nf: int, count: int) -> None:
        super().__init__()
        self.head = conv(3, nf)
        self.body = blocks(count, nf)
        self.tail = conv(nf, nf, gain=0.5)
        self.decoder = Decoder(nf)

    def forward(self, detail: Tensor, contrast: Tensor) -> Tensor:
        """detail [B, 3, h, w], as of `without_mean`, and its `contrast` [B, 1, h, w] -> features [B, nf, h, w]"""
        x = convolve(self.head, detail.contiguous(memory_format=torch.channels_last))
        energy = contrast.square()
        return convolve(self.tail, self.body(x), add=x) * (energy / (energy + ROUNDING**2))
