"""One stream of the input beside the picture, packet by packet into an output: copied, or converted."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av

from .carried import CONVERTED, COPIED, Carried
from .containers import Container
from .tags import Tags

REFUSED = (ValueError, OverflowError, av.error.FFmpegError)
"""What a muxer or a coder raises that does not take something."""
UNTAGGED = "\0\0\0\0"


def like(stream: Any, out: av.container.OutputContainer, container: Container, tagged: bool = False) -> Any:
    """A new stream of an output for the packets of one of an input, whatever its codec.

    ``tagged``: with its codec tag, where that is all that says what it is. One of REFUSED where that is impossible.
    """
    # PyAV's templates take what avformat_query_codec does, which denies much that muxers write. A filter that does
    # nothing sets the parameters of any stream.
    with av.open(io.BytesIO(), "w", format=container.muxer) as seeds:
        target = out.add_stream_from_template(seeds.add_stream(container.seed))
    av.bitstream.BitStreamFilterContext("null", stream, target)
    target.time_base = stream.time_base
    if not tagged:
        target.codec_context.codec_tag = UNTAGGED  # those of one container mean nothing in another
    return target


@dataclass
class Track(ABC):
    """A stream with the ``index`` that it has in the input, of a ``kind`` as of Carried.

    ``tags`` and ``disposition`` are for the output. ``target`` is the stream there, once it is attached.
    """

    index: int
    kind: str
    codec: str
    tags: Tags = field(default_factory=dict)
    disposition: int = 0
    target: Any = field(default=None, init=False)
    refused: int = field(default=0, init=False)
    """Packets that could not be written."""
    unheard: Fraction = field(default=Fraction(0), init=False)
    """Seconds of sound left out as they overlap with what is heard already."""
    early: Fraction = field(default=Fraction(0), init=False)
    """Seconds of sound left out before the first picture, with which all begins where there are no timestamps."""
    why: str = field(default="", init=False)
    """What is gained by converting it, where it could be copied as well."""

    def attach(self, out: av.container.OutputContainer, container: Container, stream: Any) -> None:
        """Add it to an output whose header is not written yet; ``stream`` is the input's. What does not fit raises one
        of REFUSED."""
        self.refused, self.unheard, self.early = 0, Fraction(0), Fraction(0)
        self.target = self._add(out, container, stream)
        self.target.metadata.update(self.tags)
        if self.disposition:
            self.target.disposition = self.disposition

    @abstractmethod
    def _add(self, out: av.container.OutputContainer, container: Container, stream: Any) -> Any: ...

    def take(self, packet: av.Packet, shift: Fraction) -> Iterator[av.Packet]:
        """A packet of the input's, whose times move by ``shift`` seconds, as packets of the output."""
        return iter(())

    def finish(self) -> Iterator[av.Packet]:
        """Those that are left at the end."""
        return iter(())

    @property
    def to(self) -> str:
        """The codec that it is converted to, "" where it is copied."""
        return ""

    @property
    def carried(self) -> Carried:
        """What becomes of it."""
        became = CONVERTED if self.to else COPIED
        return Carried(self.index, self.kind, self.codec, self.tags.get("language", ""), became, self.to, self.why)


class Copy(Track):
    """Packets as they are."""

    def _add(self, out: av.container.OutputContainer, container: Container, stream: Any) -> Any:
        target = like(stream, out, container, tagged=self.kind == "data")
        flag: Any = av.format.Flags.ts_nonstrict.value
        self._strict = not (out.format.flags & flag)
        self._last: int | None = None
        self._step = 0
        self._hidden: av.Packet | None = None
        return target

    def take(self, packet: av.Packet, shift: Fraction) -> Iterator[av.Packet]:
        """See Track. Decoding times that do not rise are moved up, as muxers refuse them. Of what an edit list hides a
        packet goes along only where one that is heard follows: decoders of sound begin with it."""
        hidden, self._hidden = self._hidden, packet if packet.is_discard else None
        if packet.is_discard:
            return
        if hidden is not None and self._leads(hidden, packet, shift):
            yield from self._moved(hidden, shift)
        yield from self._moved(packet, shift)

    def _leads(self, hidden: av.Packet, packet: av.Packet, shift: Fraction) -> bool:
        """Whether one packet comes right before another one, and after all that were written."""
        if hidden.pts is None or packet.pts is None or hidden.pts + (hidden.duration or 0) != packet.pts:
            return False
        return self._last is None or hidden.pts + round(shift / Fraction(packet.time_base)) > self._last

    def _moved(self, packet: av.Packet, shift: Fraction) -> Iterator[av.Packet]:
        base = Fraction(packet.time_base)
        offset = round(shift / base)
        dts = packet.dts if packet.dts is not None else packet.pts
        if dts is None:
            return
        dts += offset
        if self._last is not None:
            dts = max(dts, self._last + self._strict)
            self._step = dts - self._last or self._step
        self._last = dts
        if not packet.duration and self.kind != "subtitle":
            packet.duration = self._step  # MP4 ends a track where its last packet begins, if that has none
        pts = dts if packet.pts is None else max(dts, packet.pts + offset)
        packet.pts, packet.dts, packet.stream = pts, dts, self.target
        yield packet


@dataclass
class Attachment(Track):
    """A file within the file: a font, or a cover picture where the output has no other place for it."""

    name: str = ""
    mimetype: str = ""
    data: bytes = b""

    def _add(self, out: av.container.OutputContainer, container: Container, stream: Any) -> Any:
        return out.add_attachment(self.name, self.mimetype, self.data)


@dataclass
class Cover(Track):
    """A picture that stands for the film, as a stream of one packet."""

    data: bytes = b""

    def _add(self, out: av.container.OutputContainer, container: Container, stream: Any) -> Any:
        return like(stream, out, container)

    def first(self) -> av.Packet:
        """The packet."""
        packet = av.Packet(self.data)
        packet.pts = packet.dts = 0
        packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, 1000), True, self.target
        return packet
