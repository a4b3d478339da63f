"""Which of a file's video streams is the film, and how fast it runs."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
from av.stream import Disposition

from vinr_engine.errors import SourceError

from .film import NO_FILM

_LOOKED_AT = 64
"""Pictures by which streams are told apart."""
_MOST_PACKETS = 4096
"""Packets of all streams that are read for it."""
_FASTEST = 300
"""Frames a second that a file is believed to have; more is often the unit of its timestamps."""


def choose(container: av.container.InputContainer, path: Path) -> int:
    """The index of the stream to enlarge: the default one, else the largest, else the first; no cover, no still if
    there is a film beside it. Packets are read: open the container anew. SourceError."""
    streams = [s for s in container.streams.video if not s.disposition & NO_FILM]
    if not streams:
        raise SourceError(f"{path} holds no video")
    known = [s for s in streams if s.codec_context is not None]
    if not known:
        raise SourceError(f"{path} is coded in a way that this FFmpeg cannot decode")
    if len(known) == 1:
        return known[0].index
    counts = _counts(container, known)

    def worth(stream: av.VideoStream) -> tuple[bool, bool, int, int]:
        still = counts[stream.index] < 2 or bool(stream.disposition & Disposition.still_image)
        default = bool(stream.disposition & Disposition.default)
        return not still, default, stream.width * stream.height, -stream.index

    return max(known, key=worth).index


def _counts(container: av.container.InputContainer, streams: list[av.VideoStream]) -> dict[int, int]:
    """How many pictures of each stream come near its beginning."""
    counts = {stream.index: 0 for stream in streams}
    try:
        for packet in islice(container.demux(), _MOST_PACKETS):
            if packet.size and packet.stream.index in counts:
                counts[packet.stream.index] += 1
                if max(counts.values()) >= _LOOKED_AT and min(counts.values()) >= 2:
                    break
    except av.error.FFmpegError:
        pass  # decoding says what is wrong with it
    return counts


def rate(stream: av.VideoStream, bare: bool) -> Fraction | None:
    """The nominal rate that the file states; None where it states none that can be. ``bare``: without timestamps,
    where FFmpeg's mean is no more than its default.

    It is the mean, but where that is less than half the usual one: then it says how long the film stands still.
    """
    mean, usual = (None if bare else stream.average_rate), stream.guessed_rate
    gaps = mean and usual and 2 * mean < usual <= _FASTEST
    found = usual if gaps or not mean else mean
    return Fraction(found) if found and 0 < found <= _FASTEST else None


def measured_rate(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """The rate by what lies between most frames near the beginning; None where no two have times. Packets are read."""
    times: set[int] = set()
    try:
        for packet in islice(container.demux(), _MOST_PACKETS):
            if packet.stream.index == stream.index and packet.size and packet.pts is not None:
                times.add(packet.pts)
                if len(times) == _LOOKED_AT:
                    break
    except av.error.FFmpegError:
        pass
    rising = sorted(times)
    gaps = sorted(b - a for a, b in pairwise(rising))
    return 1 / (gaps[len(gaps) // 2] * Fraction(stream.time_base or 1)) if gaps else None
