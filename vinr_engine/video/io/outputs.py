"""The kinds of output, each of which says itself what it takes. Another one is a class here, with its sink.

Nothing here imports the video libraries before an output is settled, nor numpy: the command line's help names outputs.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from vinr_engine.errors import UsageError

from .containers import CONTAINERS, FRAME_NAMES, suffixes

if TYPE_CHECKING:
    from .audio import AudioCopy
    from .colour import Array
    from .source import SourceInfo


class Sink(Protocol):
    """An output being written; every method raises SinkError when the output cannot be written."""

    def write(self, rgb: Array | None, time: Fraction, duration: Fraction) -> None:
        """Add a frame, RGB [3, H, W] in [0, 1], shown at ``time`` for ``duration`` seconds; None repeats the last."""
        ...

    def finish(self) -> None:
        """Complete the output."""
        ...

    def close(self) -> None:
        """Release the files; after ``finish`` or instead of it."""
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
    def open(
        self, path: Path, size: tuple[int, int], info: SourceInfo, rate: Fraction, tick: Fraction,
        audio: AudioCopy | None,
    ) -> Sink:  # fmt: skip
        """The sink that writes to ``path``, a new file or folder in DST's place; pictures of ``size`` (width, height).

        ``rate`` is the nominal output rate, ``tick`` the unit of its timestamps in seconds. SinkError.
        """


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

    def open(
        self, path: Path, size: tuple[int, int], info: SourceInfo, rate: Fraction, tick: Fraction,
        audio: AudioCopy | None,
    ) -> Sink:  # fmt: skip
        """See Output."""
        from .sink import FolderSink

        return FolderSink(path, self.dst, size, info)


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

    def open(
        self, path: Path, size: tuple[int, int], info: SourceInfo, rate: Fraction, tick: Fraction,
        audio: AudioCopy | None,
    ) -> Sink:  # fmt: skip
        """See Output."""
        from .sink import VideoSink

        return VideoSink(path, self.dst, self.encoding, size, info, rate, tick, audio)


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
