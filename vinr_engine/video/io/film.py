"""The film through a file whose parts have streams of their own, such as joined captures of two channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
from av.stream import Disposition

NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails
"""Of streams that are none."""
_OVERLAP = Fraction(1, 2)
"""Seconds before the film's end at which the stream that follows may begin."""
_SURE = Fraction(1)
"""Seconds without a picture of the film after which another stream is what follows."""

Placed = tuple[av.Packet, Fraction]
"""A packet and the seconds to add to its times."""


class Film:
    """Tells the film's packets from others: those of stream ``index``, then of the video stream that begins where that
    one ends, and so on.

    ``follows``: whether others may take over, as in formats whose streams may begin anywhere; elsewhere a film without
    a picture for a while is one that stands still. ``late`` counts packets of a stream that were given only after the
    next one had begun, and are left out: the last ones of a capture, of which nothing but the file's end says that they
    are complete.
    """

    def __init__(self, index: int, follows: bool) -> None:
        self.index = index
        self.follows = follows
        self.late = 0
        self._past: set[int] = set()
        self._refused: set[int] = set()

    def of(self, packets: Iterable[Placed]) -> Iterator[Placed]:
        """The film's packets."""
        candidate: int | None = None
        held: list[Placed] = []
        last: Fraction | None = None
        for packet, offset in packets:
            stream = packet.stream
            stamp = packet.dts if packet.dts is not None else packet.pts
            at = None if stamp is None else stamp * Fraction(packet.time_base) + offset
            if stream.index == self.index:
                if candidate is not None:  # both go on: it is another view, or another programme
                    self._refused.add(candidate)
                    candidate = None
                    held.clear()
                last = last if at is None else at
                yield packet, offset
                continue
            if stream.index in self._past:
                self.late += 1
                continue
            if (
                not self.follows
                or stream.type != "video"
                or stream.disposition & NO_FILM
                or stream.index in self._refused
            ):
                continue
            if candidate is None and last is not None and at is not None and at >= last - _OVERLAP:
                candidate = stream.index
            if stream.index != candidate or stream.codec_context is None:
                self._refused.add(stream.index)
                continue
            held.append((packet, offset))
            assert last is not None
            assert candidate is not None
            if at is not None and at > last + _SURE:
                self._past.add(self.index)
                self.index, candidate, last = candidate, None, at
                yield from held
                held.clear()
        yield from held
