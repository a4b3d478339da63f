"""Linear light, which EXR and its like hold, and the values in [0, 1] that a network takes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .colour import Array

MOST = 65504.0
"""The largest half float."""
_WHITE = 0.75
"""Where `coded` has display white."""
_STOPS = math.log(MOST)


def srgb(linear: Array) -> Array:
    """sRGB's values of linear light; below 0 and above 1 is cut off."""
    x = np.clip(linear, 0, 1).astype(np.float32)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055).astype(np.float32)


def coded(linear: Array) -> Array:
    """Values in [0, 1] of linear light from 0 to MOST, which `linear_of` turns back.

    Up to 1, display white, it is sRGB's curve on three quarters of the range; above, the logarithm. A half float comes
    back as it was. Below 0 and above MOST is cut off.
    """
    x = np.clip(linear, 0, MOST).astype(np.float32)
    bright = _WHITE + (1 - _WHITE) / _STOPS * np.log(np.maximum(x, 1))
    return np.where(x <= 1, _WHITE * srgb(x), bright).astype(np.float32)


def linear_of(values: Array) -> Array:
    """The inverse of `coded`."""
    v = np.clip(values, 0, 1).astype(np.float64)
    bright = np.exp((np.maximum(v, _WHITE) - _WHITE) * (_STOPS / (1 - _WHITE)))
    return np.where(v <= _WHITE, _inverse_srgb(np.minimum(v / _WHITE, 1)), bright).astype(np.float32)


def linear_from(values: Array, transfer: int) -> Array:
    """Linear light of values in [0, 1] by H.273's number of their transfer; those without a curve here count as sRGB's.

    1 is display white; with 16 (PQ) that is 203 cd/m2 (ITU-R BT.2408).
    """
    v = np.clip(values, 0, 1).astype(np.float64)
    if transfer == 8:
        out = v
    elif transfer in (4, 5):
        out = v ** (2.2 if transfer == 4 else 2.8)
    elif transfer in (1, 6, 14, 15):
        out = np.where(v < 0.081, v / 4.5, ((v + 0.099) / 1.099) ** (1 / 0.45))
    elif transfer == 16:
        p = v ** (32 / 2523)
        out = 10000 / 203 * (np.maximum(p - 0.8359375, 0) / (18.8515625 - 18.6875 * p)) ** (16384 / 2610)
    else:
        out = _inverse_srgb(v)
    return out.astype(np.float32)


def _inverse_srgb(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
