"""Chunks of coded pictures into one output, without coding anything again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import IO

import av

from vinr_engine import files
from vinr_engine.errors import SinkError, reason

from . import matroska
from .coders import configure, options
from .encoders import Encoding, add_stream
from .packets import Packet, PacketFile
from .streams import Streams
from .target import Target
from .tracks import REFUSED

_STEP = 50_000
"""Ticks without a picture that a container without timestamps surely takes: FFmpeg's AVI refuses more than 60000."""
_FASTEST = 1000
"""Pictures a second of such a container; for more FFmpeg takes another rate by itself."""


class Muxer:
    """A video file whose header is written, for packets of one encoder and the source's other streams. SinkError.

    Streams that it does not take together with the picture are dropped, all of them.
    """

    def __init__(
        self, to: str | IO[bytes], dst: str, encoding: Encoding, target: Target, streams: Streams | None
    ) -> None:
        self.dst, self.streams, self.tick = dst, streams, target.tick
        self._counts, self._last = encoding.container.constant, 0
        try:
            self._open(to, encoding, target)
        except REFUSED as error:
            if streams is None:
                raise self._failed(error) from None
            streams.drop(f"the output does not take it: {reason(error)}")
            try:
                self._open(to, encoding, target)
            except REFUSED as other:
                raise self._failed(other) from None

    def _open(self, to: str | IO[bytes], encoding: Encoding, target: Target) -> None:
        container = encoding.container
        try:
            self.out = av.open(to, "w", format=container.muxer, container_options=dict(container.options))
        except (OSError, av.error.FFmpegError) as error:
            raise self._failed(error) from None
        try:
            stream, coder = add_stream(
                self.out, encoding.codec, container, target.nominal_rate, options(encoding, target),
                lambda context: configure(context, encoding, target, self.dst),
            )  # fmt: skip
            self.stream = stream
            stream.time_base = target.tick
            self.extradata = bytes(coder.extradata or b"").hex()
            if self.streams is not None:
                self.streams.attach(self.out, stream)
            self.out.start_encoding()
            if self._counts and target.rate > _FASTEST:
                raise SinkError(
                    f"cannot write {self.dst}: {Path(self.dst).suffix} shows at most {_FASTEST} pictures a second, and "
                    f"{float(target.rate):g} are asked for: --fps {_FASTEST}"
                )
        except BaseException:
            self.close()
            raise

    def _failed(self, error: BaseException) -> SinkError:
        return SinkError(f"cannot write {self.dst}: {reason(error)}")

    def write(self, packet: Packet) -> None:
        """Add a packet, after those of other streams that belong before it."""
        stops = range(self._last + _STEP, packet.pts, _STEP) if self._counts else ()
        packets = [replace(packet, pts=at, dts=at, duration=1, key=False, data=b"") for at in stops]
        self._last = packet.pts
        try:
            for each in (*packets, packet):
                if self.streams is not None:
                    self.streams.pump(self.out, each.pts * self.tick)
                self._mux(each)
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise self._failed(error) from None

    def _mux(self, packet: Packet) -> None:
        coded = av.Packet(packet.data)
        coded.pts, coded.dts, coded.duration = packet.pts, packet.dts, packet.duration
        coded.time_base, coded.stream, coded.is_keyframe = self.tick, self.stream, packet.key
        self.out.mux(coded)

    def finish(self) -> None:
        """Add what is left of other streams, and complete the file."""
        try:
            if self.streams is not None:
                self.streams.pump(self.out, None)
            self.out.close()
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Release the file, complete or not."""
        try:
            self.out.close()
        except (OSError, ValueError, av.error.FFmpegError):
            # only a draft is lost: the error that led here is being reported
            return


def delay(order: Sequence[int]) -> int:
    """How many pictures ahead of its own turn a decoder must be, for packets with these pts in the order of coding."""
    places = {pts: n for n, pts in enumerate(sorted(order))}
    return max((n - places[pts] for n, pts in enumerate(order)), default=0)


def decoding_times(chunks: Sequence[PacketFile], ahead: int) -> Iterator[Packet]:
    """The packets of all chunks, with decoding times that rise through them all.

    Each encoder counts its own from a little before its first picture, into the chunk before. The rule here is theirs:
    a packet is decoded at the time of the picture that is shown ``ahead`` pictures earlier.
    """
    every = (pts for chunk in chunks for pts in sorted(chunk.order()))
    begin = list(islice(every, ahead + 1))  # the first chunk may hold fewer
    shown: deque[int] = deque(pts - (begin[-1] - begin[0]) for pts in begin[:-1])
    for chunk in chunks:
        shown.extend(sorted(chunk.order()))
        for packet in chunk:
            yield replace(packet, dts=shown.popleft())


def join_video(
    chunks: Sequence[PacketFile], path: Path, dst: str, encoding: Encoding, target: Target, streams: Streams | None
) -> list[str]:
    """One file of chunks, with the source's other streams; remarks of one line on it. SinkError."""
    ahead = max(delay(list(chunk.order())) for chunk in chunks)
    muxer = Muxer(str(path), dst, encoding, target, streams)
    try:
        for chunk in chunks:
            if chunk.facts != {"codec": encoding.codec, "extradata": muxer.extradata}:
                raise SinkError(
                    f"cannot write {dst}: {chunk.path} was made by another encoder: --restart makes it anew"
                )
        for packet in decoding_times(chunks, ahead):
            muxer.write(packet)
        muxer.finish()
    finally:
        muxer.close()
    late = [] if streams is None else streams.late_notes()
    aspect, shaped = target.info.aspect, True
    if aspect is not None and encoding.container.muxer in ("matroska", "webm"):
        shaped = matroska.set_shape(path, *target.size, aspect)
    elif aspect is not None and encoding.container.muxer == "avi":
        shaped = encoding.codec in ("mpeg4", "libx264")  # say it themselves
    if not shaped:
        late.append(f"left out: the shape of pixels ({aspect}): the picture will look too wide or too narrow")
    every = (pts for chunk in chunks for pts in sorted(chunk.order()))
    if encoding.container.constant and any(b - a != 1 for a, b in pairwise(every)):
        late.append(f"{Path(dst).suffix} has one rate: pictures are at the nearest multiple of {target.tick} s")
    return late


def place_images(chunk: PacketFile, folder: Path, dst: str, name: Callable[[int], str]) -> None:
    """A chunk's images as files of a folder, on the disk when this returns. SinkError."""
    with files.reported(dst):
        paths = []
        for packet in chunk:
            paths.append(folder / name(packet.pts))
            paths[-1].write_bytes(packet.data)
        for path in (*paths, folder):  # after all are written: the system has begun to store them meanwhile
            files.sync(path)
