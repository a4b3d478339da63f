"""Images by FFmpeg's decoders, of whatever depth: FFmpeg's own conversion would round, or leave bits out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from vinr_engine.errors import reason

DECODERS = {
    "exr": "exr", "dpx": "dpx", "hdr": "hdr", "pfm": "pfm", "jpegxl": "libjxl", "PNG": "png", "TIFF": "tiff",
    "PPM": "ppm", "pam": "pam", "sgi": "sgi", "JPEG2000": "jpeg2000",
}  # fmt: skip
"""FFmpeg's, by the names of formats, in capitals as Pillow has them."""
_PACKED = re.compile(r"(gray|ya|rgb|rgba)(f?)(\d+)?(le|be)?")
_PLANAR = re.compile(r"gb(ra?)p(f?)(\d+)?(le|be)?")
_CHANNELS = {"gray": 1, "ya": 2, "rgb": 3, "rgba": 4}


class NoDecoder(Exception):
    """FFmpeg cannot decode this one."""


def decode(data: bytes, decoder: str, strict: bool) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None, int]:
    """RGB [3, h, w] (integers in [0, 1]), alpha or None, and bits a channel; NoDecoder.

    ``decoder``: one of DECODERS. ``strict``: whatever is odd is an error, as some TIFFs are that are read well.
    """
    import av

    try:
        context = av.CodecContext.create(decoder, "r")
    except (av.error.FFmpegError, ValueError):
        raise NoDecoder(f"this FFmpeg has no decoder {decoder}") from None
    assert isinstance(context, av.VideoCodecContext)
    if strict:
        context.options = {"err_detect": "explode"}
    context.thread_count = 1
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except (av.error.FFmpegError, ValueError) as error:
        raise NoDecoder(reason(error)) from None
    if not frames or frames[0].is_corrupt:
        raise NoDecoder("it is damaged")
    return channels(frames[0])


def channels(frame: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None, int]:
    """RGB [3, h, w], integers in [0, 1], alpha or None, and bits a channel of a decoded frame."""
    planes, bits = _planes(frame)
    if len(planes) < 3:
        return np.broadcast_to(planes[0], (3, *planes[0].shape)), planes[1] if len(planes) == 2 else None, bits
    return np.stack(planes[:3]), planes[3] if len(planes) == 4 else None, bits


def _planes(frame: Any) -> tuple[list[npt.NDArray[np.float32]], int]:
    """Those of grey, grey and alpha, RGB or RGBA, as floats, and bits a channel."""
    name = frame.format.name
    parts = [part.bits for part in frame.format.components]
    if min(parts) < 8 or not (_PACKED.fullmatch(name) or _PLANAR.fullmatch(name)):
        frame = frame.reformat(format="rgba64le" if max(parts) > 8 else "rgba")
        name = frame.format.name
    bits = frame.format.components[0].bits
    if match := _PACKED.fullmatch(name):
        channels = _CHANNELS[match[1]]
        arrays = list(_rows(frame.planes[0], _dtype(bits, bool(match[2]), match[4]), channels))
    else:
        match = _PLANAR.fullmatch(name)
        assert match is not None
        dtype = _dtype(bits, bool(match[2]), match[4])
        green, blue, red, *rest = (next(_rows(plane, dtype, 1)) for plane in frame.planes)
        arrays = [red, green, blue, *rest]
    scale = np.float32(1 if match[2] else 2**bits - 1)
    return [array.astype(np.float32) / scale for array in arrays], bits


def _dtype(bits: int, floating: bool, order: str | None) -> np.dtype[Any]:
    size = 1 if bits <= 8 else 2 if bits <= 16 else 4
    return np.dtype(f"{'>' if order == 'be' else '<'}{'f' if floating else 'u'}{size}")


def _rows(plane: Any, dtype: np.dtype[Any], channels: int) -> Iterator[npt.NDArray[Any]]:
    """The channels [h, w] of a plane."""
    size = dtype.itemsize
    strides = (abs(plane.line_size), size * channels, size)
    rows: npt.NDArray[Any] = np.ndarray(
        (plane.height, plane.width, channels), dtype, buffer=memoryview(plane), strides=strides
    )
    if plane.line_size < 0:
        rows = rows[::-1]
    for n in range(channels):
        yield rows[..., n]
