"""Video files in: decoded one frame at a time, upright, as RGB."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import IO, Any

import av
import numpy as np

from vinr_engine.errors import SourceError, VinrError, reason

from . import colour, planes
from .colour import Array
from .source import OpenSource, Picture, SourceInfo

_MIDWAY = {"mjpeg", "mpeg1video", "jpeg2000", "png"}
"""Codecs whose subsampled chroma lies midway between luma samples."""


def open_container(path: Path) -> tuple[av.container.InputContainer, IO[bytes]]:
    """Open a video file for reading; a file that points to others (playlists, external tracks) is refused.

    The caller closes first the container, then the file.
    """

    def refuse(url: str, flags: int, options: dict[str, str]) -> Any:
        raise SourceError(f"{path} refers to another file ({url}), which is not followed")

    try:
        file = open(path, "rb")  # noqa: SIM115, closed with the container
    except FileNotFoundError:
        raise SourceError(f"no such file: {path}") from None
    except OSError as error:
        raise SourceError(f"cannot read {path}: {reason(error)}") from None
    try:
        if os.fstat(file.fileno()).st_size == 0:
            raise SourceError(f"{path} is empty")
        return av.open(file, "r", io_open=refuse, metadata_errors="replace"), file
    except av.error.InvalidDataError:
        file.close()
        raise SourceError(f"{path} is not a video that can be read, or is damaged") from None
    except (av.error.FFmpegError, OSError) as error:
        file.close()
        raise SourceError(f"cannot read {path}: {reason(error)}") from None
    except BaseException:
        file.close()
        raise


def _orientation(frame: av.VideoFrame) -> tuple[int, bool, str | None]:
    """Quarter turns anticlockwise, then a left-right flip, that set a frame upright; a note when they cannot."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0, False, None
    a, b, _, c, d = struct.unpack("<5i", bytes(memoryview(data))[:20])
    signs = tuple((v > 0) - (v < 0) for v in (a, b, c, d))
    # FFmpeg's matrix maps (x, y), y down, to (a x + c y, b x + d y).
    table = {
        (1, 0, 0, 1): (0, False),
        (0, 1, -1, 0): (3, False),
        (-1, 0, 0, -1): (2, False),
        (0, -1, 1, 0): (1, False),
        (-1, 0, 0, 1): (0, True),
        (1, 0, 0, -1): (2, True),
        (0, 1, 1, 0): (3, True),
        (0, -1, -1, 0): (1, True),
    }
    if signs in table:
        turns, flip = table[signs]
        return turns, flip, None
    return 0, False, "the video's rotation is not a multiple of 90 degrees and is ignored"


