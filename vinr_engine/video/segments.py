"""Segments of a clip, each made by itself, wherever that is: `find` says where they are, `make` makes one.

Finding them takes no network: pictures are decoded and scene cuts found, as marks need no more than that.
"""

from __future__ import annotations

import os
import socket
import time as clock_time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vinr_engine import files
from vinr_engine._version import __version__
from vinr_engine.errors import SourceError, UsageError, VinrError

from .chunks import ChunkWriter
from .cuts import CutDetector
from .io import inputs
from .io.colour import Array
from .io.outputs import Output
from .io.source import OpenSource, Picture
from .io.target import Target
from .job import Seconds
from .journal import Counts, Mark
from .pipeline import Pipeline
from .plan import Plan, Wanted
from .render import run_network
from .resume import pictures_from
from .threads import ReadAhead, WriteBehind, seconds_of

if TYPE_CHECKING:
    from .enlarge import Enlarger


@dataclass(frozen=True)
class Segment:
    """``begin`` is its mark, None for the clip's beginning; ``end`` the next one's, or the ``counts`` of the whole clip
    where that ends. ``before`` and ``last``: pts of the last picture before it, and of its own."""

    begin: Mark | None
    before: int
    frames: int
    last: int
    end: Mark | None
    counts: Counts | None = None


@dataclass(frozen=True)
class Made:
    """A segment's chunk, as a file of packets has it, and ``notes`` of one line on how it was made."""

    segment: Segment
    data: bytes
    stages: Seconds
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clip:
    """All that is known of a clip before its pictures are read, so that any process can make its segments.

    ``src`` is a path that all of them see; ``lead`` see Streams; ``cuts`` and ``backend`` see Job.
    """

    src: str
    fingerprint: str
    numbers: Wanted
    plan: Plan
    output: Output
    target: Target
    lead: Fraction
    cuts: bool
    backend: str
    version: str = __version__

    def open(self) -> OpenSource:
        """The source; SourceError."""
        return inputs.open_source(self.src, self.numbers.reading, self.output.scene)

    def check(self) -> None:
        """That this process can make its segments; SourceError, UsageError."""
        here = socket.gethostname()
        if self.version != __version__:
            raise UsageError(f"vinr_engine is {__version__} on {here}, and {self.version} where the command was given")
        try:
            found = inputs.fingerprint(self.src)
        except SourceError as error:
            raise SourceError(f"{error} (on {here}: all machines must see the input under this path)") from None
        if found != self.fingerprint:
            raise SourceError(f"{self.src} on {here} is another input than where the command was given, or has changed")

    def pipeline(self, enlarger: Any, sink: Any, mark: Mark | None) -> Pipeline:
        """The loop from a mark on."""
        return Pipeline(enlarger, self.plan, sink, CutDetector() if self.cuts else None, self.lead, mark)


class _Blank:
    """Takes a network's place where pictures are not looked at."""

    def slot(self, rgb: Array) -> None:
        """See Enlarges."""

    def pair(self, first: None, second: None) -> _Blank:
        """See Enlarges."""
        return self

    def begin(self, position: Fraction) -> Callable[[], Array]:
        """See PairOf."""
        return self._picture

    def expect(self, positions: Sequence[Fraction]) -> None:
        """See PairOf."""

    def _picture(self) -> Array:
        raise AssertionError("nobody looks at it")


class _Finder:
    """A sink that keeps no pictures, and tells of each segment as it ends."""

    def __init__(self, clip: Clip, mark: Mark | None, last: int, take: Callable[[Segment], None]) -> None:
        self.clip, self.mark, self.take = clip, mark, take
        self.before = self.last = last
        self.frames = 0

    def write(self, picture: Any, at: Fraction, duration: Fraction) -> None:
        """See Output."""
        self.last = self.clip.output.pts(self.clip.target, self.last, at)
        self.frames += 1

    def commit(self, mark: Mark | None, counts: Counts | None = None) -> None:
        """See Output."""
        segment = Segment(self.mark, self.before, self.frames, self.last, mark, counts)
        self.mark, self.before, self.frames = mark, self.last, 0
        self.take(segment)


def find(
    clip: Clip, pictures: Iterable[Picture], mark: Mark | None, last: int, take: Callable[[Segment], None]
) -> Counts:
    """Give ``take`` all segments from ``mark`` on, each as soon as it is known; the counts of the whole clip.

    ``last``: pts of the last picture before. Errors: those of the source and of ``take``.
    """
    finder = _Finder(clip, mark, last, take)
    counts = clip.pipeline(_Blank(), finder, mark).run(pictures)
    if finder.frames:
        finder.commit(None, counts)
    return counts


class _Shelf:
    """Keeps the chunk of one segment, and holds that to be the one that was found."""

    def __init__(self, segment: Segment, folder: Path) -> None:
        self.segment, self.last = segment, segment.before
        self._path = folder / "chunk.packets"
        self.data: bytes | None = None

    def draft(self) -> Path:
        """See Shelf."""
        return self._path

    def commit(self, frames: int, last: int, mark: Mark | None, counts: Counts | None = None) -> None:
        """See Shelf."""
        segment = self.segment
        if (frames, last, mark, counts) != (segment.frames, segment.last, segment.end, segment.counts):
            where = f"output frame {segment.begin.frames_out if segment.begin else 0}"
            raise VinrError(
                f"{socket.gethostname()} sees other pictures or scene cuts from {where} on than the machine where the "
                "command was given: their processors or FFmpegs differ"
            )
        with files.reported(self._path):
            self.data = self._path.read_bytes()
            self._path.unlink()

    def complete(self, counts: Counts) -> None:
        """See Shelf; a segment has frames."""


def make(clip: Clip, enlarger: Enlarger, segment: Segment, folder: str | os.PathLike[str]) -> Made:
    """The chunk of a segment; ``folder`` is for its draft. Errors: as `render.upscale`, and VinrError if its pictures
    are not those that were found."""
    notes: list[str] = []
    shelf = _Shelf(segment, Path(folder))
    began = clock_time.monotonic()
    with ExitStack() as stack:
        source = stack.enter_context(clip.open())
        pictures = ReadAhead(pictures_from(source, segment.begin, clip.open, notes.append))
        stack.callback(pictures.close)
        writer = WriteBehind(ChunkWriter(clip.output, clip.target, shelf))
        stack.callback(writer.close)
        until = None if segment.end is None else segment.end.frames_out
        counts = run_network(clip.pipeline(enlarger, writer, segment.begin), pictures, clip.backend, until)
        if segment.end is None:
            writer.finish(counts)
        else:
            writer.flush()
        stages = seconds_of(clock_time.monotonic() - began, pictures, writer)
    assert shelf.data is not None
    return Made(segment, shelf.data, stages, tuple(notes))
