"""Coded pictures to frames, each with the coded picture that it comes from, and what could not be decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def prepare(context: av.VideoCodecContext) -> None:
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


def decode(context: av.VideoCodecContext, packets: Iterable[tuple[Coded, av.Packet]]) -> Iterator[Event]:
    """All that comes of coded pictures, frames in the order of showing."""
    held = 0
    each_shown = context.name in _EACH_SHOWN or context.codec.intra_only
    for coded, packet in packets:
        yield Fed(coded)
        packet.opaque = coded  # PyAV tells such objects apart by where they lie: it must be one of its own
        try:
            frames = context.decode(packet)
        except av.error.FFmpegError as error:
            yield Lost(coded, reason(error))
            continue
        held += 1 - len(frames)
        if not frames and held > context.reorder_depth:
            held -= 1
            yield Lost(coded, "nothing can be made of it") if each_shown else Silent(coded)
        for frame in frames:
            yield _decoded(frame)
    try:
        frames = context.decode(None)
    except av.error.FFmpegError:
        return  # each packet that was refused has been said
    for frame in frames:
        yield _decoded(frame)


def _decoded(frame: av.VideoFrame) -> Decoded:
    coded = frame.opaque
    assert isinstance(coded, Coded)
    return Decoded(coded, frame)
