"""Images as outputs: a folder of them, one, or an animation."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vinr_engine import files
from vinr_engine.errors import UsageError

from . import image_files
from .containers import listed
from .image_formats import ANIMATIONS, FRAME_NAMES, IMAGE_FORMATS, PNG, Animation, ImageFormat
from .output import Accepts, Chunks, Output

if TYPE_CHECKING:
    from .coders import Coder
    from .source import SourceInfo
    from .streams import Streams
    from .target import Target

ANIMATION_RATE = 50
"""Pictures a second of an animation where nothing else is asked for: the most that a GIF can have."""
SHOWN_SLOWLY = 100
"""Browsers take so many pictures a second, and more, for ten."""


class _Images(Output):
    """What all of these do."""

    form: ImageFormat

    def __init__(self, dst: str, codec: str | None = None, crf: float | None = None) -> None:
        if codec is not None or crf is not None:
            raise UsageError(f"--codec and --crf are for a video output, and {dst} is one of images")
        super().__init__(dst, codec, crf)

    def coder(self, target: Target, held: Any = None, last: int = -1) -> Coder:
        """See Output."""
        from .image_coders import ImageCoder

        return ImageCoder(target, self.form, held, last)

    def pts(self, target: Target, last: int, time: Fraction) -> int:
        """See Output."""
        return last + 1

    def check(self, target: Target, streams: Streams | None) -> None:
        """See Output."""
        _check_side(self.form.name, self.form.side, target)

    def _taken(self, info: SourceInfo) -> Accepts:
        """What the format has no place for."""
        form = self.form
        if form.encoder:
            _check_encoder(form, self.dst)
        notes: list[str] = []
        kept: list[str] = []
        left_out: list[str] = []
        if info.bits > form.bits:
            notes.append(
                f"the input has {info.bits} bits a channel, {form.name} has {form.bits} (.png and .tif have 16)"
            )
        if info.profile is not None:
            (kept if form.profile else left_out).append("ICC profile")
        primaries, transfer = info.colour.primaries, info.colour.transfer
        odd = primaries not in _USUAL_PRIMARIES or (transfer not in _USUAL_TRANSFERS and not form.linear)
        if odd and info.profile is None:
            tags = f"colour tags (H.273 primaries {primaries}, transfer {transfer})"
            kept += [tags] if form.tags else []
            left_out += [] if form.tags else [f"{tags}: .png has them"]
        if info.exif is not None:
            (kept if form.exif else left_out).append("EXIF")
        if info.light is not None:
            left_out.append("HDR10 metadata")
        if info.aspect not in (None, 1):
            left_out.append(f"shape of pixels ({info.aspect})")
        if form.linear and transfer not in _CURVES:
            notes.append(
                f"{form.name} holds linear light, and there is no curve here for the input's transfer (H.273 "
                f"number {transfer}): sRGB's is taken"
            )
        return Accepts(notes=tuple(notes), kept=tuple(kept), left_out=tuple(left_out))


_USUAL_PRIMARIES, _USUAL_TRANSFERS = (1, 2, 5, 6), (1, 2, 6, 13, 14, 15)
"""Those that images without tags are taken to have, about."""
_CURVES = (1, 2, 4, 5, 6, 8, 13, 14, 15, 16)
"""The transfers that `light.linear_from` knows."""


class Frames(_Images):
    """Numbered images, without times: a folder for PNG, or a pattern that names the format."""

    title = "a folder for PNG frames or a pattern such as out/frame_%06d.tif"
    folder = True
    ours = FRAME_NAMES

    def __init__(self, dst: str, codec: str | None = None, crf: float | None = None) -> None:
        super().__init__(dst, codec, crf)
        self.head, self.width, self.tail = "frame_", 6, ".png"
        self.form = PNG
        if _is_pattern(dst):
            self.head, field, self.tail = image_files.split_pattern(dst)
            self.width = int(field[2] or 1) if field[1] else 1
            if field[2] and not field[1]:
                raise UsageError(f"{dst}: write the number as %0{field[2]}d, so that names hold no spaces")
            self.form = IMAGE_FORMATS[Path(dst).suffix.lower()]
            self.ours = re.compile(rf"{re.escape(self.head)}\d{{{self.width},}}{re.escape(self.tail)}")
            if not os.path.dirname(dst):
                raise UsageError(f"{dst}: name a folder of its own for the images, such as out/{dst}")
        self.scene = self.form.linear

    @classmethod
    def is_named(cls, dst: str) -> bool:
        """An existing folder, or a name without a suffix; a pattern."""
        if os.path.isdir(dst) or dst.endswith(os.sep) or _is_pattern(dst):
            return True
        suffix = Path(dst).suffix[1:]
        return not suffix.isalnum() or suffix.isdigit()

    @property
    def place(self) -> str:
        """See Output."""
        return os.path.dirname(self.dst) if _is_pattern(self.dst) else self.dst

    def name(self, number: int) -> str:
        """The file of a picture."""
        return f"{self.head}{number:0{self.width}d}{self.tail}"

    def settle(self, info: SourceInfo) -> Accepts:
        """See Output."""
        return self._taken(info)

    def times(self, still: bool, time: Any, fps: Any) -> tuple[Any, Any]:
        """See Output."""
        _check_still(still, time, fps)
        return super().times(still, time, fps)

    def join(self, chunks: Chunks, path: Path, target: Target, streams: Streams | None) -> None:
        """See Output. Each chunk goes once its images are there: both together would take twice the space."""
        from .join import place_images

        with files.reported(self.place):
            path.mkdir(exist_ok=True)
        for chunk in chunks.placing():
            place_images(chunk, path, self.place, self.name)


class ImageFile(_Images):
    """One image of one, or an animation of a clip."""

    title = f"a {listed(ANIMATIONS)} animation, or of one image a {listed(IMAGE_FORMATS)}"

    def __init__(self, dst: str, codec: str | None = None, crf: float | None = None) -> None:
        super().__init__(dst, codec, crf)
        self.suffix = Path(dst).suffix.lower()
        self.form = IMAGE_FORMATS.get(self.suffix, PNG)
        self.animation: Animation | None = None
        self.plays = 0
        self.scene = self.form.linear

    @classmethod
    def is_named(cls, dst: str) -> bool:
        """By its suffix."""
        suffix = Path(dst).suffix.lower()
        return (suffix in IMAGE_FORMATS or suffix in ANIMATIONS) and not (
            os.path.isdir(dst) or dst.endswith(os.sep) or _is_pattern(dst)
        )

    def times(self, still: bool, time: Any, fps: Any) -> tuple[Any, Any]:
        """See Output."""
        if self.suffix in IMAGE_FORMATS:
            _check_still(still, time, fps)
        if not still and time is None and fps is None:
            return None, ANIMATION_RATE
        return super().times(still, time, fps)

    def settle(self, info: SourceInfo) -> Accepts:
        """See Output."""
        if info.still and self.suffix in IMAGE_FORMATS:
            return self._taken(info)
        # an animated PNG may be called .png, too
        self.animation = ANIMATIONS.get(".apng" if self.suffix == ".png" and info.plays is not None else self.suffix)
        if self.animation is None:
            stem = Path(self.dst).stem
            raise UsageError(
                f"{self.dst} is one image, and the input is a clip: name a folder, images such as "
                f"{stem}/{stem}_%06d{self.suffix}, or an animation ({listed(ANIMATIONS)})"
            )
        self.form = self.animation.form
        self.plays = info.plays or 0
        taken = self._taken(info)
        return Accepts(timed=True, notes=taken.notes, kept=taken.kept, left_out=taken.left_out)

    def coder(self, target: Target, held: Any = None, last: int = -1) -> Coder:
        """See Output."""
        if self.animation is None:
            return super().coder(target, held, last)
        from .image_coders import ANIMATION_ENCODERS, ImageCoder

        return ImageCoder(target, self.form, held, last, ANIMATION_ENCODERS[self.animation.name], timed=True)

    def pts(self, target: Target, last: int, time: Fraction) -> int:
        """See Output."""
        return super().pts(target, last, time) if self.animation is None else target.pts(last, time)

    def remarks(self, target: Target) -> tuple[str, ...]:
        """See Output."""
        animation = self.animation
        if animation is None:
            return ()
        notes = []
        if animation.unit and (target.tick / animation.unit).denominator > 1:
            notes.append(
                f"{animation.name} counts time in units of {float(animation.unit):g} s: each picture is shown at the "
                "nearest one"
            )
        if animation.fastest is None and target.rate >= SHOWN_SLOWLY:
            notes.append(f"browsers take {SHOWN_SLOWLY} pictures a second, and more, for ten: --fps {ANIMATION_RATE}")
        return tuple(notes)

    def check(self, target: Target, streams: Streams | None) -> None:
        """See Output."""
        animation = self.animation
        if animation is None:
            super().check(target, streams)
            return
        _check_side(animation.name, animation.side, target)
        if animation.fastest is not None and target.rate > animation.fastest:
            raise UsageError(
                f"{animation.name} shows at most {animation.fastest} pictures a second, and {float(target.rate):g} are "
                f"asked for: --fps {animation.fastest}"
            )

    def join(self, chunks: Chunks, path: Path, target: Target, streams: Streams | None) -> None:
        """See Output."""
        from . import animations

        with files.reported(self.dst):
            if self.animation is None:
                animations.write_one(chunks.packets(), path, self.dst)
            else:
                animations.write(self.animation, chunks.packets(), path, target, self.plays)


def _is_pattern(dst: str) -> bool:
    return image_files.is_pattern(dst) and Path(dst).suffix.lower() in IMAGE_FORMATS


def _check_still(still: bool, time: Any, fps: Any) -> None:
    if still and (fps is not None or time not in (None, 1)):
        raise UsageError("--time and --fps are for clips: SRC is one image, and so is the output")


def _check_side(name: str, side: int, target: Target) -> None:
    if max(target.size) > side:
        raise UsageError(
            f"{name} has at most {side} pixels a side, and {target.size[0]}x{target.size[1]} are asked for"
        )


def _check_encoder(form: ImageFormat, dst: str) -> None:
    from .encoders import is_encoder

    if not is_encoder(form.encoder):
        raise UsageError(f"{dst}: this FFmpeg has no encoder of {form.name}; .png and .tif keep as much")
