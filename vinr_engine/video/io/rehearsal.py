"""Whether an output takes streams, tags and chapters: tried with the first packets, before any picture is made."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from .containers import Container
from .gaps import APART
from .tags import Tags, missing
from .tracks import REFUSED, Attachment, Copy, Cover, Track

MOST_BYTES, MOST_PACKETS, ENOUGH = 1 << 24, 4096, 8
"""How far into a file the first packets are looked for, and how many of a stream."""
_GAP = 10
"""Seconds of a gap that is tried."""
FLAGS: Any = av.stream.Disposition
Samples = Mapping[int, Sequence[av.Packet]]
"""The first packets of streams, by their index."""


def samples(container: av.container.InputContainer, indices: Sequence[int]) -> Samples:
    """Some first packets of the streams, as far as the file's beginning holds them."""
    found: dict[int, list[av.Packet]] = {index: [] for index in indices}
    left, read = set(indices), 0
    with suppress(av.error.FFmpegError):  # who reads on will say it
        for number, packet in enumerate(container.demux()):
            if not left or number >= MOST_PACKETS or read >= MOST_BYTES:
                break
            read += packet.size
            if packet.stream.index in left and packet.size:
                found[packet.stream.index].append(packet)
                if len(found[packet.stream.index]) >= ENOUGH:
                    left.remove(packet.stream.index)
    return found


def duplicate(packet: av.Packet) -> av.Packet:
    """Another packet of the same content, without a stream."""
    other = av.Packet(bytes(packet))
    other.pts, other.dts, other.duration = packet.pts, packet.dts, packet.duration
    other.time_base, other.is_keyframe = packet.time_base, packet.is_keyframe
    for side in packet.iter_sidedata():
        other.set_sidedata(side)
    return other


@dataclass
class Extras:
    """What an output gets beside the picture: ``tracks``, ``tags``, ``chapters`` as `tags.chapters` has them, and
    ``picture_tags`` and the ``disposition`` of the picture's stream."""

    tracks: list[Track]
    tags: Tags
    chapters: list[dict[str, Any]]
    picture_tags: Tags
    disposition: int = 0

    def attach(
        self, out: av.container.OutputContainer, container: Container, streams: Any, picture: Any = None
    ) -> None:
        """All of it to an output whose header is not written yet; ``streams`` are the input's, ``picture`` the output's
        stream. One of REFUSED."""
        out.metadata.update(self.tags)
        if picture is not None:
            picture.metadata.update(self.picture_tags)
            if self.disposition:
                picture.disposition = self.disposition
        for track in self.tracks:
            track.attach(out, container, streams[track.index])
        if self.chapters:
            chapters: Any = self.chapters
            out.set_chapters(chapters)


def takes(container: Container, track: Track, stream: Any, first: Sequence[av.Packet]) -> bool:
    """Whether the container takes a track, tried with its first packets."""
    with av.logging.Capture():
        try:
            file = _written(container, track, stream, first)
            if track.kind == "data":  # AVI takes all, and does not say what it was
                with av.open(file) as found:
                    return bool(found.streams.data)
            if track.kind == "audio" and isinstance(track, Copy) and container.constant:  # nor its rate
                with av.open(file) as found:
                    return abs(_length(found.demux(audio=0)) - _length(first)) <= APART
        except REFUSED:
            return False
    return True


def holds_gaps(container: Container, track: Track, stream: Any, first: Sequence[av.Packet]) -> bool:
    """Whether a gap in a track of sound that the container takes is one still when the output is read."""
    half = len(first) // 2
    if not half:
        return not container.constant
    later = [duplicate(packet) for packet in first[half:]]
    for packet in later:
        more = round(_GAP / Fraction(packet.time_base))
        packet.pts = None if packet.pts is None else packet.pts + more
        packet.dts = None if packet.dts is None else packet.dts + more
    try:
        with av.logging.Capture(), av.open(_written(container, track, stream, [*first[:half], *later])) as found:
            return _length(found.demux(audio=0)) > _GAP
    except REFUSED:
        return False


