"""One rising time line for a file whose timestamps start again or jump, for all of its streams alike."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av

_DISCONTINUOUS = cast(int, av.format.Flags.ts_discont.value)
_JUMP = Fraction(10)
"""Seconds without a packet that no one can mean, in formats whose timestamps may be discontinuous (MPEG-TS, VOB)."""
_LONG_JUMP = Fraction(3600)
"""The same in others, where a picture may stand for minutes."""
_BACK, _GUESSED_BACK = Fraction(1, 10), Fraction(1, 2)
"""How far decoding times may go back: those of the file, and those that FFmpeg makes up where there are none."""
_REORDERED = 16
"""Most pictures between decoding and showing one."""
_LATE = Fraction(2)
"""Seconds that a stream may lag behind the others where it begins."""
_OVERLAP = Fraction(1)
"""Seconds that one stream may begin before another one at a join."""


@dataclass
class _Track:
    """One stream of sound or picture so far, on the repaired time line: ``last`` decoding time, ``epoch`` in force.

    ``untimed``: seconds that the packets since then last, which have no times.
    """

    epoch: int
    last: Fraction
    step: Fraction = Fraction(0)
    untimed: Fraction = Fraction(0)


class Timeline:
    """Offsets that make a file's timestamps go on where they start again or jump.

    Joined captures, VOBs of a DVD and files put one behind the other begin anew somewhere. What follows is moved to
    where everything before it ended, by one offset for all streams, so that sound stays in time with the picture; a
    stream that has not crossed yet keeps the one before. The same packets in the same order give the same offsets: feed
    it every packet of sound and picture in the order of the file, from its beginning; others may be left out.
    """

    def __init__(self, container: av.container.InputContainer) -> None:
        self.loose = bool(container.format.flags & _DISCONTINUOUS)
        """Whether the format's timestamps may start again or jump."""
        self._offsets = [Fraction(0)]
        self._tracks: dict[int, _Track] = {}
        self._end: Fraction | None = None
        self._now = Fraction(0)

    @property
    def joins(self) -> int:
        """How often the timestamps started again or jumped so far."""
        return len(self._offsets) - 1

    def see(self, packet: av.Packet) -> Fraction:
        """Seconds to add to the packet's ``pts`` and ``dts``."""
        stream = packet.stream
        stamp = packet.dts if packet.dts is not None else packet.pts
        track = self._tracks.get(stream.index)
        if packet.is_discard:  # what an edit list hides has no place of its own
            return self._offsets[-1 if track is None else track.epoch]
        if stamp is None or not packet.time_base:
            if track is not None and packet.size:
                track.untimed += (packet.duration or 0) * Fraction(packet.time_base or 0) or track.step
            return self._offsets[-1 if track is None else track.epoch]
        base = Fraction(packet.time_base)
        at = stamp * base
        leads = stream.type == "audio" or (
            stream.type == "video" and not stream.disposition & av.stream.Disposition.attached_pic
        )
        if not leads:
            return self._nearest(at)
        first = at if packet.pts is None else packet.pts * base
        if track is None:
            track = self._tracks[stream.index] = _Track(self._entered(at, first), at)
        else:
            track.epoch = self._followed(track, at, first, guessed=packet.dts is None)
        offset = self._offsets[track.epoch]
        length = (packet.duration or 0) * base
        gap = at + offset - track.last
        track.step = length or (min(gap, track.step or gap) if gap > 0 else track.step)
        track.last, track.untimed = at + offset, Fraction(0)
        self._now = max(self._now, track.last)
        end = first + offset + (length or track.step)  # raw streams in MPEG-TS give no lengths
        self._end = end if self._end is None else max(self._end, end)
        return offset

    @property
    def _limit(self) -> Fraction:
        return _JUMP if self.loose else _LONG_JUMP

    def _nearest(self, at: Fraction) -> Fraction:
        """The offset that brings a stream with gaps, such as subtitles, nearest to the others."""
        return min(reversed(self._offsets), key=lambda offset: abs(at + offset - self._now))

    def _begin(self, first: Fraction) -> int:
        """A new epoch: ``first`` comes where everything so far ends."""
        assert self._end is not None
        ends = [t.last + t.step + t.untimed for t in self._tracks.values() if t.untimed]
        end = max([self._end, *ends])
        self._offsets.append(end - first)
        return len(self._offsets) - 1

    def _entered(self, at: Fraction, first: Fraction) -> int:
        """The epoch of a stream's first packet."""
        newest = len(self._offsets) - 1
        if self._end is None or not self.loose:
            return newest
        for epoch in range(newest, -1, -1):
            if -_LATE <= at + self._offsets[epoch] - self._now <= _JUMP:
                return epoch
        return self._begin(first)

    def _followed(self, track: _Track, at: Fraction, first: Fraction, guessed: bool) -> int:
        """The epoch of a stream's next packet."""
        assert self._end is not None
        back = _BACK if self.loose and not guessed else _GUESSED_BACK + _REORDERED * track.step
        if self.loose and track.untimed:  # what FFmpeg takes a picture to last may be twice of what it does
            back = -track.untimed / 3
        stays = track.last - back <= at + self._offsets[track.epoch] <= self._end + self._limit
        if stays and at + self._offsets[track.epoch] <= track.last + _OVERLAP + track.step:
            return track.epoch
        newer = [
            epoch
            for epoch in range(len(self._offsets) - 1, track.epoch, -1)
            if track.last - _OVERLAP <= at + self._offsets[epoch] <= self._end + self._limit
        ]
        if stays:
            newer.append(track.epoch)
        if newer:
            return min(newer, key=lambda epoch: abs(at + self._offsets[epoch] - self._now))
        return self._begin(first)
