"""Fields to whole frames, with FFmpeg's bwdif: as many frames as before, each from its first field."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av

from .moments import Shown
from .planes import layout

_PLAIN = 3
"""Progressive frames in a row after which the filter is put away."""


def _shape(frame: av.VideoFrame) -> tuple[Any, ...]:
    return frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range)


def _fits(frame: av.VideoFrame) -> bool:
    """Whether the filter takes such frames as they are."""
    return layout(frame.format.name) is not None and frame.width >= 3 and frame.height >= 4


class Deinterlacer:
    """Frames that are marked as interlaced come out whole; others, and those that are missing, pass.

    What becomes of a frame depends on it and the two beside it alone, so that a file can be entered anywhere.
    """

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._ends: tuple[av.filter.context.FilterContext, av.filter.context.FilterContext] | None = None
        self._waiting: deque[Shown | None] = deque()
        self._before: av.VideoFrame | None = None
        self._plain = 0
        self._count = 0

    def of(self, frames: Iterable[Shown]) -> Iterator[Shown]:
        """The same frames, a few later."""
        for shown in frames:
            frame = shown.frame
            if frame is None:
                self._waiting.append(shown)
                yield from self._ready()
                continue
            if self._graph is not None and (self._before is None or _shape(frame) != _shape(self._before)):
                yield from self._drained()
            if frame.interlaced_frame and _fits(frame):
                shown.remarks.append(("interlaced", ""))
                self._plain = 0
                if self._graph is None:
                    self._begin(frame)
            else:
                self._plain += 1
            self._before = frame
            self._waiting.append(shown)
            if self._graph is not None:
                self._push(frame)
                yield from self._pulled()
                if self._plain == _PLAIN:
                    yield from self._drained()
            else:
                yield from self._ready()
        yield from self._drained()

    def _begin(self, frame: av.VideoFrame) -> None:
        width, height, name, matrix, range_ = _shape(frame)
        graph = av.filter.Graph()
        source = graph.add(
            "buffer",
            f"video_size={width}x{height}:pix_fmt={name}:time_base=1/1000:pixel_aspect=1/1"
            f":colorspace={matrix}:range={range_}",
        )
        filter_ = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        sink = graph.add("buffersink")
        source.link_to(filter_)
        filter_.link_to(sink)
        graph.configure()
        self._graph, self._ends = graph, (source, sink)  # which do not keep their graph alive
        if self._before is not None and _shape(self._before) == _shape(frame):
            self._waiting.append(None)  # a neighbour, which has been given already
            self._push(self._before)

    def _push(self, frame: av.VideoFrame) -> None:
        assert self._ends is not None
        frame.pts, frame.time_base = self._count, Fraction(1, 1000)
        self._count += 1
        self._ends[0].push(frame)

    def _pulled(self) -> Iterator[Shown]:
        """What the filter gives, each for the first that waits for it."""
        assert self._ends is not None
        while True:
            try:
                frame = self._ends[1].pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(frame, av.VideoFrame)
            shown = self._waiting.popleft()
            if shown is not None:
                shown.frame = frame
                yield shown
            while self._waiting and self._waiting[0] is not None and self._waiting[0].frame is None:
                missing = self._waiting.popleft()
                assert missing is not None
                yield missing

    def _drained(self) -> Iterator[Shown]:
        """All that is in the filter, which is put away."""
        if self._graph is not None:
            assert self._ends is not None
            self._ends[0].push(None)
            yield from self._pulled()
            self._graph = self._ends = None
        yield from self._ready()

    def _ready(self) -> Iterator[Shown]:
        """What waits for no filter."""
        while self._graph is None and self._waiting:
            shown = self._waiting.popleft()
            if shown is not None:
                yield shown
