"""Images in: folders and patterns of them, and one alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from vinr_engine.errors import SourceError

from . import light
from .colour import Array
from .image_pictures import Found, pictures_of
from .image_reader import Decoded, read
from .reading import HOLD, IMAGES_FPS, STOP, Reading
from .source import OpenSource, Picture, SourceInfo


class ImageSource(OpenSource):
    """Images shown at a rate from time 0; those of the part that is to be read.

    One that cannot be read ends the job, is left out, or has the one before in its place, as ``reading`` says; those
    before the first readable one are left out. ``scene``: see SourceInfo. ``still``: one image, which is no clip.
    """

    def __init__(
        self,
        paths: list[Path],
        reading: Reading,
        scene: bool = False,
        still: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.rate, self.on_error = reading.rate or Fraction(IMAGES_FPS), reading.on_error
        rate, start, end = self.rate, reading.start, reading.end
        chosen = [
            (n / rate, path)
            for n, path in enumerate(paths)
            if (start is None or n / rate >= start) and (end is None or n / rate < end)
        ]
        if not chosen:
            raise SourceError(
                f"no image lies in the chosen range; the last is at {float((len(paths) - 1) / rate):.3f} s"
            )
        self.chosen = chosen
        self._first, first = self._readable()
        self.info = SourceInfo(
            width=first.rgb.shape[2],
            height=first.rgb.shape[1],
            aspect=None,
            colour=first.colour,
            bits=first.bits,
            chroma=None,
            rate=rate,
            tick=1 / rate,
            count=len(chosen) - self._first,
            profile=first.profile,
            exif=first.exif if still else None,
            scene=scene and first.linear,
            still=still,
        )
        remarks = self._remarks(first)
        self._remarked = frozenset(remarks)
        name = chosen[self._first][1]
        self.info = replace(self.info, notes=(*notes, *(f"{name}: {text}" for text in remarks.values())))

    def _readable(self) -> tuple[int, Decoded]:
        """The place of the first readable image among those chosen, and it."""
        for n, (_, path) in enumerate(self.chosen):
            try:
                return n, read(path)
            except SourceError:
                if self.on_error == STOP or n == len(self.chosen) - 1:
                    raise
        raise AssertionError("there is a last one")

    def pictures(self, since: Fraction | None = None) -> Iterator[Picture]:
        """See Source.pictures."""
        return pictures_of(self._found(since), self._remarked, "image")

    def _found(self, since: Fraction | None) -> Iterator[Found]:
        before: Array | None = None
        for n, (time, path) in enumerate(self.chosen):
            if since is not None and time < since:
                continue
            try:
                decoded = read(path)
                before = self._fitting(path, decoded)
            except SourceError as error:
                if self.on_error == STOP or isinstance(error, _Misfit):
                    raise
                held = self.on_error == HOLD and n > self._first
                if held and before is None:
                    before = self._before(n)
                yield Found(time, 1 / self.rate, before if held else None, error=error)
            else:
                yield Found(time, 1 / self.rate, before, str(path), self._remarks(decoded))

    def _before(self, n: int) -> Array:
        """The last readable picture before the ``n``-th."""
        for _, path in reversed(self.chosen[:n]):
            try:
                return self._fitting(path, read(path))
            except SourceError:
                continue
        raise AssertionError("one of them could be read")

    def _fitting(self, path: Path, decoded: Decoded) -> Array:
        """The values of an image that goes with the first one."""
        width, height = self.info.width, self.info.height
        if decoded.rgb.shape != (3, height, width):
            raise _Misfit(
                f"{path} is {decoded.rgb.shape[2]}x{decoded.rgb.shape[1]}, the images before it are {width}x{height}: "
                "all must have one size"
            )
        if self.info.scene:
            linear = decoded.rgb if decoded.linear else light.linear_from(decoded.rgb, decoded.colour.transfer)
            return light.coded(linear)
        return light.srgb(decoded.rgb) if decoded.linear else decoded.rgb

    def _remarks(self, decoded: Decoded) -> dict[str, str]:
        """What is not kept of an image, by the name of each kind."""
        found = dict(decoded.remarks)
        if decoded.bits > self.info.bits:
            found["bits"] = f"it has {decoded.bits} bits a channel, the first image {self.info.bits}, as the output"
        if decoded.profile != self.info.profile:
            found["differing"] = "its colour profile is not the first image's, which the output has"
        elif (decoded.colour, decoded.linear) != (self.info.colour, False) and not decoded.linear:
            found["differing"] = "its colours are tagged otherwise than the first image's, as the output is"
        if decoded.exif is not None and not self.info.still:
            found["exif"] = "left out: EXIF"
        if decoded.frames > 1:
            found["frames"] = f"it holds {decoded.frames} pictures: the first is taken"
        most = float(np.max(decoded.rgb)) if decoded.linear else 1.0
        if most > (light.MOST if self.info.scene else 1):
            found["bright"] = (
                f"its light goes up to {most:g}, the output's up to {light.MOST if self.info.scene else 1:g}"
            )
        if decoded.linear and float(np.min(decoded.rgb)) < 0:
            found["negative"] = "its light below 0 is cut off"
        return found

    def close(self) -> None:
        """Nothing is kept open."""


class _Misfit(SourceError):
    """An image that can be read, and is of another size."""
