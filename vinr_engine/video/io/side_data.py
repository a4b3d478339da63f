"""What a video's frames carry beside their samples, and what of that no output keeps, as PyAV cannot write it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import av
from av.sidedata.sidedata import Type

from .moments import Shown

DOLBY_VISION = "Dolby Vision metadata"
_UNKEPT = {
    "A53_CC": "embedded captions (CEA-608/708)",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "DOVI_RPU_BUFFER": DOLBY_VISION,
    "DOVI_METADATA": DOLBY_VISION,
    "AMBIENT_VIEWING_ENVIRONMENT": "ambient viewing environment",
    "AFD": "active format description",
    "STEREO3D": "stereo 3D arrangement",
    "SPHERICAL": "spherical projection",
}
"""By FFmpeg's names. Of what is not among them, some is kept, and the rest tells of the coding."""
_KINDS: list[Any] = list(Type)
_NEWEST: int = max(kind.value for kind in _KINDS)
_NEWER = range(_NEWEST + 1, _NEWEST + 17)
"""Kinds that FFmpeg may have and PyAV does not know."""


def listed(frame: av.VideoFrame) -> Mapping[Any, Any]:
    """A frame's side data by FFmpeg's names, without what PyAV does not know."""
    try:
        return frame.side_data
    except ValueError:  # of one that it does not know, in which it lists none: spatial video, EXIF of Motion JPEG
        try:
            return _known(frame).side_data
        except (ValueError, av.error.FFmpegError):
            return {}


def _known(frame: av.VideoFrame) -> av.VideoFrame:
    """The same frame, from which a filter has taken what is newer; half a millisecond."""
    graph = av.filter.Graph()
    form = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000:pixel_aspect=1/1"
    last = source = graph.add("buffer", f"{form}:colorspace={int(frame.colorspace)}:range={int(frame.color_range)}")
    for kind in _NEWER:
        following = graph.add("sidedata", f"mode=delete:type={kind}")
        last.link_to(following)
        last = following
    sink = graph.add("buffersink")
    last.link_to(sink)
    graph.configure()
    source.push(frame)
    known = sink.pull()
    assert isinstance(known, av.VideoFrame)
    return known


def unkept(frame: av.VideoFrame) -> list[str]:
    """The names of what a frame carries and no output keeps."""
    names = []
    for data in listed(frame):
        kind = data.type.name
        if kind == "STEREO3D" and struct.unpack("<i", bytes(memoryview(data))[:4]) == (0,):
            continue  # it says that there is one view
        if kind in _UNKEPT:
            names.append(_UNKEPT[kind])
    return [*dict.fromkeys(names)]


def remarked(frames: Iterable[Shown]) -> Iterator[Shown]:
    """The same frames, with remarks on what each carries and no output keeps.

    All are looked at, as captions begin with the first word; it takes a few microseconds.
    """
    for shown in frames:
        if shown.frame is not None:
            shown.remarks += [("unkept", name) for name in unkept(shown.frame)]
        yield shown
