"""The kinds of output, each of which says itself what it takes. Another one is a class here, with its sink.

Nothing here imports the video libraries before an output is settled, nor numpy: the command line's help names outputs.
"""

from __future__ import annotations

import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from vinr_engine import files
from vinr_engine.errors import UsageError

from .containers import CONTAINERS, suffixes
from .image_formats import FRAME_NAMES

if TYPE_CHECKING:
    from .audio import AudioCopy
    from .coders import Coder
    from .packets import PacketFile
    from .source import SourceInfo
    from .target import Target


class Chunks(Protocol):
    """The chunks of an output, in order; every method raises SinkError."""

    def packets(self) -> list[PacketFile]:
        """Of all of them."""
        ...

    def placing(self) -> Iterator[PacketFile]:
        """Of each that is not in its place yet; once the next one is asked for, it is, and its file may go."""
        ...


@dataclass(frozen=True)
class Accepts:
    """What an output takes of a source.

    ``even`` says what needs even sides, "" if nothing does. ``timed``: pictures are shown for a time, so that the last
    one is repeated until its end. ``audio``: audio streams are copied. ``notes``: remarks of one line.
    """

    even: str = ""
    timed: bool = False
    audio: bool = False
    notes: tuple[str, ...] = ()


class Output(ABC):
    """An output of one kind, of which nothing is written yet."""

    title: ClassVar[str]
    """What DST is, as text."""
    folder: ClassVar[bool] = False
    """Whether it is a folder."""
    ours: ClassVar[re.Pattern[str] | None] = None
    """The names of the files in a folder that may be replaced."""

    def __init__(self, dst: str, codec: str | None, crf: float | None) -> None:
        """``codec`` and ``crf``: see Job. UsageError where they do not fit the kind."""
        self.dst, self.codec, self.crf = dst, codec, crf

    @classmethod
    @abstractmethod
    def is_named(cls, dst: str) -> bool:
        """Whether DST names an output of this kind."""

    @abstractmethod
    def settle(self, info: SourceInfo) -> Accepts:
        """What it takes of that source; the first call. UsageError."""

    @abstractmethod
    def coder(self, target: Target, held: Any = None, last: int = -1) -> Coder:
        """What codes the pictures of one chunk; ``held`` and ``last``: those of the chunk's before. SinkError."""

    @abstractmethod
    def pts(self, target: Target, last: int, time: Fraction) -> int:
        """That of a picture shown at ``time``, as its coder gives it; ``last``: that of the picture before."""

    @abstractmethod
    def join(self, chunks: Chunks, path: Path, target: Target, audio: AudioCopy | None) -> None:
        """Make a file or folder at ``path``, to be put in DST's place, of chunks. SinkError.

        ``path`` may hold what an earlier call left of it.
        """

    def check(self, target: Target, audio: AudioCopy | None) -> None:  # noqa: B027, there may be nothing to check
        """SinkError where it is clear before any picture is made that this cannot be written."""


class Frames(Output):
    """Numbered images, without times."""

    title = "a folder for PNG frames"
    folder = True
    ours = FRAME_NAMES

    def __init__(self, dst: str, codec: str | None = None, crf: float | None = None) -> None:
        if codec is not None or crf is not None:
            raise UsageError("--codec and --crf are for a video output, and the output is a folder of PNG frames")
        super().__init__(dst, codec, crf)

    @classmethod
    def is_named(cls, dst: str) -> bool:
        """An existing folder, or a name without a suffix."""
        suffix = Path(dst).suffix[1:]
        return os.path.isdir(dst) or dst.endswith(os.sep) or not suffix.isalnum() or suffix.isdigit()

    def settle(self, info: SourceInfo) -> Accepts:
        """See Output."""
        return Accepts()

    def coder(self, target: Target, held: Any = None, last: int = -1) -> Coder:
        """See Output."""
        from .image_coders import ImageCoder

        return ImageCoder(target, held=held, last=last)

    def pts(self, target: Target, last: int, time: Fraction) -> int:
        """See Output."""
        return last + 1

    def join(self, chunks: Chunks, path: Path, target: Target, audio: AudioCopy | None) -> None:
        """See Output. Each chunk goes once its images are there: both together would take twice the space."""
        from .join import place_images

        with files.reported(self.dst):
            path.mkdir(exist_ok=True)
        for chunk in chunks.placing():
            place_images(chunk, path, self.dst)


class Video(Output):
    """A video file of one of CONTAINERS."""

    title = f"a {suffixes()} file"

    @classmethod
    def is_named(cls, dst: str) -> bool:
        """By its suffix."""
        return Path(dst).suffix.lower() in CONTAINERS and not os.path.isdir(dst) and not dst.endswith(os.sep)

    def settle(self, info: SourceInfo) -> Accepts:
        """See Output."""
        from . import encoders

        self.encoding = encoding = encoders.choose(self.dst, self.codec, self.crf, info)
        even = f"{encoding.codec} with {encoding.pixel_format}" if encoding.subsampled else ""
        return Accepts(even, timed=True, audio=True, notes=encoding.notes)

    def coder(self, target: Target, held: Any = None, last: int = -1) -> Coder:
        """See Output."""
        from .coders import VideoCoder

        return VideoCoder(self.encoding, target, self.dst, held, last)

    def pts(self, target: Target, last: int, time: Fraction) -> int:
        """See Output."""
        return target.pts(last, time)

    def join(self, chunks: Chunks, path: Path, target: Target, audio: AudioCopy | None) -> None:
        """See Output."""
        from .join import join_video

        with files.reported(self.dst):  # what reading the chunks raises
            join_video(chunks.packets(), path, self.dst, self.encoding, target, audio)

    def check(self, target: Target, audio: AudioCopy | None) -> None:
        """See Output."""
        from .join import Muxer

        Muxer(io.BytesIO(), self.dst, self.encoding, target, audio).close()


OUTPUTS: tuple[type[Output], ...] = (Video, Frames)


def kind_of(dst: str) -> type[Output]:
    """The kind of output that DST names; UsageError, which lists them."""
    for kind in OUTPUTS:
        if kind.is_named(dst):
            return kind
    raise UsageError(f"{dst}: the output is {titles()}, not {Path(dst).suffix.lower()}")


def titles(between: str = " or ") -> str:
    """All kinds of output, as text."""
    return between.join(kind.title for kind in OUTPUTS)
