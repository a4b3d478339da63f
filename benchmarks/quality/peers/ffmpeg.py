"""FFmpeg's filters, as PyAV carries them: minterpolate between frames, and Lanczos enlargement."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, ClassVar

import av
import numpy as np

from .stages import FACTOR, Frame, Need, Times, even

EXACT = "accurate_rnd+full_chroma_int+full_chroma_inp"
"""Without these flags swscale's conversions between RGB and YUV lose more than rounding does."""
METHOD = "mi_mode=mci:me_mode=bidir:mb_size=4"
"""The best of what was tried: small blocks for small frames. vsbmc and aobmc changed nothing or lost."""


class _Graph:
    """Filters one after another, (name, arguments) each; frames go in and out as 8-bit RGB."""

    def __init__(self, size: tuple[int, int], filters: Iterable[tuple[str, str]]) -> None:
        h, w = size
        self._graph = av.filter.Graph()
        nodes: list[Any] = [
            self._graph.add("buffer", f"video_size={w}x{h}:pix_fmt=rgb24:time_base=1/1:frame_rate=1/1"),
            *(self._graph.add(name, arguments) for name, arguments in filters),
            self._graph.add("format", "rgb24"),
            self._graph.add("buffersink"),
        ]
        self._graph.link_nodes(*nodes).configure()
        self._number = 0

    def push(self, frame: Frame) -> Iterator[tuple[Fraction, Frame]]:
        """One frame in; what is ready, with its time, in input frames since the first."""
        image = np.rint(frame.transpose(1, 2, 0) * 255).astype(np.uint8)
        made = av.VideoFrame.from_ndarray(image, format="rgb24")
        made.pts, made.time_base = self._number, Fraction(1)
        self._number += 1
        self._graph.push(made)
        while True:
            try:
                out: Any = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            rgb = out.to_ndarray(format="rgb24").transpose(2, 0, 1)
            yield out.pts * out.time_base, np.ascontiguousarray(rgb, np.float32) / np.float32(255)


class Minterpolate:
    """minterpolate, in YUV 4:4:4; kept frames do not go through that conversion. See stages.Time.

    It looks at a frame before and one after the two that it works between. In the first window, where there is none
    before, it repeats the nearest one, as whoever uses it gets; the last frame is handed in twice, or the last window
    would not come at all.
    """

    needs: ClassVar[tuple[Need, ...]] = ()

    def __call__(self, frames: Iterable[Frame], times: Iterable[Times]) -> Iterator[Frame]:
        source = iter(frames)
        last = first = next(source, None)
        kept: deque[Frame] = deque()  # those whose turn has not come
        graph: _Graph | None = None
        steps = 0
        for last, inside in zip(source, times, strict=True):
            assert first is not None
            if graph is None:
                steps = even(inside)
                graph = self._graph(first, steps)
                kept.append(first)
                yield from self._sorted(graph.push(first), kept)
            elif even(inside) != steps:
                raise ValueError("minterpolate needs windows of one length")
            kept.append(last)
            yield from self._sorted(graph.push(last), kept)
        if last is None:
            raise ValueError("no frames")
        yield from [last] if graph is None else self._sorted(graph.push(last), kept)

    @staticmethod
    def _graph(frame: Frame, steps: int) -> _Graph:
        scale = ("scale", f"flags={EXACT}")
        between = [("format", "yuv444p"), ("minterpolate", f"fps={steps}:{METHOD}")]
        return _Graph((frame.shape[1], frame.shape[2]), [scale, *between, scale])

    @staticmethod
    def _sorted(made: Iterable[tuple[Fraction, Frame]], kept: deque[Frame]) -> Iterator[Frame]:
        """The given frames in place of their copies."""
        for time, frame in made:
            yield kept.popleft() if time.denominator == 1 else frame


class Lanczos:
    """swscale's Lanczos filter. See stages.Space."""

    needs: ClassVar[tuple[Need, ...]] = ()

    def __init__(self) -> None:
        self._graphs: dict[tuple[int, ...], _Graph] = {}  # one takes frames of one size

    def __call__(self, frame: Frame) -> Frame:
        if frame.shape not in self._graphs:
            scale = f"iw*{FACTOR}:ih*{FACTOR}:flags=lanczos+{EXACT}"
            self._graphs[frame.shape] = _Graph((frame.shape[1], frame.shape[2]), [("scale", scale)])
        ((_, out),) = self._graphs[frame.shape].push(frame)
        return out
