"""What every kind of output does, whatever it is; `outputs` has them all.

Nothing here imports the video libraries, nor numpy: the command line's help names outputs.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from .coders import Coder
    from .containers import Container
    from .packets import PacketFile
    from .source import SourceInfo
    from .streams import Streams
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
    one is repeated until its end. ``container``: what holds the source's other streams, None if nothing does.
    ``notes``: remarks of one line. ``kept`` and ``left_out``: see Summary.
    """

    even: str = ""
    timed: bool = False
    container: Container | None = None
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


class Output(ABC):
    """An output of one kind, of which nothing is written yet."""

    title: ClassVar[str]
    """What DST is, as text."""
    folder: ClassVar[bool] = False
    """Whether it is a folder."""
    ours: re.Pattern[str] | None = None
    """The names of the files in a folder that may be replaced."""
    resumes: ClassVar[bool] = True
    """Whether what is done stays for a run that goes on."""
    scene: bool = False
    """Whether it takes linear light as it is; see SourceInfo."""

    def __init__(self, dst: str, codec: str | None, crf: float | None) -> None:
        """``codec`` and ``crf``: see Job. UsageError where they do not fit the kind."""
        self.dst, self.codec, self.crf = dst, codec, crf
        self.late: list[str] = []
        """Remarks of one line, once it is joined."""

    @property
    def place(self) -> str:
        """The file or folder that appears."""
        return self.dst

    def times(self, still: bool, time: Any, fps: Any) -> tuple[Any, Any]:
        """What goes for ``time`` and ``fps`` of a Job; one image (``still``) is not multiplied unasked. UsageError."""
        return (1, None) if still and time is None and fps is None else (time, fps)

    def remarks(self, target: Target) -> tuple[str, ...]:
        """What is to be said of the job, beside what `settle` says of the source."""
        return ()

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
    def join(self, chunks: Chunks, path: Path, target: Target, streams: Streams | None) -> None:
        """Make a file or folder at ``path``, to be put in DST's place, of chunks. SinkError.

        ``path`` may hold what an earlier call left of it.
        """

    def check(self, target: Target, streams: Streams | None) -> None:  # noqa: B027, there may be nothing to check
        """SinkError where it is clear before any picture is made that this cannot be written."""
