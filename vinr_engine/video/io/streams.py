"""The input's streams beside the picture, packet by packet into the output file."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from vinr_engine.errors import reason

from .carried import CONVERTED, LEFT_OUT, Carried, in_words
from .containers import Container
from .gaps import APART, Gaps
from .opening import open_container
from .selection import Part, select
from .timeline import Timeline
from .tracks import REFUSED, Attachment, Cover, Track

_STANDING = {"hdmv_pgs_subtitle", "dvb_subtitle"}
"""Subtitles that are shown until the next one, which shows nothing where they only end."""
_PGS_BEGINS = 0x16
"""The kind of the first of a picture's parts in PGS, which MPEG-TS has packet by packet."""

OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EPIPE, errno.EBADF}
"""Errors in writing that no packet is the cause of."""
BEFORE, TEXT_BEFORE = 1, 60
"""Seconds before a part's beginning from which a file is read: subtitles stay for a while."""


class Streams:
    """All streams of a file but one, read through a handle of their own so that nothing is stored.

    ``picture`` is the index of the one that is enlarged, ``container`` what is written, None for images; ``audio`` see
    Job. With ``part.trim`` only sound that lies within the part is carried, in whole packets; subtitles and chapters
    are cut at its borders.
    """

    def __init__(self, path: Path, picture: int, part: Part, container: Container | None, audio: str) -> None:
        self.path, self.picture, self.container = path, picture, container
        self._open()
        try:
            part = replace(part, lead=self._lead(part, audio if container is not None else "none"))
            gaps = Gaps(path, part.begin, part.end)
            chosen = select(self.source, picture, part, container, audio, gaps)
        except BaseException:
            self.close()
            raise
        self.part, self.extras, self.carried = part, chosen.extras, chosen.carried
        self.kept, self.left_out = chosen.kept, chosen.left_out
        self._packets: Iterator[tuple[Fraction, list[av.Packet]]] = iter(())
        self._waiting: tuple[Fraction, list[av.Packet]] | None = None
        self._refused = self._dropped = ""
        self._filled: set[int] = set()  # streams of the output that have a packet
        self._standing: dict[int, list[tuple[av.Packet, Fraction]]] = {}  # with what is added to their times

    def _open(self) -> None:
        self.source, self._file = open_container(self.path)

    @property
    def lead(self) -> Fraction:
        """How much later than the sound the picture begins, in seconds."""
        return self.part.lead

    def _lead(self, part: Part, audio: str) -> Fraction:
        if part.trim or audio == "none" or (self.container is not None and self.container.constant):
            return Fraction(0)
        streams = self.source.streams.audio
        starts = [s.start_time * s.time_base for s in streams if s.start_time is not None and s.time_base]
        return max(Fraction(0), part.begin - min(starts)) if starts else Fraction(0)

    def notes(self, besides: Sequence[str] = ()) -> list[str]:
        """What is converted and what is left out, on a line each; nothing that was asked for.

        ``besides``: what the output leaves out, to be named with it.
        """
        lines = []
        changed = [
            f"{_title(c)} to {c.to}{f' ({c.why})' if c.why else ''}" for c in self.carried if c.became == CONVERTED
        ]
        if changed:
            lines.append(f"converted: {', '.join(changed)}")
        gone: dict[str, list[str]] = {}
        for stream in self.carried:
            if stream.became == LEFT_OUT and not stream.why.startswith("--"):
                gone.setdefault(stream.why, []).append(_title(stream))
        parts = [f"{', '.join(names)} ({why})" for why, names in gone.items()]
        if names := [*besides, *self.left_out]:
            parts.append(in_words(names))
        if parts:
            lines.append(f"left out: {'; '.join(parts)}")
        return lines

    def late_notes(self) -> list[str]:
        """What went wrong while packets were written."""
        rest = [f"left out: everything beside the picture ({self._dropped})"] if self._dropped else []
        rest += [f"the rest of sound and subtitles cannot be read: {self._refused}"] if self._refused else []
        bad = [f"{track.refused} of {track.kind} {track.index}" for track in self.extras.tracks if track.refused]
        rest += [f"packets that could not be carried: {', '.join(bad)}"] if bad else []
        unfilled = [t for t in self.extras.tracks if t.target is not None and t.target.index not in self._filled]
        empty = [f"{t.kind} {t.index}" for t in unfilled if not isinstance(t, Attachment)]
        rest += [f"there was nothing to carry of {', '.join(empty)}: the output may lack it"] if empty else []
        early = [f"{float(t.early):.1f} s of audio {t.index}" for t in self.extras.tracks if t.early > APART]
        rest += [f"left out, as it comes before the first picture: {', '.join(early)}"] if early else []
        twice = [f"{float(t.unheard):.1f} s of audio {t.index}" for t in self.extras.tracks if t.unheard]
        return [*rest, *([f"left out, as it overlaps with other sound: {', '.join(twice)}"] if twice else [])]

    def drop(self, why: str) -> None:
        """Carry nothing at all, as the output does not take it together with the picture."""
        self._dropped = why
        self.extras.tracks.clear()
        self.carried = tuple(replace(c, became=LEFT_OUT, to="", why=why) for c in self.carried)
        self.left_out = tuple(dict.fromkeys([*self.left_out, *self.kept]))
        self.kept = ()
        self.extras.tags.clear()
        self.extras.picture_tags.clear()
        self.extras.chapters.clear()

    def attach(self, out: av.container.OutputContainer, picture: Any) -> None:
        """Add everything to an output whose header is not written yet. One of tracks.REFUSED."""
        assert self.container is not None
        self.close()
        self._open()
        self.extras.attach(out, self.container, self.source.streams, picture)
        self._waiting = None
        self._filled.clear()
        self._standing.clear()
        self._packets = self._read()

    def _read(self) -> Iterator[tuple[Fraction, list[av.Packet]]]:
        """Packets of the output with their places on its time line, in the order of the file."""
        tracks = {t.index: t for t in self.extras.tracks if not isinstance(t, (Attachment, Cover))}
        yield from ((Fraction(0), [t.first()]) for t in self.extras.tracks if isinstance(t, Cover))
        if not tracks:
            return
        self._enter(tracks)
        line = Timeline(self.source)
        at = Fraction(0)
        try:
            for packet in self.source.demux():
                if packet.dts is None and packet.pts is None:
                    continue
                offset = line.see(packet)
                track = tracks.get(packet.stream.index)
                if packet.is_discard:
                    if track is not None and track.kind == "audio":  # what follows may build on it
                        yield at, list(track.take(packet, self.part.shift + offset))
                    continue
                found = None if track is None else self._within(packet, track, offset)
                if track is not None and found is not None:
                    yield from self._stood(track, found)
                    at = found
                    yield at, list(track.take(packet, self.part.shift + offset))
        except (av.error.FFmpegError, OSError) as error:  # the picture's reader says so; what came before is carried
            self._refused = reason(error)
        for track in tracks.values():
            yield from self._stood(track, None)
            yield at, list(track.finish())

    def _stood(self, track: Track, following: Fraction | None) -> Iterator[tuple[Fraction, list[av.Packet]]]:
        """The subtitle that is shown as the output begins, if its end or another one is ``following`` only later."""
        begin = self.part.begin - self.part.lead
        for packet, offset in self._standing.pop(track.index, []):
            if following is None or following > 0:
                packet.pts = packet.dts = round((begin - offset) / Fraction(packet.time_base))
                yield Fraction(0), list(track.take(packet, self.part.shift + offset))

    def _enter(self, tracks: dict[int, Track]) -> None:
        """Jump to a little before the part, where timestamps do not start again."""
        loose: Any = av.format.Flags.ts_discont.value
        if not self.part.trim or self.source.format.flags & loose:
            return
        before = TEXT_BEFORE if any(t.kind == "subtitle" for t in tracks.values()) else BEFORE
        if self.part.begin > before:
            try:
                self.source.seek(int((self.part.begin - before) * 1_000_000), backward=True)
            except (av.error.FFmpegError, OverflowError):  # where a damaged file's times are no 64 bits
                with suppress(av.error.FFmpegError):  # it still stands at its beginning
                    self.source.seek(0)

    def _within(self, packet: av.Packet, track: Track, offset: Fraction) -> Fraction | None:
        """Where a packet begins on the output's time line, None outside of the part. Subtitles are cut."""
        part, base = self.part, Fraction(packet.time_base)
        stamp = packet.pts if packet.pts is not None else packet.dts
        assert stamp is not None
        at = stamp * base + offset
        assert self.container is not None
        if part.trim or track.kind == "subtitle" or self.container.constant:
            until = at + (packet.duration or 0) * base
            if track.kind == "subtitle":
                early = (until <= part.begin - part.lead) if packet.duration else (at < part.begin - part.lead)
                if early and not packet.duration and track.codec in _STANDING:
                    parts = self._standing.setdefault(track.index, [])
                    if track.codec != "hdmv_pgs_subtitle" or bytes(packet)[0] == _PGS_BEGINS:
                        parts.clear()
                    parts.append((packet, offset))
                if early or (part.end is not None and at >= part.end):
                    return None
                first, last = max(at, part.begin - part.lead), until if part.end is None else min(until, part.end)
                packet.pts = packet.dts = round((first - offset) / base)
                packet.duration = round((last - first) / base)
                at = first
            elif at < part.begin or (part.end is not None and until > part.end):
                if not part.trim and track.kind == "audio":
                    track.early = max(track.early, part.begin - at)
                return None
        return at + part.shift

    def pump(self, out: av.container.OutputContainer, until: Fraction | None) -> None:
        """Write packets up to a time on the output's time line; all that are left for None."""
        while True:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
            if self._waiting is None or (until is not None and self._waiting[0] > until):
                return
            packets, self._waiting = self._waiting[1], None
            for packet in packets:
                self._write(out, packet)

    def _write(self, out: av.container.OutputContainer, packet: av.Packet) -> None:
        try:
            out.mux(packet)
            self._filled.add(packet.stream.index)
        except REFUSED as error:
            if getattr(error, "errno", None) in OF_THE_DISK:
                raise
            for track in self.extras.tracks:
                if track.target is packet.stream:
                    track.refused += 1

    def close(self) -> None:
        """Release the file."""
        self.source.close()
        self._file.close()


def _title(stream: Carried) -> str:
    """ "audio 1 (aac, eng)"."""
    about = ", ".join(word for word in (stream.codec, stream.language) if word)
    return f"{stream.kind} {stream.index}{f' ({about})' if about else ''}"
