"""What a video file says of its pictures: colours, where chroma lies, brightness, orientation."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from . import colour, planes, side_data
from .colour import Colour
from .source import Light

_MIDWAY = {"mjpeg", "mpeg1video", "jpeg2000", "png"}
"""Codecs whose subsampled chroma lies midway between luma samples where nothing says otherwise."""
_PLACES = {(1, 1): "topleft", (1, 2): "left", (1, 3): "bottomleft", (2, 1): "top", (2, 2): "center", (2, 3): "bottom"}
"""By Matroska's ChromaSitingHorz and ChromaSitingVert."""
_Y4M = {b"420jpeg": "center", b"420": "center", b"420mpeg2": "left", b"420paldv": "topleft"}
_CONFIGURATION = b"\x41\xed\x98"
"""What Matroska has before Dolby Vision's decoder configuration of 24 bytes: BlockAddIDExtraData."""


def orientation(frame: av.VideoFrame) -> tuple[int, bool, str | None]:
    """Quarter turns anticlockwise, then a left-right flip, that set a frame upright; a note when they cannot."""
    data: Any = side_data.listed(frame).get("DISPLAYMATRIX")
    if data is None:
        return 0, False, None
    a, b, _, c, d = struct.unpack("<5i", bytes(memoryview(data))[:20])
    signs = tuple((v > 0) - (v < 0) for v in (a, b, c, d))
    # FFmpeg's matrix maps (x, y), y down, to (a x + c y, b x + d y).
    table = {
        (1, 0, 0, 1): (0, False),
        (0, 1, -1, 0): (3, False),
        (-1, 0, 0, -1): (2, False),
        (0, -1, 1, 0): (1, False),
        (-1, 0, 0, 1): (0, True),
        (1, 0, 0, -1): (2, True),
        (0, 1, 1, 0): (3, True),
        (0, -1, -1, 0): (1, True),
    }
    if signs in table:
        turns, flip = table[signs]
        return turns, flip, None
    return 0, False, "the video's rotation is not a multiple of 90 degrees and is ignored"


def header(stream: av.VideoStream) -> bytes:
    """That of a Matroska file with the stream in it, empty if it is not one for Matroska.

    PyAV does not give what FFmpeg knows of a stream's chroma and of Dolby Vision, be it from the container or the coded
    stream; this says it.
    """
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska") as out:
            out.add_stream_from_template(stream, opaque=True)
            out.start_encoding()
            return file.getvalue()
    except (ValueError, av.error.FFmpegError):
        return b""


def chroma_place(stream: av.VideoStream, path: Path, header: bytes) -> str:
    """Where the samples of subsampled chroma lie; see Colour.

    ``header`` says it, see there, but for places that no encoder is known to use (top, bottom, bottomleft).
    """
    if stream.codec_context.name == "rawvideo":
        with open(path, "rb") as file:
            head = file.readline(1024).split()
        found = [word[1:] for word in head[1:] if word.startswith(b"C")] if head[:1] == [b"YUV4MPEG2"] else []
        return _Y4M.get(found[0] if found else b"420", "left") if head[:1] == [b"YUV4MPEG2"] else "left"
    across, down = (header.find(mark) for mark in (b"\x55\xb7\x81", b"\x55\xb8\x81"))
    found_place = _PLACES.get((header[across + 3], header[down + 3])) if across >= 0 and down >= 0 else None
    return found_place or ("center" if stream.codec_context.name in _MIDWAY else "left")


def dolby_vision(header: bytes) -> int | None:
    """The profile of Dolby Vision that the file says of a stream, None without; ``header``: see there."""
    for kind in (b"dvcC", b"dvvC", b"dvwC"):
        at = header.find(kind + _CONFIGURATION)
        if at >= 0:
            return header[at + len(kind + _CONFIGURATION) + 2] >> 1
    return None


def is_rgb(frame: av.VideoFrame) -> bool:
    """Whether a frame's samples are red, green and blue."""
    return frame.format.is_rgb or frame.format.name == "pal8"


def colours(frame: av.VideoFrame, context: av.VideoCodecContext, place: str, known: Colour | None = None) -> Colour:
    """How the numbers of a frame mean colours. ``known``: where it says nothing itself, what others of it say."""

    def tag(name: str, otherwise: int) -> int:
        for holder in (frame, context):
            value = int(getattr(holder, name))
            if value != colour.UNSPECIFIED:
                return value
        return otherwise

    rgb, components = is_rgb(frame), frame.format.components
    form = planes.layout(frame.format.name)
    range_ = int(frame.color_range) or int(context.color_range)
    # grey without a tag is full range to FFmpeg and players, unlike YCbCr
    jpeg = frame.format.name.startswith("yuvj") or (range_ == 0 and len(components) < 3 and not rgb)
    if range_ == 0 and known is not None and not jpeg:
        range_ = known.range
    matrix = colour.RGB if rgb else tag("colorspace", colour.UNSPECIFIED if known is None else known.matrix)
    if matrix == colour.RGB and not rgb:
        matrix = colour.UNSPECIFIED  # YCbCr samples under an RGB tag: the tag is wrong, decide by size
    primaries = tag("color_primaries", colour.UNSPECIFIED if known is None else known.primaries)
    transfer = tag("color_trc", colour.UNSPECIFIED if known is None else known.transfer)
    subsampled = not rgb and (form is None or max(form.ratio) > 1)
    return colour.resolve(
        matrix, range_, primaries, transfer, frame.width, frame.height, jpeg, place if subsampled else "unspecified"
    )


def light(frame: av.VideoFrame) -> Light | None:
    """HDR10's metadata of a frame."""
    found = side_data.listed(frame)
    display: Any = found.get("MASTERING_DISPLAY_METADATA")
    content: Any = found.get("CONTENT_LIGHT_LEVEL")
    primaries = luminance = levels = None
    if display is not None:
        *pairs, has_primaries, has_luminance = struct.unpack("<22i", bytes(memoryview(display))[:88])
        values = [Fraction(n, d or 1) for n, d in zip(pairs[::2], pairs[1::2], strict=True)]
        if has_primaries:
            primaries = tuple((values[n], values[n + 1]) for n in range(0, 8, 2))
        if has_luminance:
            luminance = values[8], values[9]
    if content is not None:
        most, mean = struct.unpack("<2I", bytes(memoryview(content))[:8])
        levels = most, mean
    if primaries is None and luminance is None and levels is None:
        return None
    return Light(primaries, luminance, levels)


def profile(frame: av.VideoFrame) -> bytes | None:
    """The ICC profile of a frame."""
    data: Any = side_data.listed(frame).get("ICC_PROFILE")
    return None if data is None else bytes(memoryview(data))