class VideoSource(OpenSource):
    """The first video stream of a file; frames with start <= time < end, where time 0 is the stream's first frame."""

    def __init__(self, path: Path, start: Fraction | None = None, end: Fraction | None = None) -> None:
        self.path = path
        self.start, self.end = start, end
        self.container, self._file = open_container(path)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        streams = [s for s in self.container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise SourceError(f"{self.path} holds no video")
        self.stream = stream = streams[0]
        if stream.codec_context is None:
            raise SourceError(f"{self.path} is coded in a way that this FFmpeg cannot decode")
        stream.thread_type = "AUTO"
        self._tick = stream.time_base or Fraction(1, 1000)
        rate = stream.average_rate or stream.guessed_rate
        self._step = 1 / Fraction(rate) if rate else Fraction(1, 25)
        self._decoded = self._decode()
        # the first frame settles size, colour and orientation, before any work starts
        self._first = next(self._decoded, None)
        if self._first is None:
            raise SourceError(f"{self.path} holds no video frames")
        self.origin, first = self._first
        self._size, self._format = (first.width, first.height), first.format.name
        turns, flip, note = _orientation(first)
        self._turn = turns, flip
        context = stream.codec_context

        def tag(name: str) -> int:
            value = int(getattr(first, name))
            return value if value != colour.UNSPECIFIED else int(getattr(context, name))

        form = planes.layout(self._format)
        components = first.format.components
        is_rgb = first.format.is_rgb or self._format == "pal8"
        range_ = int(first.color_range) or int(context.color_range)
        # grey without a tag is full range to FFmpeg and players, unlike YCbCr
        jpeg = self._format.startswith("yuvj") or (range_ == 0 and len(components) < 3 and not is_rgb)
        self.colour = colour.resolve(
            colour.RGB if is_rgb else tag("colorspace"),
            range_, tag("color_primaries"), tag("color_trc"), first.width, first.height, jpeg,
        )  # fmt: skip
        if self.colour.matrix == colour.RGB and not is_rgb:
            # YCbCr samples under an RGB tag: the tag is wrong, decide by size
            self.colour = colour.resolve(
                colour.UNSPECIFIED, range_, tag("color_primaries"), tag("color_trc"), first.width, first.height, jpeg
            )
        aspect = stream.sample_aspect_ratio
        sideways = turns % 2 == 1
        if aspect:
            aspect = Fraction(aspect)
            aspect = 1 / aspect if sideways else aspect
        notes = [note] if note else []
        if first.interlaced_frame:
            notes.append("the video is interlaced; its fields are taken as whole frames, deinterlace it first")
        if any(c.is_alpha for c in components):
            notes.append("the video's alpha channel is ignored")
        self.info = SourceInfo(
            width=first.height if sideways else first.width,
            height=first.width if sideways else first.height,
            aspect=aspect if aspect and aspect != 1 else None,
            colour=self.colour,
            bits=max(c.bits for c in components),
            chroma=None if is_rgb else form.ratio if form else (2, 2),
            rate=Fraction(rate) if rate else None,
            tick=self._tick,
            count=self._estimate(),
            notes=tuple(notes),
        )

    def _estimate(self) -> int | None:
        """About how many frames lie between start and end."""
        total = self.stream.frames or None
        if not total:
            length = self.stream.duration
            if length:
                total = round(length * self._tick / self._step)
            elif self.container.duration:
                total = round(Fraction(self.container.duration, 1_000_000) / self._step)
        if not total:
            return None
        begin = (self.start or Fraction(0)) / self._step
        until = min(Fraction(total), self.end / self._step) if self.end is not None else Fraction(total)
        return max(1, round(until - begin))

    def _decode(self) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """Decoded frames with their timestamps, as they come; a damaged packet is an error, with its time."""
        last: Fraction | None = None
        clock = _Clock()
        try:
            for packet in self.container.demux(self.stream):
                for frame in packet.decode():
                    last = self._time(clock.stamp(frame), frame, last)
                    yield last, frame
        except av.error.FFmpegError as error:
            at = f" after {float(last):.3f} s" if last is not None else ""
            raise SourceError(f"{self.path}: unreadable frame{at}: {reason(error)}") from None

    def _time(self, stamp: int | None, frame: av.VideoFrame, previous: Fraction | None) -> Fraction:
        """A timestamp in seconds; one step after the previous where there is none."""
        if stamp is None:
            return Fraction(0) if previous is None else previous + self._step
        return stamp * Fraction(frame.time_base or self._tick)

    def _seek(self, start: Fraction) -> None:
        """Jump to the key frame before ``start``; decoding then begins there."""
        target = int((self.origin + start) / self._tick)
        try:
            self.container.seek(target, stream=self.stream, backward=True)
        except av.error.FFmpegError:
            # a file without an index is read from its beginning
            self.container.seek(0)
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None or self._first[0] - self.origin > start:
            # too late: MPEG transport streams are entered between key frames, and decode from the next one on only
            self.close()
            self.container, self._file = open_container(self.path)
            self._prepare()

    def pictures(self, since: Fraction | None = None) -> Iterator[Picture]:
        """See Source.pictures. Frames that repeat an earlier timestamp are left out."""
        start = self.start if since is None else since
        if start and start > 2:
            self._seek(start)
        time: Fraction | None = None
        first, self._first = self._first, None
        number = 0
        for now, frame in chain([] if first is None else [first], self._decoded):
            if time is not None and now <= time:
                continue
            time = now
            at = now - self.origin
            if self.end is not None and at >= self.end:
                break
            if start is not None and at < start:
                continue
            number += 1
            yield Picture(at, self._duration(frame), self._rgb(frame, at))
        if number == 0:
            last = float(time - self.origin) if time is not None else 0.0
            raise SourceError(f"no frame of {self.path} lies in the chosen range; its last is at {last:.3f} s")

    def _duration(self, frame: av.VideoFrame) -> Fraction:
        """How long a frame is shown if nothing follows it."""
        if frame.duration and frame.duration > 0:
            return int(frame.duration) * Fraction(frame.time_base or self._tick)
        return self._step

    def _rgb(self, frame: av.VideoFrame, at: Fraction) -> Array:
        if (frame.width, frame.height) != self._size:
            raise SourceError(
                f"{self.path} changes size at {float(at):.3f} s, from {self._size[0]}x{self._size[1]} "
                f"to {frame.width}x{frame.height}"
            )
        if frame.is_corrupt:  # the decoder made it up from what it could read
            raise SourceError(f"{self.path}: unreadable frame at {float(at):.3f} s: it is damaged")
        try:
            rgb = planes.to_rgb(frame, self.colour, left=self.stream.codec_context.name not in _MIDWAY)
        except (av.error.FFmpegError, VinrError) as error:
            raise SourceError(f"{self.path}: unreadable frame at {float(at):.3f} s: {reason(error)}") from None
        turns, flip = self._turn
        if turns:
            rgb = np.rot90(rgb, turns, (1, 2))
        if flip:
            rgb = rgb[:, :, ::-1]
        return np.ascontiguousarray(rgb)

    def close(self) -> None:
        """Release the file."""
        self.container.close()
        self._file.close()


class _Clock:
    """Which of a frame's two timestamps to believe, by FFmpeg's rule (guess_correct_pts).

    AVI stores decoding times only; FFmpeg's guess of presentation times then goes backwards where H.264 reorders.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._faults = {"pts": 0, "dts": 0}

    def stamp(self, frame: av.VideoFrame) -> int | None:
        """The presentation time, or the decoding time where that one went backwards less often; None without both."""
        stamps = {"pts": frame.pts, "dts": frame.dts}
        for name, value in stamps.items():
            if value is not None:
                self._faults[name] += value <= self._last.get(name, value - 1)
                self._last[name] = value
        if stamps["dts"] is None or (stamps["pts"] is not None and self._faults["pts"] <= self._faults["dts"]):
            return stamps["pts"]
        return stamps["dts"]