def _written(container: Container, track: Track, stream: Any, first: Sequence[av.Packet]) -> io.BytesIO:
    """An output of nothing but a track's first packets. One of REFUSED."""
    file = io.BytesIO()
    out = av.open(file, "w", format=container.muxer)
    try:
        track.attach(out, container, stream)
        out.start_encoding()
        _write(out, track, first)
        out.close()
    except REFUSED:
        with suppress(*REFUSED):
            out.close()
        raise
    finally:
        if stream.codec_context is not None and stream.codec_context.is_open:
            stream.codec_context.flush_buffers()
    file.seek(0)
    return file


def _length(packets: Iterable[av.Packet]) -> Fraction:
    """Seconds from where the first of them begins to where the last one ends."""
    times = []
    for packet in packets:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if packet.size and stamp is not None:
            times.append((stamp * Fraction(packet.time_base), (packet.duration or 0) * Fraction(packet.time_base)))
    return max(at + length for at, length in times) - min(at for at, _ in times) if times else Fraction(0)


def _write(out: av.container.OutputContainer, track: Track, first: Sequence[av.Packet]) -> None:
    if isinstance(track, Cover):
        out.mux(track.first())
    stamps = [p.pts if p.pts is not None else p.dts for p in first]
    times = [stamp * Fraction(p.time_base) for stamp, p in zip(stamps, first, strict=True) if stamp is not None]
    start = min(times, default=Fraction(0))
    before = track.refused
    for packet in first:
        for other in track.take(duplicate(packet), -start):
            out.mux(other)
    if first and track.refused - before == len(first):
        raise ValueError("it cannot be decoded")
    for other in track.finish():
        out.mux(other)
    track.refused = before


def lost(container: Container, extras: Extras, streams: Any, first: Samples) -> list[str] | None:
    """What an output with all of it does not say any more when it is read: names of tags, flags and chapters.

    None where the container does not take it all together.
    """
    file = io.BytesIO()
    with av.logging.Capture():
        out = av.open(file, "w", format=container.muxer)
        try:
            picture: Any = out.add_stream(container.seed, rate=25)
            picture.width = picture.height = 64
            extras.attach(out, container, streams, picture)
            out.start_encoding()
            frame = av.VideoFrame(64, 64, picture.codec_context.format.name)
            frame.pts, frame.time_base = 0, Fraction(1, 25)
            out.mux([*picture.encode(frame), *picture.encode(None)])
            for track in extras.tracks:
                _write(out, track, first.get(track.index, ()))
            out.close()
            file.seek(0)
            with av.open(file, metadata_errors="replace") as found:
                return _differences(extras, found)
        except REFUSED:
            with suppress(*REFUSED):
                out.close()
            return None
        finally:
            for track in extras.tracks:
                context = streams[track.index].codec_context
                if context is not None and context.is_open:
                    context.flush_buffers()


def _differences(extras: Extras, found: Any) -> list[str]:
    names = [f"tag {name}" for name in missing(extras.tags, found.metadata)]
    chapters = found.chapters()
    if len(chapters) < len(extras.chapters):
        names.append("chapters")
    elif any(
        missing({"title": a["metadata"].get("title", "")}, b["metadata"])
        for a, b in zip(extras.chapters, chapters, strict=False)
        if a["metadata"].get("title")
    ):
        names.append("titles of chapters")
    streams = [s for s in found.streams if s.discard != av.stream.Discard.all]
    pairs: list[tuple[str, Tags, int, Any]] = [
        ("the picture", extras.picture_tags, extras.disposition, streams[0] if streams else None)
    ]
    tracks = [t for t in extras.tracks if not isinstance(t, (Attachment, Cover))]
    others = [s for s in streams[1:] if s.type in ("audio", "subtitle", "data")]
    if len(tracks) == len(others):  # else some had no packet among the first ones
        pairs += [(f"{t.kind} {t.index}", t.tags, t.disposition, s) for t, s in zip(tracks, others, strict=True)]
    for title, wanted, disposition, stream in pairs:
        if stream is None:
            continue
        names += [f"{name} of {title}" for name in missing(wanted, stream.metadata)]
        gone = disposition & ~int(stream.disposition)
        if sum(other.type == stream.type for other in streams) == 1:
            gone &= ~int(FLAGS.default)  # it is, whatever it says
        names += [f"flag {flag.name} of {title}" for flag in FLAGS if gone & flag]
    return names
