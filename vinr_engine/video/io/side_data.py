"""What a video's frames carry beside their samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import av
from av.sidedata.sidedata import Type

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
