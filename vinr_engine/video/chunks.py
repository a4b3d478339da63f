"""Writes the output's pictures as chunks, each of which stays once it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from vinr_engine import files

from .io.coders import Coder
from .io.colour import Array
from .io.outputs import Output
from .io.packets import PacketFile, PacketWriter
from .io.target import Target
from .journal import Counts, Journal, Mark


class Sink(Protocol):
    """What takes an output's pictures; every method raises SinkError when they cannot be written."""

    def write(self, rgb: Array | None, at: Fraction, duration: Fraction) -> None:
        """Add a frame, RGB [3, H, W] in [0, 1], shown at ``at`` for ``duration`` seconds; None repeats the last."""
        ...

    def commit(self, mark: Mark) -> None:
        """Keep what is written, also if the run ends now; ``mark`` says where another would go on."""
        ...

    def finish(self, counts: Counts) -> None:
        """Keep what is written: nothing follows, and ``counts`` are those of the whole clip."""
        ...

    def close(self) -> None:
        """Release the files; after ``finish`` or instead of it."""
        ...


class Shelf(Protocol):
    """Where chunks are kept; see `journal.Journal`."""

    @property
    def last(self) -> int:
        """The pts of the last packet that is kept."""
        ...

    def draft(self) -> Path:
        """Where the next chunk is written."""
        ...

    def commit(self, frames: int, last: int, mark: Mark | None, counts: Counts | None = None) -> None:
        """The draft is complete."""
        ...

    def complete(self, counts: Counts) -> None:
        """All of the clip is in chunks already."""
        ...


class ChunkWriter:
    """The sink of a clip, or of a part of one: each chunk is coded by itself, and entered in the journal."""

    def __init__(self, output: Output, target: Target, journal: Shelf) -> None:
        self.output, self.target, self.journal = output, target, journal
        self._held: Any = None
        self._last = journal.last
        self._frames = 0
        self._coder: Coder | None = None
        self._file: PacketWriter | None = None

    def write(self, rgb: Array | None, at: Fraction, duration: Fraction) -> None:
        """See Sink."""
        if self._coder is None:
            self._coder = self.output.coder(self.target, self._held, self._last)
            with files.reported(self.output.dst):
                self._file = PacketWriter(self.journal.draft(), self._coder.facts)
        packets = self._coder.code(rgb, at, duration)
        self._frames += 1
        assert self._file is not None
        with files.reported(self.output.dst):
            for packet in packets:
                self._file.write(packet)

    def commit(self, mark: Mark) -> None:
        """See Sink."""
        if self._coder is not None:
            self._commit(mark, None)

    def _commit(self, mark: Mark | None, counts: Counts | None) -> None:
        assert self._coder is not None
        assert self._file is not None
        packets = self._coder.finish()
        with files.reported(self.output.dst):
            for packet in packets:
                self._file.write(packet)
            self._file.close()
        self._held, self._last = self._coder.held, self._coder.last
        self._coder = self._file = None
        frames, self._frames = self._frames, 0
        self.journal.commit(frames, self._last, mark, counts)

    def finish(self, counts: Counts) -> None:
        """See Sink."""
        if self._coder is not None:
            self._commit(None, counts)
        else:
            self.journal.complete(counts)

    def close(self) -> None:
        """See Sink."""
        if self._file is not None:
            self._file.abandon()
        self.journal.draft().unlink(missing_ok=True)
        self._file = self._coder = None


class Kept:
    """The chunks that a journal keeps, as an output joins them; ``whole``: its images may take their place."""

    def __init__(self, journal: Journal, whole: bool = True) -> None:
        self.journal, self.whole = journal, whole

    def packets(self) -> list[PacketFile]:
        """See outputs.Chunks."""
        return [self.journal.open(chunk) for chunk in self.journal.chunks]

    def placing(self) -> Iterator[PacketFile]:
        """See outputs.Chunks."""
        for chunk in self.journal.chunks[self.journal.placed :]:
            yield self.journal.open(chunk)
            if self.whole:
                self.journal.place(chunk)
