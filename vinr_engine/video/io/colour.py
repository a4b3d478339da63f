"""YCbCr planes to RGB and back, in floating point.

FFmpeg's converter is not used for this: measured with PyAV 18 it shifts full-range chroma by half a step of 8 bits and
16-bit RGB by half a step, whatever its flags. The formulae are those of ITU-R BT.601, BT.709 and BT.2020:
Y = Kr R + (1 - Kr - Kb) G + Kb B, Cb = (B - Y) / (2 (1 - Kb)), Cr = (R - Y) / (2 (1 - Kr)).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vinr_engine.errors import SourceError

Array = npt.NDArray[np.float32]

RGB, BT709, UNSPECIFIED, SMPTE170M = 0, 1, 2, 6
SRGB_TRANSFER = 13
LIMITED, FULL = 1, 2
MATRICES = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""Kr and Kb by H.273 matrix number (AVColorSpace). 10, constant luminance, is computed as 9."""
_SHIFTS = {
    "unspecified": (0.0, 0.5),
    "left": (0.0, 0.5),
    "center": (0.5, 0.5),
    "topleft": (0.0, 0.0),
    "top": (0.5, 0.0),
    "bottomleft": (0.0, 1.0),
    "bottom": (0.5, 1.0),
}


@dataclass(frozen=True)
class Colour:
    """How a picture's numbers mean colours; the numbers of the tags are H.273's, as FFmpeg uses them.

    ``place``: where samples of subsampled chroma lie, by FFmpeg's names: left, center, topleft, top, bottomleft
    or bottom; computed as left where it is unspecified.
    """

    matrix: int
    full: bool
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    place: str = "unspecified"

    @property
    def weights(self) -> tuple[float, float]:
        """Kr and Kb."""
        return MATRICES[self.matrix]

    @property
    def shift(self) -> tuple[float, float]:
        """Where the first sample of halved chroma lies, in luma samples (across, down) from the first of those."""
        return _SHIFTS[self.place]

    @property
    def range(self) -> int:
        """The tag for limited (16 to 235) or full range."""
        return FULL if self.full else LIMITED


def resolve(
    matrix: int, range_: int, primaries: int, transfer: int, width: int, height: int, jpeg: bool,
    place: str = "unspecified",
) -> Colour:  # fmt: skip
    """The colours of a stream from its tags; ``jpeg`` for pixel formats that are full range by name.

    An unspecified matrix is BT.709 from 1280 columns or 577 rows on and BT.601 below, as players decide. The decision
    belongs to the input's size and is written into the output's tags, where the size may be beyond that border.
    """
    if matrix in (UNSPECIFIED, 3):
        matrix = BT709 if width >= 1280 or height > 576 else SMPTE170M
    if matrix != RGB and matrix not in MATRICES:
        raise SourceError(f"the video's colour matrix (H.273 number {matrix}) is not supported")
    return Colour(matrix, jpeg or range_ == FULL, primaries, transfer, place)


def for_encoding(colour: Colour) -> Colour:
    """The colours of the output video: those of the input; RGB input becomes BT.709, limited range."""
    if colour.matrix == RGB:
        return replace(colour, matrix=BT709, full=False)
    return colour


def _axis_up(plane: Array, axis: int, size: int, ratio: int, shift: float) -> Array:
    """Linear interpolation of a subsampled axis to ``size``, edges held. ``shift``: see `Colour.shift`."""
    if ratio == 1:
        return plane
    n = plane.shape[axis]
    # of 0.5, midway, with any ratio
    position = (np.arange(size, dtype=np.float32) - shift * (ratio - 1)) / ratio
    low = np.floor(position)
    weight = (position - low).astype(np.float32)
    a = np.clip(low.astype(np.int64), 0, n - 1)
    b = np.clip(low.astype(np.int64) + 1, 0, n - 1)
    weight = weight[:, None] if axis == 0 else weight[None, :]
    out: Array = np.take(plane, a, axis) * (1 - weight) + np.take(plane, b, axis) * weight
    return out


def _axis_down(plane: Array, axis: int, shift: float) -> Array:
    """Half the samples of an axis, edges held: [1 2 1] / 4 around each second one, or the mean of two for 0.5."""
    plane = np.moveaxis(plane, axis, 0)
    n = plane.shape[0]
    even = plane[0:n:2]
    odd = plane[np.minimum(np.arange(1, n + 1, 2), n - 1)]
    if shift == 0.5:
        half = 0.5 * (even + odd)
    elif shift == 0:
        before = np.concatenate([plane[:1], odd[:-1]]) if len(odd) > 1 else plane[:1]
        half = 0.5 * even + 0.25 * odd + 0.25 * before
    else:
        after = np.concatenate([even[1:], plane[-1:]])
        half = 0.5 * odd + 0.25 * even + 0.25 * after
    out: Array = np.moveaxis(half, 0, axis)
    return out


def planes_to_rgb(planes: list[npt.NDArray[np.integer]], bits: int, colour: Colour, ratio: tuple[int, int]) -> Array:
    """RGB [3, h, w] in [0, 1] from planes Y, Cb, Cr (or Y alone) of ``bits`` each.

    ``ratio`` is (across, down) of the chroma's subsampling. Values outside the RGB cube are clamped.
    """
    peak = float(2**bits - 1)
    step = float(2 ** (bits - 8))
    y = planes[0].astype(np.float32)
    y = y / peak if colour.full else (y - 16 * step) / (219 * step)
    height, width = y.shape
    if len(planes) == 1:
        return np.clip(np.broadcast_to(y, (3, height, width)), 0, 1)
    chroma = []
    for plane in planes[1:3]:
        c = plane.astype(np.float32) - 128 * step
        c = c / peak if colour.full else c / (224 * step)
        c = _axis_up(c, 0, height, ratio[1], colour.shift[1])
        chroma.append(_axis_up(c, 1, width, ratio[0], colour.shift[0]))
    kr, kb = colour.weights
    red = y + (2 * (1 - kr)) * chroma[1]
    blue = y + (2 * (1 - kb)) * chroma[0]
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    out: Array = np.clip(np.stack([red, green, blue]), 0, 1).astype(np.float32, copy=False)
    return out


def rgb_to_planes(rgb: Array, bits: int, colour: Colour, ratio: tuple[int, int]) -> list[npt.NDArray[np.uint16]]:
    """Planes Y, Cb, Cr of ``bits`` from RGB [3, h, w] (clamped to [0, 1]), rounded.

    ``ratio`` is (1 or 2 across, 1 or 2 down); odd sizes give ceil(size / 2) chroma samples.
    """
    peak = float(2**bits - 1)
    step = float(2 ** (bits - 8))
    red, green, blue = np.clip(rgb, 0, 1)
    kr, kb = colour.weights
    y = kr * red + (1 - kr - kb) * green + kb * blue
    out = [y * peak if colour.full else (16 + 219 * y) * step]
    for c in ((blue - y) / (2 * (1 - kb)), (red - y) / (2 * (1 - kr))):
        if ratio[1] == 2:
            c = _axis_down(c, 0, colour.shift[1])
        if ratio[0] == 2:
            c = _axis_down(c, 1, colour.shift[0])
        out.append(c * peak + 128 * step if colour.full else (128 + 224 * c) * step)
    return [np.clip(np.rint(plane), 0, peak).astype(np.uint16) for plane in out]
