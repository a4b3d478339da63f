"""Audio packets from the input file into the output file, unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from vinr_engine.errors import SinkError, SourceError, reason

from .carried import COPIED, Carried
from .containers import suffixes
from .opening import open_container


class AudioCopy:
    """All audio streams of a file, read through a handle of their own so that nothing is stored.

    ``begin`` and ``end`` are seconds in the file's own timestamps: the output's time 0, and where the chosen part
    ends (None: all is copied). With ``trim`` only packets that begin at or after ``begin`` and end by ``end`` are
    copied; packets are never cut in two.
    """

    def __init__(self, path: Path, begin: Fraction, end: Fraction | None, trim: bool) -> None:
        self.path = path
        self.container, self._file = open_container(path)
        self.streams = list(self.container.streams.audio)
        self.begin, self.end, self.trim = begin, end, trim
        starts = [s.start_time * s.time_base for s in self.streams if s.start_time is not None and s.time_base]
        lead = begin - min(starts) if starts and not trim else Fraction(0)
        self.lead = max(Fraction(0), lead)
        """How much later than the audio the picture begins, in seconds."""
        self.copied = 0
        self._out: dict[int, av.stream.Stream] = {}
        self._packets: Iterator[av.Packet] = iter(())
        self._waiting: tuple[Fraction, av.Packet] | None = None

    @property
    def carried(self) -> tuple[Carried, ...]:
        """What becomes of each stream."""
        return tuple(Carried(s.index, "audio", s.name or "", s.language or "", COPIED) for s in self.streams)

    def attach(self, out: av.container.OutputContainer, dst: str) -> None:
        """Add the streams to an output container; SinkError when it cannot hold them."""
        for stream in self.streams:
            name = stream.codec_context.name if stream.codec_context else "unknown"
            try:
                target = out.add_stream_from_template(stream)
            except (ValueError, av.error.FFmpegError):
                other = suffixes(any_audio=True)
                raise SinkError(
                    f"{Path(dst).suffix} cannot hold {name} audio: use --no-audio or a {other} output"
                ) from None
            target.metadata.update({k: v for k, v in stream.metadata.items() if k in ("language", "title")})
            self._out[stream.index] = target
        if self.trim and self.begin > 0:
            try:
                self.container.seek(int(max(Fraction(0), self.begin - 1) * 1_000_000), backward=True)
            except av.error.FFmpegError:
                self.container.seek(0)
        self._packets = self._read()

    def _read(self) -> Iterator[av.Packet]:
        if not self.streams:
            return
        try:
            for packet in self.container.demux(tuple(self.streams)):
                if packet.dts is not None or packet.pts is not None:
                    yield packet
        except av.error.FFmpegError as error:
            raise SourceError(f"{self.path}: unreadable audio: {reason(error)}") from None

    def _next(self) -> tuple[Fraction, av.Packet] | None:
        """The next packet to copy, with its place on the output's time line."""
        for packet in self._packets:
            stamp = packet.pts if packet.pts is not None else packet.dts
            assert stamp is not None
            base = Fraction(packet.time_base)
            at = stamp * base
            if self.trim and (
                at < self.begin or (self.end is not None and at + (packet.duration or 0) * base > self.end)
            ):
                continue
            offset = round((self.lead - self.begin) / base)
            if packet.pts is not None:
                packet.pts += offset
            if packet.dts is not None:
                packet.dts += offset
            packet.stream = self._out[packet.stream.index]
            return at - self.begin + self.lead, packet
        return None

    def pump(self, out: av.container.OutputContainer, until: Fraction | None) -> None:
        """Write packets up to a time on the output's time line; all that are left for None."""
        while True:
            if self._waiting is None:
                self._waiting = self._next()
            if self._waiting is None or (until is not None and self._waiting[0] > until):
                return
            packet = self._waiting[1]
            self._waiting = None
            out.mux(packet)
            self.copied += 1

    def close(self) -> None:
        """Release the file."""
        self.container.close()
        self._file.close()
