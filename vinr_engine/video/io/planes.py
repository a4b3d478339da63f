"""Between PyAV frames and numpy planes, with no change of colour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from . import colour
from .colour import Array, Colour

_YUV = re.compile(r"yuva?j?(420|422|444|440|411|410)p(?:(\d+)le)?")
_GRAY = re.compile(r"gray(?:(\d+)le)?")
_GBR = re.compile(r"gbra?p(?:(\d+)le)?")
_RATIO = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "440": (1, 2), "411": (4, 1), "410": (4, 4)}


@dataclass(frozen=True)
class Layout:
    """A planar pixel format: ``kind`` is yuv, gray or rgb; ``ratio`` the chroma subsampling (across, down)."""

    name: str
    kind: str
    bits: int
    ratio: tuple[int, int] = (1, 1)


def layout(name: str) -> Layout | None:
    """The planar format of that name, None for packed and other formats."""
    if match := _YUV.fullmatch(name):
        return Layout(name, "yuv", int(match[2] or 8), _RATIO[match[1]])
    if match := _GRAY.fullmatch(name):
        return Layout(name, "gray", int(match[1] or 8))
    if match := _GBR.fullmatch(name):
        return Layout(name, "rgb", int(match[1] or 8))
    return None


def subsampling(form: av.VideoFormat) -> tuple[int, int]:
    """Of a format's chroma (across, down); grey has none to lose, as 4:2:0 has least."""
    if len(form.components) < 3:
        return 2, 2
    return 64 // form.chroma_width(64), 64 // form.chroma_height(64)


def planar(frame: av.VideoFrame) -> tuple[av.VideoFrame, Layout]:
    """The frame itself, or the same samples rearranged into a planar format."""
    found = layout(frame.format.name)
    if found is not None:
        return frame, found
    fmt = frame.format
    name = fmt.name
    deep = max(c.bits for c in fmt.components) > 8
    if fmt.is_rgb or name == "pal8":
        target = "gbrp16le" if deep else "gbrp"
    elif len(fmt.components) < 3:
        target = "gray16le" if deep else "gray"
    elif name.endswith("be") and layout(name[:-2] + "le"):
        target = name[:-2] + "le"
    else:
        chroma = {(2, 2): "420", (2, 1): "422"}.get(subsampling(fmt), "444")
        bits = max(c.bits for c in fmt.components)
        target = f"yuv{chroma}p" + (f"{bits}le" if bits in (10, 12, 16) else "16le" if bits > 8 else "")
    frame = frame.reformat(format=target)
    found = layout(frame.format.name)
    assert found is not None
    return frame, found


def read(frame: av.VideoFrame) -> tuple[list[npt.NDArray[np.integer]], Layout]:
    """The planes of a frame as arrays [h, w] (Y, Cb, Cr; or grey; or G, B, R; alpha left out) and their format."""
    frame, form = planar(frame)
    dtype = np.uint8 if form.bits == 8 else np.dtype("<u2")
    planes = []
    for plane in frame.planes[: 1 if form.kind == "gray" else 3]:
        size = np.dtype(dtype).itemsize
        step = abs(plane.line_size)
        rows: npt.NDArray[Any] = np.ndarray(
            (plane.height, plane.width), dtype, buffer=memoryview(plane), strides=(step, size)
        )
        planes.append(rows[::-1] if plane.line_size < 0 else rows)
    return planes, form


def to_rgb(frame: av.VideoFrame, meaning: Colour) -> Array:
    """RGB [3, h, w] in [0, 1] of a decoded frame; grey is repeated, alpha ignored."""
    planes, form = read(frame)
    if form.kind == "rgb":
        green, blue, red = planes
        out: Array = np.stack([red, green, blue]).astype(np.float32) / np.float32(2**form.bits - 1)
        return out
    return colour.planes_to_rgb(planes, form.bits, meaning, form.ratio)


def from_rgb(rgb: Array, name: str, meaning: Colour) -> av.VideoFrame:
    """A frame in pixel format ``name`` from RGB [3, h, w] in [0, 1]; planar YCbCr goes through our own formulae."""
    height, width = rgb.shape[1:]
    form = layout(name)
    if form is not None and form.kind == "rgb":
        values = np.rint(np.clip(rgb[[1, 2, 0]], 0, 1) * np.float32(2**form.bits - 1))
        return _filled(av.VideoFrame(width, height, name), list(values), form.bits)
    if form is None or form.kind != "yuv" or max(form.ratio) > 2 or "a" in name:
        deep = max(c.bits for c in av.VideoFormat(name).components) > 8
        peak, kind = (65535, "rgb48le") if deep else (255, "rgb24")
        pixels = np.rint(np.clip(rgb, 0, 1) * peak).astype(np.uint16 if deep else np.uint8)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)), kind)
        return frame if name == kind else frame.reformat(format=name)
    planes = colour.rgb_to_planes(rgb, form.bits, meaning, form.ratio)
    return _filled(av.VideoFrame(width, height, name), planes, form.bits)


def _filled(frame: av.VideoFrame, planes: Sequence[npt.NDArray[Any]], bits: int) -> av.VideoFrame:
    """A frame with these values in its planes."""
    for plane, values in zip(frame.planes, planes, strict=False):
        size = 1 if bits == 8 else 2
        rows = np.zeros((plane.height, plane.line_size // size), np.uint8 if size == 1 else np.dtype("<u2"))
        rows[:, : plane.width] = values
        plane.update(rows)  # type: ignore[arg-type]
    return frame
