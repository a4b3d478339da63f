"""Coded pictures to frames, each with the coded picture that it comes from, and what could not be decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import av

from vinr_engine.errors import reason

from .demuxing import Coded

_IN_SLICES = {"vp9"}
"""Codecs whose pictures several threads decode in parts, with the same result; so do those that code each by itself."""
_EACH_SHOWN = {"hevc", "mpeg1video", "mpeg2video", "libdav1d"}
"""Codecs each of whose coded pictures gives a frame, as do those that code each by itself."""


@dataclass
class Fed:
    """A coded picture goes to the decoder; what comes of it may follow later."""

    coded: Coded


@dataclass
class Decoded:
    """A frame, and what it was coded as."""

    coded: Coded
    frame: av.VideoFrame


@dataclass
class Lost:
    """A coded picture that the decoder refused."""

    coded: Coded
    why: str


@dataclass
class Silent:
    """A coded picture that gives no frame of its own: the second field of one, or one that is never shown."""

    coded: Coded


Event = Fed | Decoded | Lost | Silent


def _prepare(context: av.VideoCodecContext) -> None:
    """Set a decoder so that one damaged file gives the same frames each time.

    Threads that decode several frames at once see more or less of a damaged one, as they happen to run.
    """
    context.copy_opaque = True
    if context.name == "libdav1d":
        context.options = {**context.options, "max_frame_delay": "1"}
    elif context.name in _IN_SLICES or context.codec.intra_only:
        context.thread_type = av.codec.context.ThreadType.SLICE
    else:
        context.thread_count = 1


def decode(packets: Iterable[tuple[Coded, av.Packet]]) -> Iterator[Event]:
    """All that comes of coded pictures, frames in the order of showing; of one stream after the other."""
    context: av.VideoCodecContext | None = None
    held, each_shown = 0, False
    for coded, packet in packets:
        if context is not packet.stream.codec_context:
            yield from _rest(context)
            context = packet.stream.codec_context
            held, each_shown = 0, context.name in _EACH_SHOWN or context.codec.intra_only
            if not context.is_open:
                _prepare(context)
        if not coded.hidden:
            yield Fed(coded)
        packet.opaque = coded  # PyAV tells such objects apart by where they lie: it must be one of its own
        try:
            frames = list(_shown(context.decode(packet)))
        except av.error.FFmpegError as error:
            if not coded.hidden:
                yield Lost(coded, reason(error))
            continue
        held += (not coded.hidden) - len(frames)
        if not frames and not coded.hidden and held > context.reorder_depth:
            held -= 1
            yield Lost(coded, "nothing can be made of it") if each_shown else Silent(coded)
        yield from frames
    yield from _rest(context)


def _rest(context: av.VideoCodecContext | None) -> Iterator[Event]:
    """What a decoder still holds."""
    if context is not None:
        with suppress(av.error.FFmpegError):  # each packet that was refused has been said
            yield from _shown(context.decode(None))


def _shown(frames: Iterable[av.VideoFrame]) -> Iterator[Decoded]:
    for frame in frames:
        coded = frame.opaque
        assert isinstance(coded, Coded)
        if not coded.hidden:  # most decoders see to it themselves
            yield Decoded(coded, frame)
