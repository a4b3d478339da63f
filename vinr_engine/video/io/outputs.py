"""The kinds of output, each of which says itself what it takes. Another one is a class of its own, with its sink.

Nothing here imports the video libraries before an output is settled, nor numpy: the command line's help names outputs.
"""

from __future__ import annotations

import io
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vinr_engine import files
from vinr_engine.errors import UsageError

from .containers import CONTAINERS, suffixes
from .image_outputs import Frames, ImageFile
from .output import Accepts, Chunks, Output
from .pipe_output import Pipe

if TYPE_CHECKING:
    from .coders import Coder
    from .source import SourceInfo
    from .streams import Streams
    from .target import Target

__all__ = ["OUTPUTS", "Accepts", "Chunks", "Frames", "ImageFile", "Output", "Pipe", "Video", "kind_of", "titles"]


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
        left_out = (*encoding.left_out, *(("EXIF",) if info.exif is not None else ()))
        even = f"{encoding.codec} with {encoding.pixel_format}" if encoding.subsampled else ""
        return Accepts(even, True, encoding.container, encoding.notes, encoding.kept, left_out)

    def coder(self, target: Target, held: Any = None, last: int = -1) -> Coder:
        """See Output."""
        from .coders import VideoCoder

        return VideoCoder(self.encoding, target, self.dst, held, last)

    def pts(self, target: Target, last: int, time: Fraction) -> int:
        """See Output."""
        return target.pts(last, time)

    def join(self, chunks: Chunks, path: Path, target: Target, streams: Streams | None) -> None:
        """See Output."""
        from .join import join_video

        with files.reported(self.dst):  # what reading the chunks raises
            self.late = join_video(chunks.packets(), path, self.dst, self.encoding, target, streams)

    def check(self, target: Target, streams: Streams | None) -> None:
        """See Output."""
        from .join import Muxer

        Muxer(io.BytesIO(), self.dst, self.encoding, target, streams).close()


OUTPUTS: tuple[type[Output], ...] = (Video, Frames, ImageFile, Pipe)


def kind_of(dst: str) -> type[Output]:
    """The kind of output that DST names; UsageError, which lists them."""
    if Pipe.is_named(dst):  # which a folder could be called as well
        return Pipe
    for kind in OUTPUTS:
        if kind.is_named(dst):
            return kind
    raise UsageError(f"{dst}: the output is {titles()}, not {Path(dst).suffix.lower()}")


def titles(between: str = " or ") -> str:
    """All kinds of output, as text."""
    return between.join(kind.title for kind in OUTPUTS)
