"""Animated images in: GIF, PNG, WebP and AVIF."""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

from vinr_engine.errors import SourceError, UsageError, reason
from vinr_engine.video.schedule import common_unit

from . import png
from .animation_files import Timing, timing, whole_webp
from .colour import Array
from .image_pictures import Found, pictures_of
from .image_reader import PILLOW_RAISES, Decoded, decoded_frame, decoded_image
from .reading import HOLD, STOP, Reading
from .source import OpenSource, Picture, SourceInfo


class AnimationSource(OpenSource):
    """The frames of an animated image in the part that is to be read, each with its duration, the last one too.

    Those that cannot be read, or are missing as the file is cut short, are dealt with as in ImageSource.
    """

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.on_error = path, reading.on_error
        start, end = reading.start, reading.end
        if reading.rate is not None:
            raise UsageError(f"--input-fps is for inputs without times of their own, and {path} has them")
        try:
            self._data = path.read_bytes()
        except OSError as error:
            raise SourceError(f"cannot read {path}: {reason(error)}") from None
        self._timing = timing(self._data) or _of_avif(path, self._data)
        durations = self._timing.durations
        if not durations:
            raise SourceError(f"{path} holds no frames")
        self._times = list(accumulate(durations[:-1], initial=Fraction(0)))
        first_used = 0 if start is None else bisect_left(self._times, start)
        self._chosen = range(first_used, len(self._times) if end is None else bisect_left(self._times, end))
        if not self._chosen:
            raise SourceError(
                f"no frame of {path} lies in the chosen range; its last is at {float(self._times[-1]):.3f} s"
            )
        self._first, first = self._readable()
        used = [durations[n] for n in self._chosen]
        self.info = SourceInfo(
            width=first.rgb.shape[2],
            height=first.rgb.shape[1],
            aspect=None,
            colour=first.colour,
            bits=first.bits,
            chroma=None,
            rate=len(used) / sum(used, Fraction(0)),
            tick=common_unit(used) or Fraction(1, 1_000_000),
            count=self._chosen.stop - self._first,
            notes=(*self._notes(), *(f"{path}: {text}" for text in first.remarks.values())),
            profile=first.profile,
            plays=self._timing.plays,
        )
        self._remarked = frozenset(first.remarks)

    def _notes(self) -> list[str]:
        notes = []
        there, announced = len(self._timing.durations), self._timing.announced
        if not self._timing.whole or (announced or 0) > there:
            text = f"{self.path} is cut short: {there}{f' of {announced}' if announced else ''} frames are there"
            if self.on_error == STOP:
                raise SourceError(text)
            notes.append(text)
        if self._timing.replaced:
            notes.append(
                f"{self._timing.replaced} frames of {self.path} say no time that is meant: "
                "they are shown for 0.1 s, as browsers do"
            )
        return notes

    def _readable(self) -> tuple[int, Decoded]:
        """The number of the first frame that is used, and it."""
        error: SourceError | None = None
        for n, found in enumerate(self._frames()):
            if n not in self._chosen:
                continue
            if isinstance(found, Decoded):
                return n, found
            error = error or found
            if self.on_error == STOP:
                break
        raise error or SourceError(f"{self.path} holds no readable frame")

    def pictures(self, since: Fraction | None = None) -> Iterator[Picture]:
        """See Source.pictures. Frames build on those before, so that all are decoded."""
        return pictures_of(self._found(since), self._remarked, "frame")

    def _found(self, since: Fraction | None) -> Iterator[Found]:
        before: Array | None = None
        for n, found in enumerate(self._frames()):
            time, duration = self._times[n], self._timing.durations[n]
            if isinstance(found, Decoded):
                before = found.rgb
            elif self.on_error == STOP:
                raise found
            if n not in self._chosen or (since is not None and time < since):
                continue
            if isinstance(found, Decoded):
                yield Found(time, duration, before, f"{self.path} at {float(time):.3f} s", found.remarks)
            else:
                yield Found(time, duration, before if self.on_error == HOLD else None, error=found)

    def _frames(self) -> Iterator[Decoded | SourceError]:
        """All frames, or what is wrong with each: as many as there are durations."""
        frames = self._by_ffmpeg() if self._data.startswith(png.MAGIC) else self._by_pillow()
        for n in range(len(self._times)):
            try:
                yield next(frames)
            except (StopIteration, _Unreadable) as error:
                text = str(error) or "it is missing"
                yield SourceError(f"unreadable frame of {self.path} at {float(self._times[n]):.3f} s: {text}")

    def _by_pillow(self) -> Iterator[Decoded]:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(whole_webp(self._data))) as image:
                for n in range(len(self._times)):
                    image.seek(n)
                    image.load()
                    yield decoded_image(self.path, image, self._data)
        except (*PILLOW_RAISES, Image.DecompressionBombError) as error:
            raise _Unreadable(reason(error)) from None

    def _by_ffmpeg(self) -> Iterator[Decoded]:
        """Of PNG, of which Pillow reads 8 bits a channel alone."""
        import av

        profile = self._profile()
        try:
            with av.open(io.BytesIO(self._data), format="apng") as container:
                for frame in container.decode(video=0):
                    yield decoded_frame(frame, self._data, profile)
        except (av.error.FFmpegError, ValueError) as error:
            raise _Unreadable(reason(error)) from None

    def _profile(self) -> bytes | None:
        from PIL import Image

        with suppress(*PILLOW_RAISES, Image.DecompressionBombError), Image.open(io.BytesIO(self._data)) as image:
            return image.info.get("icc_profile") or None
        return None

    def close(self) -> None:
        """Nothing is kept open."""


class _Unreadable(Exception):
    """A frame, and all that follow."""


def _of_avif(path: Path, data: bytes) -> Timing:
    """The times of a sequence in AVIF; SourceError."""
    from PIL import Image

    durations = []
    try:
        with Image.open(io.BytesIO(data)) as image:
            for n in range(getattr(image, "n_frames", 1)):
                image.seek(n)
                image.load()
                durations.append(Fraction(image.info.get("duration") or 100) / 1000)
    except (*PILLOW_RAISES, Image.DecompressionBombError) as error:
        raise SourceError(f"unreadable image {path}: {reason(error)}") from None
    return Timing(tuple(durations), 0)
