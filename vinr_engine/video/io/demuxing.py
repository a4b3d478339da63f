"""The coded pictures of one stream, in the order of the file, on a time line that rises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av

from vinr_engine.errors import reason

from .film import Film
from .timeline import Timeline

_TRIES = 16
"""How often in a row reading may fail before the rest of a file is given up."""
_SLACK = Fraction(1, 10)
"""Seconds that a file may be shorter than it says, where it says so for all its streams at once."""
_BARE = cast(int, av.format.Flags.no_timestamps.value)
_UNORDERED = {"avi", "asf"}
"""Formats that store times of decoding alone; what FFmpeg makes of those is no time of showing."""

_FROM_ZERO = {"matroska,webm", "nut"}
"""Formats that say where they end, not how long that is after their first packet."""


def is_unordered(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Whether a file says when its pictures are decoded, and not when they are shown."""
    # A tag of four characters in Matroska is one of AVI, whose way it then is.
    from_avi = container.format.name.startswith("matroska") and bool(stream.codec_context.codec_tag.strip("\0"))
    return container.format.name in _UNORDERED or from_avi


def is_bare(container: av.container.InputContainer) -> bool:
    """Whether a file is a coded stream with nothing around it, and so without timestamps."""
    return bool(container.format.flags & _BARE)


@dataclass
class Coded:
    """What is known of a coded picture before it is decoded; times in seconds, None where the file has none.

    ``number`` counts from where reading began, ``before`` is the sum of the lengths of those before it. ``joined``: the
    file's time line was mended before it; ``other``: it is of another stream than the one before; ``problem``: why
    something before it could not be read; ``hidden``: others build on it, but an edit list shows it to no one.
    """

    number: int
    pts: Fraction | None
    dts: Fraction | None
    length: Fraction | None
    before: Fraction
    key: bool
    joined: bool = False
    other: bool = False
    problem: str | None = None
    hidden: bool = False


class Demuxer:
    """Reads a file from where it stands. Errors: those of the disk; what is damaged is skipped, and said.

    All streams are read, as each takes part in the file's time line. ``skip``: coded pictures to leave out.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream, skip: int = 0) -> None:
        self._container, self._stream, self._skip = container, stream, skip
        self._tick = stream.time_base or Fraction(1, 1000)
        self._timeline = Timeline(container)
        self._film = Film(stream.index, self._timeline.loose)
        self._unordered = is_unordered(container, stream)
        self._end: Fraction | None = None
        self._last: Fraction | None = None
        self._problem: str | None = None
        self.reached = 0
        """Bytes of the file, up to the end of the furthest packet."""

    def __iter__(self) -> Iterator[tuple[Coded, av.Packet]]:
        joins, before = 0, Fraction(0)
        index = self._stream.index
        for number, (packet, offset) in enumerate(self._film.of(self._placed())):
            tick = Fraction(packet.time_base)
            length = (packet.duration or 0) * tick
            # in its own unit of time, of which all times stay whole multiples
            moved = round(offset / tick)
            pts = None if packet.pts is None or self._unordered else (packet.pts + moved) * tick
            dts = None if packet.dts is None else (packet.dts + moved) * tick
            at = pts if pts is not None else dts
            if at is not None and not packet.is_discard:
                self._end = at + length if self._end is None else max(self._end, at + length)
            joined, joins = self._timeline.joins > joins, self._timeline.joins
            other, index = packet.stream.index != index, packet.stream.index
            if number >= self._skip:
                problem, self._problem = self._problem, None
                about = joined, other, problem, packet.is_discard
                yield Coded(number, pts, dts, length or None, before, packet.is_keyframe, *about), packet
            before += length

    @property
    def loose(self) -> bool:
        """Whether the format's timestamps may start again or jump."""
        return self._timeline.loose

    def _placed(self) -> Iterator[tuple[av.Packet, Fraction]]:
        """All packets, and the seconds to add to their times."""
        for packet in self._packets():
            offset = self._timeline.see(packet)
            stamp = packet.dts if packet.pts is None or self._unordered else packet.pts
            if stamp is not None and not packet.is_discard:
                end = (stamp + (packet.duration or 0)) * Fraction(packet.time_base) + offset
                self._last = end if self._last is None else max(self._last, end)
            if packet.size:
                self.reached = max(self.reached, (packet.pos or 0) + packet.size)
                yield packet, offset

    def _packets(self) -> Iterator[av.Packet]:
        failed = 0
        while failed < _TRIES:
            try:
                for packet in self._container.demux():
                    if packet.dts is None and packet.pts is None and not packet.size:
                        continue  # asks a decoder for what it still holds
                    failed = 0
                    yield packet
                return
            except av.error.FFmpegError as error:
                if isinstance(error, OSError):
                    raise  # the disk's
                failed += 1
                self._problem = reason(error)

    def cut_short(self, step: Fraction) -> Fraction | None:
        """After the last one: where the file says that it ends, in seconds of its time line, if it ends before that.

        ``step``: seconds that a picture is shown where the file does not say.
        """
        stream, container = self._stream, self._container
        if self._timeline.loose or self._end is None or self._last is None:
            return None  # FFmpeg guesses where such files end from where they do
        if stream.frames and stream.duration:
            says = (stream.start_time or 0) * self._tick + stream.duration * self._tick
            return says if self._end + step < says else None
        if container.duration:
            begins = 0 if container.format.name in _FROM_ZERO else container.start_time or 0
            says = Fraction(container.duration + begins, 1_000_000)
            return says if max(self._last, self._end + step) + step + _SLACK < says else None
        return None

    @property
    def late(self) -> int:
        """See Film."""
        return self._film.late

    @property
    def problem(self) -> str | None:
        """Why the rest of the file could not be read, after the last one."""
        return self._problem
