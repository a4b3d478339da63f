"""Streams that an output does not hold as they are: sound and text by another codec."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.subtitles.subtitle import SubtitleSet

from .containers import Container
from .gaps import APART
from .tracks import REFUSED, Track

BIT_RATES = {"aac": 96_000, "libopus": 80_000, "libmp3lame": 96_000}
"""Of a channel: little is lost that one hears."""
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_ONE_AT_A_TIME = {"mov_text"}
"""Encoders of text for containers whose samples follow each other: FFmpeg moves one that overlaps behind the other."""
SILENCE = 48_000
"""Samples made at a time at most."""
_BRISK = 32_000
"""Samples a second at least where nothing says how many an encoder puts before the first, a thousand or so, by which
all is late: 0.14 s of 8000."""


@dataclass
class Converted(Track):
    """Coded again by ``encoder``."""

    encoder: str = ""

    @property
    def to(self) -> str:
        """See Track."""
        return av.Codec(self.encoder, "w").canonical_name


@dataclass
class Sound(Converted):
    """Gaps become silence, so that it stays in time."""

    def _add(self, out: av.container.OutputContainer, container: Container, stream: Any) -> Any:
        self._decoder = stream.codec_context
        if self._decoder is None or not self._decoder.sample_rate:
            raise ValueError("no decoder")
        settings = _settings(
            self.encoder, self._decoder, _BRISK if container.constant and self.encoder in BIT_RATES else 0
        )
        target = out.add_stream(self.encoder, rate=settings["sample_rate"])
        context: Any = target.codec_context
        for name, value in settings.items():
            setattr(context, name, value)
        context.open()
        self._context = context
        self._rate = settings["sample_rate"]
        self._shape = settings["format"], settings["layout"], self._rate
        self._resampler: Any = None
        self._given: tuple[str, str, int] | None = None
        self._fifo = av.AudioFifo()
        # Samples from the output's time 0: of the next one to come, and to be coded.
        self._constant = container.constant
        self._next: int | None = 0 if container.constant else None
        self._coded, self._begun = 0, False
        return target

    def take(self, packet: av.Packet, shift: Fraction) -> Iterator[av.Packet]:
        """See Track. A packet that cannot be decoded leaves a gap."""
        try:
            frames = self._decoder.decode(packet)
        except REFUSED:
            self.refused += 1
            return
        for frame in frames:
            yield from self._code(frame, shift)

    def finish(self) -> Iterator[av.Packet]:
        """See Track."""
        try:
            rest = self._decoder.decode(None)
        except REFUSED:
            rest = []
        for frame in rest:
            yield from self._code(frame, None)
        if self._resampler is not None:
            for part in self._resampler.resample(None):
                self._write(part)
        yield from self._drain(partial=True)
        if self._next is not None:
            yield from self._sent(None)

    def _code(self, frame: av.AudioFrame, shift: Fraction | None) -> Iterator[av.Packet]:
        if frame.pts is not None and frame.time_base and shift is not None:
            at = round((frame.pts * Fraction(frame.time_base) + shift) * self._rate)
            if self._next is None:
                self._next = self._coded = at
            late = at - self._next
            if late > (APART * self._rate if self._begun else 0):
                yield from self._silence(late)
            elif late < -APART * self._rate:
                self.unheard += Fraction(frame.samples, frame.sample_rate)
                return
        elif self._next is None:
            self._next = self._coded = 0
        frame.pts, self._begun = None, True
        for part in self._resampled(frame):
            self._write(part)
        yield from self._drain(partial=False)

    def _resampled(self, frame: av.AudioFrame) -> list[Any]:
        given = frame.format.name, frame.layout.name, frame.sample_rate
        rest: list[Any] = []
        if given != self._given:  # a resampler that finds nothing to do lets through whatever comes then
            rest = self._resampler.resample(None) if self._resampler is not None else []
            self._resampler, self._given = av.AudioResampler(*self._shape), given
        return [*rest, *self._resampler.resample(frame)]

    def _silence(self, samples: int) -> Iterator[av.Packet]:
        form, layout, rate = self._shape
        while samples > 0:
            part = av.AudioFrame(form, layout, min(samples, SILENCE))
            part.sample_rate = rate
            for plane in part.planes:
                plane.update(bytes(plane.buffer_size))
            samples -= part.samples
            self._write(part)
            yield from self._drain(partial=False)

    def _write(self, part: Any) -> None:
        assert self._next is not None
        part.pts, part.time_base = None, Fraction(1, self._rate)  # else the decoder's, where nothing was resampled
        self._next += part.samples
        self._fifo.write(part)

    def _drain(self, partial: bool) -> Iterator[av.Packet]:
        if self._next is None:
            return
        size = self._context.frame_size or 4096
        while (part := self._fifo.read(size)) or (partial and (part := self._fifo.read(size, partial=True))):
            part.pts, part.time_base = self._coded, Fraction(1, self._rate)
            self._coded += part.samples
            yield from self._sent(part)

    def _sent(self, part: Any) -> Iterator[av.Packet]:
        for packet in self._context.encode(part):
            if packet.size or not self._constant:  # FLAC's last one says how long all was, of which AVI knows nothing
                packet.stream = self.target
                yield packet


def _settings(encoder: str, source: Any, least: int) -> dict[str, Any]:
    """What the encoder takes that is nearest to the source, of at least so many samples a second; one of REFUSED if it
    takes nothing."""
    codec = av.Codec(encoder, "w")
    rates = sorted(codec.audio_rates or [])
    rate = max(least, int(source.sample_rate))
    if rates and rate not in rates:
        rate = next((other for other in rates if other >= rate), rates[-1])
    forms = [form.name for form in codec.audio_formats or []]
    wide = source.format is not None and source.format.bytes > 2
    form = next((name for name in forms if name.startswith("s16") != wide), forms[0])
    channels = source.layout.nb_channels
    wanted = source.layout.name, LAYOUTS.get(channels), "stereo"
    for layout in dict.fromkeys(name for name in wanted if name):
        settings: dict[str, Any] = {"sample_rate": rate, "format": form, "layout": layout}
        settings["time_base"] = Fraction(1, rate)
        if encoder in BIT_RATES:
            settings["bit_rate"] = BIT_RATES[encoder] * av.AudioLayout(layout).nb_channels
        trial: Any = av.CodecContext.create(encoder, "w")
        try:
            for name, value in settings.items():
                setattr(trial, name, value)
            trial.open()
        except REFUSED:
            continue
        return settings
    raise ValueError(f"{encoder} takes no such sound")


@dataclass
class Text(Converted):
    """Subtitles of text, whose style may be lost. Where they overlap, and the output shows one at a time, what is shown
    together becomes one."""

    def _add(self, out: av.container.OutputContainer, container: Container, stream: Any) -> Any:
        decoder = stream.codec_context
        if decoder is None or not av.codec.Codec(decoder.name, "r").text_sub:
            raise ValueError("no text")
        decoder.open(strict=False)
        self._decoder = decoder
        target = out.add_stream(self.encoder)
        context: Any = target.codec_context
        context.time_base = Fraction(1, 1000)
        target.time_base = Fraction(1, 1000)
        context.subtitle_header = decoder.subtitle_header or b""
        context.open()
        self._context = context
        self._last = 0  # thousandths of a second, up to which all is written
        self._shown: list[tuple[int, bytes]] = []  # what is shown then, and until when
        return target

    def take(self, packet: av.Packet, shift: Fraction) -> Iterator[av.Packet]:
        """See Track."""
        try:
            text = self._decoder.decode2(packet)
        except REFUSED:
            self.refused += 1
            return
        if text is None or packet.pts is None or not len(text):
            return
        base = Fraction(packet.time_base)
        length = max(1, round(((packet.duration or 0) * base or Fraction(max(0, text.end_display_time), 1000)) * 1000))
        begin = max(self._last, round((packet.pts * base + shift) * 1000))
        if self.encoder in _ONE_AT_A_TIME:
            yield from self._until(begin)
            self._shown += [(begin + length, rect.ass) for rect in text if rect.ass]
        else:
            yield from self._coded(text, begin, length)
        self._last = begin

    def finish(self) -> Iterator[av.Packet]:
        """See Track."""
        yield from self._until(max([end for end, _ in self._shown], default=self._last))

    def _until(self, stop: int) -> Iterator[av.Packet]:
        """What is shown from the last one on, a stretch for each that ends before."""
        while self._shown and self._last < stop:
            until = min(stop, *(end for end, _ in self._shown))
            text = SubtitleSet.create(_together([line for _, line in self._shown]), 0, until - self._last)
            yield from self._coded(text, self._last, until - self._last)
            self._shown = [(end, line) for end, line in self._shown if end > until]
            self._last = until

    def _coded(self, text: SubtitleSet, begin: int, length: int) -> Iterator[av.Packet]:
        try:
            coded = self._context.encode_subtitle(text)
        except REFUSED:
            self.refused += 1
            return
        coded.time_base = Fraction(1, 1000)
        coded.pts = coded.dts = begin
        coded.duration = length
        coded.stream = self.target
        yield coded


def _together(lines: list[bytes]) -> bytes:
    """One event of ASS for several: each on a line of its own, in its own style."""
    first, *rest = lines
    for line in rest:
        _, _, style, *_, words = line.split(b",", 8)
        first += b"\\N{\\r" + style + b"}" + words
    return first
