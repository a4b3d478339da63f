"""Resizing as MATLAB's imresize does it, which is how the published recipe makes its low-resolution frames.

Both axes are products with a matrix, so that a batch on any device is two matrix products, with gradients.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Matrix = npt.NDArray[np.float64]


def resized_length(n: int, scale: float) -> int:
    """ceil(n scale); a product that misses a whole number by rounding counts as that number."""
    return max(1, math.ceil(n * scale - 1e-9))


def cubic(x: Matrix) -> Matrix:
    """Keys' cubic convolution kernel with a = -1/2, which is zero from 2 on."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


@functools.lru_cache(maxsize=256)
def resize_matrix(n: int, scale: float, length: int) -> Matrix:
    """[length, n]: the weights with which an axis of `n` pixels gives one of `length`, `scale` times as fine."""
    narrow = min(1.0, scale)  # shrinking widens the kernel, which is what keeps aliases out
    centre = (np.arange(length) + 0.5) / scale - 0.5
    taps = math.ceil(4 / narrow) + 2
    index = np.floor(centre - 2 / narrow).astype(np.int64)[:, None] + np.arange(taps)
    weight = cubic((centre[:, None] - index) * narrow)
    weight /= weight.sum(1, keepdims=True)
    reflected = index % (2 * n)  # edges are mirrored, the edge pixel itself included
    reflected = np.where(reflected < n, reflected, 2 * n - 1 - reflected)
    matrix = np.zeros((length, n))
    np.add.at(matrix, (np.arange(length)[:, None], reflected), weight)
    matrix.setflags(write=False)
    return matrix


def resize(images: Tensor, scale: float, size: tuple[int, int] | None = None) -> Tensor:
    """Antialiased bicubic resize, as MATLAB's imresize.

    Args:
        images: [..., H, W], floating-point.
        scale: size of a pixel of the images in pixels of the result: 1/4 shrinks by four. Positive.
        size: (rows, columns) of the result; ceil(H scale), ceil(W scale) if not given. `scale` alone says where the
            result's pixels lie, whatever its size.

    Returns:
        [..., rows, columns] in the dtype of `images`, not clipped: overshoot stays.

    Raises:
        ValueError: a scale that is not positive, images without pixels or not floating-point.

    Source: R. Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, with the kernel widened by
    1 / scale when shrinking, mirrored edges and weights that sum to one.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"resize: scale must be positive, got {scale}")
    if images.dim() < 2 or 0 in images.shape[-2:] or not images.is_floating_point():
        raise ValueError(f"resize: images must be floating-point [..., H, W] with pixels, got {list(images.shape)}")
    H, W = images.shape[-2:]
    rows, columns = size or (resized_length(H, scale), resized_length(W, scale))
    vertical, horizontal = (
        torch.tensor(resize_matrix(n, scale, m), dtype=images.dtype, device=images.device)
        for n, m in ((H, rows), (W, columns))
    )
    return vertical @ (images @ horizontal.T)
