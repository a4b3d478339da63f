"""PSNR and SSIM of pictures against the true one, by every choice that published figures differ in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

CHANNELS = ("Y", "RGB")
MAX_PSNR = 100.0
"""What equal pictures get, in dB, so that means stay finite."""
WINDOW = 11
"""Side of SSIM's window in pixels; a picture must have that much left after its border is cropped."""
_SIGMA, _C1, _C2 = 1.5, 0.01**2, 0.03**2
_BAND = 32
_LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)


@dataclass(frozen=True)
class Variant:
    """What is compared: "Y" or "RGB", rounded to 8 bits or not, without `border` pixels all round."""

    channels: str
    quantised: bool
    border: int


def variants(borders: Iterable[int]) -> list[Variant]:
    """Every combination of channels, rounding and the given borders, without repeats."""
    return [Variant(c, q, b) for c, q, b in product(CHANNELS, (True, False), sorted(set(borders)))]


def quantise(x: Tensor) -> Tensor:
    """Values in [0, 1] rounded to 8 bits, still in [0, 1]."""
    return (x * 255).round() / 255


def luma(rgb: Tensor) -> Tensor:
    """Y of ITU-R BT.601 in its limited range, 16/255 to 235/255: [..., 3, H, W] in [0, 1] -> [..., 1, H, W].

    This is MATLAB's rgb2ycbcr, which super-resolution reports. A peak of 255 is used with it nevertheless.
    """
    red, green, blue = rgb.unbind(-3)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue + 16 / 255).unsqueeze(-3)


def _blur(x: Tensor) -> Tensor:
    """SSIM's Gaussian window over [..., H, W], one axis after the other -> [..., H - 10, W - 10]."""
    offset = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    gauss = torch.exp(-(offset**2) / (2 * _SIGMA**2))
    taps = (gauss / gauss.sum()).tolist()
    # the taps are symmetric: sums of shifted pictures cost a tenth of a two-dimensional convolution
    for axis in (-2, -1):
        n = x.shape[axis] - WINDOW + 1
        out = x.narrow(axis, WINDOW // 2, n) * taps[WINDOW // 2]
        for i in range(WINDOW // 2):
            out.add_(x.narrow(axis, i, n) + x.narrow(axis, WINDOW - 1 - i, n), alpha=taps[i])
        x = out
    return x


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """SSIM at each pixel whose window lies inside the picture: [..., H, W] in [0, 1], twice -> [..., H - 10, W - 10].

    An 11x11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, range 1. The map of a picture with a cropped border
    is this map, cropped alike. Source: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error
    Visibility to Structural Similarity", 2004, and its authors' ssim.m.
    """
    rows, halo = a.shape[-2] - WINDOW + 1, WINDOW - 1
    # bands of rows that stay in the cache cost a third of whole pictures
    bands = [slice(top, min(top + _BAND, rows) + halo) for top in range(0, rows, _BAND)]
    return torch.cat([_ssim(a[..., band, :], b[..., band, :]) for band in bands], -2)


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    mean_a, mean_b, aa, bb, ab = _blur(torch.stack([a, b, a * a, b * b, a * b]))
    mean_ab, squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    contrast = (2 * (ab - mean_ab) + _C2) / (aa + bb - squares + _C2)
    return contrast * (2 * mean_ab + _C1) / (squares + _C1)


def _inner(x: Tensor, border: int) -> Tensor:
    return x[..., border : x.shape[-2] - border, border : x.shape[-1] - border]


def measure(picture: Tensor, truth: Tensor, wanted: Iterable[Variant]) -> Tensor:
    """PSNR in dB and SSIM of a picture.

    Args:
        picture, truth: [3, H, W] in [0, 1], floating-point.
        wanted: which variants; see `variants`.

    Returns:
        [variants, 2], on the CPU, in float64. PSNR is that of the mean squared error over all channels and pixels,
        with a peak of 255 for Y too, at most MAX_PSNR; SSIM is the mean over channels and pixels.

    Raises:
        ValueError: shapes differ, or a picture is smaller than SSIM's window and twice the border.
    """
    wanted = list(wanted)
    least = WINDOW + 2 * max(v.border for v in wanted)
    if picture.shape != truth.shape or picture.dim() != 3 or len(picture) != 3 or min(picture.shape[1:]) < least:
        raise ValueError(
            f"measure: picture and truth must be [3, H, W] alike with H, W >= {least}, "
            f"got {list(picture.shape)} and {list(truth.shape)}"
        )
    rows: dict[Variant, Tensor] = {}
    for channels, quantised in dict.fromkeys((v.channels, v.quantised) for v in wanted):
        a, b = (quantise(x) if quantised else x for x in (picture, truth))
        if channels == "Y":
            a, b = luma(a), luma(b)
        error, similarity = (a - b) ** 2, ssim_map(a, b)
        for v in wanted:
            if (v.channels, v.quantised) == (channels, quantised):
                mse = _inner(error, v.border).mean().clamp(min=10 ** (-MAX_PSNR / 10))
                rows[v] = torch.stack([-10 * mse.log10(), _inner(similarity, v.border).mean()])
    return torch.stack([rows[v] for v in wanted]).double().cpu()
