"""Video files in: decoded one frame at a time, upright, as RGB."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np

from vinr_engine.errors import SourceError, UsageError, VinrError, reason

from . import moments, planes, side_data, video_streams, video_tags
from .colour import Array
from .damage import Concealer, Unreadable
from .decoding import decode
from .deinterlace import Deinterlacer
from .demuxing import Demuxer, is_bare, is_unordered
from .moments import Rising, Shown
from .opening import open_container, other_file
from .reading import STOP, Reading
from .remarks import Remarks
from .source import Faults, OpenSource, Picture, SourceInfo

_LOOKED_AHEAD = 3
"""Frames whose tags are looked at."""
_ONE_HEAD = {"flv", "asf", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"}
"""Formats whose first bytes come but once in a file."""
_NEAR = 2
"""Seconds from the beginning that are read rather than jumped over."""
_NO_BASE = 5
"""The profile of Dolby Vision whose pictures are no YCbCr."""


class VideoSource(OpenSource):
    """The film of a file; frames with start <= time < end, where time 0 is its first frame.

    Damage and wrong times are put right, counted and said with the pictures. ``index``: of the stream in the file;
    ``origin``: the first frame's time, in seconds of the file's time line.
    """

    def __init__(self, path: Path, reading: Reading | None = None) -> None:
        self.path = path
        self.reading = reading or Reading()
        self._shown: Iterator[Shown] = iter(())
        self.container, self._file = open_container(path)
        try:
            self.index = video_streams.choose(self.container, path)
            self._settle()
        except BaseException:
            self.close()
            raise

    def _reopen(self) -> None:
        self.close()
        self.container, self._file = open_container(self.path)

    @property
    def stream(self) -> av.VideoStream:
        """The stream that is read."""
        stream = self.container.streams[self.index]
        assert isinstance(stream, av.VideoStream)
        return stream

    def _settle(self) -> None:
        """Read as far as it takes to know size, colour and orientation, before any work starts."""
        self._bare = is_bare(self.container)
        if self.reading.rate is not None and not self._bare:
            raise UsageError("--input-fps is for images and bare streams; this video has its own timestamps")
        rate = self.reading.rate or video_streams.rate(self.stream, self._bare)
        if rate is None:
            rate = video_streams.measured_rate(self.container, self.stream)
        self._step = 1 / rate if rate else Fraction(1, 25)
        self._reopen()  # packets were read
        stream = self.stream
        self._tick = stream.time_base or Fraction(1, 1000)
        header = video_tags.header(stream)
        self._place = video_tags.chroma_place(stream, self.path, header)
        self._begin()
        ahead = list(islice(self._shown, _LOOKED_AHEAD))
        self._shown = chain(ahead, self._shown)
        if not ahead:
            why = self._concealer.first_problem or self._demuxer.problem
            raise SourceError(f"{self.path} holds no video frames" + (f" that can be read: {why}" if why else ""))
        frames = [shown.frame for shown in ahead if shown.frame is not None]
        first = frames[0]
        self.origin = ahead[0].time
        self._size = first.width, first.height
        context = stream.codec_context
        self.colour = video_tags.colours(first, context, self._place)
        for frame in frames[1:]:  # where the first one does not say
            self.colour = video_tags.colours(
                first, context, self._place, video_tags.colours(frame, context, self._place)
            )
        turns, flip, note = video_tags.orientation(first)
        self._turn = turns, flip
        aspect = Fraction(stream.sample_aspect_ratio) if stream.sample_aspect_ratio else None
        sideways = turns % 2 == 1
        if aspect and sideways:
            aspect = 1 / aspect
        notes = [note] if note else []
        if first.interlaced_frame and not self.reading.deinterlace:
            notes.append("the video is interlaced; its fields are taken as whole frames")
        marked = {name.lower(): value for name, value in stream.metadata.items()}.get("alpha_mode") == "1"  # WebM's
        if marked or any(c.is_alpha for c in first.format.components):
            notes.append("the video's alpha channel is ignored")
        unkept = [name for shown in ahead for kind, name in shown.remarks if kind == "unkept"]
        dolby = video_tags.dolby_vision(header)
        if dolby is not None:
            unkept.append(side_data.DOLBY_VISION)
        if dolby == _NO_BASE:
            notes.append(
                f"the video is Dolby Vision of profile {_NO_BASE}, which has no colours without its metadata: those of "
                "the output are wrong"
            )
        if self._bare and self.reading.rate is None:
            notes.append(
                f"{self.path.name} has no timestamps: it is taken to run at {float(1 / self._step):g} fps "
                "(--input-fps says otherwise)"
            )
        self.info = SourceInfo(
            width=first.height if sideways else first.width,
            height=first.width if sideways else first.height,
            aspect=aspect if aspect and aspect != 1 else None,
            colour=self.colour,
            bits=max(c.bits for c in first.format.components),
            chroma=None if video_tags.is_rgb(first) else planes.subsampling(first.format),
            rate=rate,
            tick=self._step / 2 if self._bare else self._tick,
            count=self._estimate(),
            notes=tuple(notes),
            light=next((found for found in map(video_tags.light, frames) if found), None),
            profile=video_tags.profile(first),
            unkept=tuple(dict.fromkeys(unkept)),
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
        start, end = self.reading.start, self.reading.end
        begin = (start or Fraction(0)) / self._step
        until = min(Fraction(total), end / self._step) if end is not None else Fraction(total)
        return max(1, round(until - begin))

    def _begin(self, skip: int = 0) -> None:
        """Begin to decode where the file stands, or ``skip`` coded pictures later."""
        self._demuxer = Demuxer(self.container, self.stream, skip)
        events = decode(self._demuxer)
        if self._bare:
            timed = moments.one_by_one(events, self._step, self.reading.rate is not None)
        elif is_unordered(self.container, self.stream):
            timed = moments.in_order(events)
        else:
            timed = moments.as_stored(events)
        self._rising = Rising(self._step)
        self._concealer = Concealer(self.reading.on_error)
        shown: Iterable[Shown] = self._concealer.of(side_data.remarked(self._rising.of(timed)))
        if self.reading.deinterlace:
            shown = Deinterlacer().of(shown)
        self._shown = self._checked(shown)

    def _checked(self, shown: Iterable[Shown]) -> Iterator[Shown]:
        """The same; errors of one line."""
        last: Fraction | None = None
        try:
            for one in shown:
                last = one.time
                yield one
        except Unreadable as error:
            if error.decoded:
                at = f" at {float(error.time - self._zero(error.time)):.3f} s"
            else:
                at = "" if last is None else f" after {float(last - self._zero(last)):.3f} s"
            raise SourceError(f"{self.path}: unreadable frame{at}: {error}") from None
        except (OSError, av.error.FFmpegError) as error:
            raise SourceError(f"cannot read {self.path}: {reason(error)}") from None

    def _zero(self, otherwise: Fraction) -> Fraction:
        return getattr(self, "origin", otherwise)

    def _enter(self, start: Fraction) -> None:
        """Begin to decode at the key frame before ``start`` and its neighbours, without what comes before."""
        target = self.origin + start - 2 * self._step
        if self._bare or self._demuxer.loose:
            # Such files can only be entered by guessing, which a time line that starts again leads astray.
            number = self._key_before(target)
            self._reopen()
            self._begin(number)
        else:
            try:
                self.container.seek(int(target / self._tick), stream=self.stream, backward=True)
            except (av.error.FFmpegError, OverflowError):
                self._reopen()  # without an index, or damaged so that its times are no 64 bits
            self._begin()
        first = next(self._shown, None)
        if first is None or first.time > self.origin + start:
            self._restart()
        else:
            self._shown = chain([first], self._shown)

    def _restart(self) -> None:
        """Begin to decode at the beginning."""
        self._reopen()
        self._begin()

    def _key_before(self, target: Fraction) -> int:
        """The number of the last key frame that is shown at or before ``target``, in the order of coded pictures."""
        self._reopen()
        number = 0
        for coded, _ in Demuxer(self.container, self.stream):
            at, shown = coded.dts, coded.pts
            if self._bare:
                at = shown = coded.before
            if coded.key and shown is not None and shown <= target:
                number = coded.number
            if at is not None and at > target:
                break
        return number

    def pictures(self, since: Fraction | None = None) -> Iterator[Picture]:
        """See Source.pictures."""
        start = self.reading.start if since is None else since
        entered = bool(start and start > _NEAR)
        if start and entered:
            self._enter(start)
        last = yield from self._between(start)
        if last is not None and entered:  # a file that was entered at the wrong place
            self._restart()
            last = yield from self._between(start)
        if last is not None:
            raise SourceError(f"no frame of {self.path} lies in the chosen range; its last is at {float(last):.3f} s")

    def _between(self, start: Fraction | None) -> Generator[Picture, None, Fraction | None]:
        """The pictures from ``start`` on; the time of the last frame that was read if none lies there."""
        remarks = Remarks()
        waiting: Shown | None = None
        before: av.VideoFrame | None = None
        last = Fraction(0)
        ended = True
        for shown in self._shown:
            at = shown.time - self.origin
            if self.reading.end is not None and at >= self.reading.end:
                ended = False
                break
            last = at
            before = shown.frame = before if shown.frame is None else shown.frame
            if start is not None and at < start:
                continue
            if waiting is not None:
                yield self._picture(waiting, remarks)
            waiting = shown
        trouble = self._trouble() if ended else []
        if waiting is not None:
            if ended:
                waiting.faults += Faults(dropped=self._rising.dropped + self._demuxer.late) + self._concealer.left
                waiting.remarks += [("late", str(self._demuxer.late))] if self._demuxer.late else []
                left = self._concealer.left_remarks
                waiting.remarks += [("last", detail) for kind, detail in left if kind == "dropped"][-1:]
            waiting.remarks += [] if self.reading.on_error == STOP else trouble
            yield self._picture(waiting, remarks)
        if trouble and self.reading.on_error == STOP:
            raise SourceError(f"{self.path}: {Remarks().notes(trouble, last)[0]}")
        return last if waiting is None else None

    def _trouble(self) -> list[tuple[str, str]]:
        """What is wrong with the file's end, once it is reached."""
        if self._demuxer.problem is not None:
            return [("rest", self._demuxer.problem)]
        other = other_file(self.path, self._demuxer.reached) if self.container.format.name in _ONE_HEAD else None
        if other is not None:
            return [("more", str(self.path.stat().st_size - other))]
        short = self._demuxer.cut_short(self._step)
        if short is None:
            return []
        return [("end", f"where it says that it lasts {float(short - self.origin):.3f} s")]

    def _picture(self, shown: Shown, remarks: Remarks) -> Picture:
        at = shown.time - self.origin
        rgb = self._rgb(shown, at)
        unkept = tuple(name for kind, name in shown.remarks if kind == "unkept")
        told = {("unkept", name) for name in self.info.unkept}  # before any work started
        notes = remarks.notes([remark for remark in shown.remarks if remark not in told], at)
        return Picture(at, shown.length, rgb, shown.faults, notes, unkept)

    def _rgb(self, shown: Shown, at: Fraction) -> Array:
        frame = shown.frame
        assert frame is not None
        if (frame.width, frame.height) != self._size:
            detail = f"from {self._size[0]}x{self._size[1]} to {frame.width}x{frame.height}"
            if self.reading.on_error == STOP:
                raise SourceError(f"{self.path} changes size at {float(at):.3f} s, {detail}")
            shown.faults += Faults(repaired=1)
            shown.remarks.append(("size", detail))
            frame = frame.reformat(*self._size, interpolation="BICUBIC")
        meaning = video_tags.colours(frame, self.stream.codec_context, self._place, self.colour)
        if (meaning.primaries, meaning.transfer) != (self.colour.primaries, self.colour.transfer):
            shown.remarks.append(("colour", ""))
        try:
            rgb = planes.to_rgb(frame, meaning)
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
