"""Standard output, as Y4M: pictures that are not compressed, one after the other, for another program."""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vinr_engine.errors import SinkError, UsageError, reason

from .output import Accepts, Chunks, Output
from .spool import STANDARD

if TYPE_CHECKING:
    from .packets import Packet
    from .source import SourceInfo
    from .streams import Streams
    from .target import Target

_CHROMA = {4: "420", 2: "422", 1: "444"}
_PLACES = {"center": "jpeg", "topleft": "paldv"}


class Pipe(Output):
    """Each picture is written as soon as it is made; nothing is kept for a run that goes on."""

    title = "- for Y4M on standard output"
    resumes = False

    def __init__(self, dst: str, codec: str | None = None, crf: float | None = None) -> None:
        if codec is not None or crf is not None:
            raise UsageError("--codec and --crf are for a video file, and the output is Y4M on standard output")
        super().__init__(dst, codec, crf)
        self._folder = tempfile.mkdtemp(prefix="vinr-")
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._written = 0
        self._dropped = 0

    @property
    def place(self) -> str:
        """See Output: nothing appears but what the run keeps for itself."""
        return str(Path(self._folder, "stdout.y4m"))

    @classmethod
    def is_named(cls, dst: str) -> bool:
        """As programs call it."""
        return dst == STANDARD

    def settle(self, info: SourceInfo) -> Accepts:
        """See Output. Of 8, 10 and 12 bits, and of 4:2:0, 4:2:2 and 4:4:4, what loses least."""
        from .formats import less_chroma

        bits = next((n for n in (8, 10, 12) if n >= info.bits), 12)
        less = max(1, less_chroma(info.chroma))
        self._chroma = _CHROMA[less]
        self._bits = bits
        place = info.colour.place if self._chroma == "420" and info.colour.place in _PLACES else "left"
        self._chroma_place = place
        notes = [f"the input has {info.bits} bits a channel, Y4M is written with 12"] if info.bits > 12 else []
        if info.chroma is None:
            notes.append("the input is RGB, Y4M is 4:4:4")
        gone = ["colour tags"] if {info.colour.primaries, info.colour.transfer} != {2} else []
        gone += ["HDR10 metadata"] if info.light is not None else []
        gone += ["ICC profile"] if info.profile is not None else []
        return Accepts("Y4M of 4:2:0" if less > 1 else "", True, None, tuple(notes), (), tuple(gone))

    def remarks(self, target: Target) -> tuple[str, ...]:
        """See Output. Y4M does not say the colour matrix, so that its readers go by the size."""
        from .colour import MATRICES, UNSPECIFIED, for_encoding, resolve

        written = for_encoding(target.info.colour).matrix
        taken = resolve(UNSPECIFIED, 0, UNSPECIFIED, UNSPECIFIED, *target.size, jpeg=False).matrix
        if MATRICES[written] == MATRICES[taken]:
            return ()
        return (
            f"Y4M does not say the colour matrix: it is number {written} of H.273, and at this size readers take "
            f"{taken} unless they are told",
        )

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of it."""
        return f"yuv{self._chroma}p" + (f"{self._bits}le" if self._bits > 8 else "")

    def head(self, target: Target) -> bytes:
        """The first line."""
        width, height = target.size
        rate, aspect = target.nominal_rate, target.info.aspect or Fraction(1)
        deep = (
            f"p{self._bits}" if self._bits > 8 else _PLACES.get(self._chroma_place, "mpeg2") * (self._chroma == "420")
        )
        words = (
            "YUV4MPEG2", f"W{width}", f"H{height}", f"F{rate.numerator}:{rate.denominator}", "Ip",
            f"A{aspect.numerator}:{aspect.denominator}", f"C{self._chroma}{deep}",
            f"XYSCSS={self._chroma}{f'P{self._bits}' if self._bits > 8 else deep.upper()}",
            f"XCOLORRANGE={'FULL' if self._full(target) else 'LIMITED'}",
        )  # fmt: skip
        return " ".join(words).encode() + b"\n"

    def _full(self, target: Target) -> bool:
        from .colour import RGB

        return target.info.colour.full and target.info.colour.matrix != RGB

    def coder(self, target: Target, held: Any = None, last: int = -1) -> _Writer:
        """See Output."""
        return _Writer(self, target, held, last)

    def pts(self, target: Target, last: int, time: Fraction) -> int:
        """See Output."""
        return target.pts(last, time)

    def write(self, data: bytes, target: Target, until: Fraction) -> None:
        """A picture that is shown until then: so often that the rate fits, which is all that Y4M has."""
        count = round(until * target.nominal_rate) - self._written
        self._dropped += count < 1
        out = sys.stdout.buffer
        try:
            if not self._written and count > 0:
                out.write(self.head(target))
            for _ in range(count):
                out.write(b"FRAME\n")
                out.write(data)
            out.flush()
        except (OSError, ValueError) as error:
            raise SinkError(f"cannot write standard output: {reason(error)}") from None
        self._written += max(0, count)

    def join(self, chunks: Chunks, path: Path, target: Target, streams: Streams | None) -> None:
        """See Output. All is written."""
        path.touch()
        if self._dropped:
            self.late = [f"{self._dropped} pictures lie nearer to each other than the rate of Y4M: left out"]


class _Writer:
    """Writes pictures in place of coding them; see Coder."""

    def __init__(self, output: Pipe, target: Target, held: Any, last: int) -> None:
        self.output, self.target, self.held, self.last = output, target, held, last
        self.facts: dict[str, Any] = {"codec": "y4m"}

    def code(self, rgb: Any, time: Fraction, duration: Fraction) -> list[Packet]:
        """See Coder."""
        if rgb is not None:
            self.held = self._bytes(rgb)
        self.last = self.target.pts(self.last, time)
        self.output.write(self.held, self.target, time + duration)
        return []

    def _bytes(self, rgb: Any) -> bytes:
        from dataclasses import replace

        import numpy as np

        from .colour import for_encoding, rgb_to_planes

        output = self.output
        ratio = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}[output._chroma]
        meaning = replace(for_encoding(self.target.info.colour), place=output._chroma_place)
        kind = "u1" if output._bits == 8 else "<u2"
        planes = rgb_to_planes(np.asarray(rgb), output._bits, meaning, ratio)
        return b"".join(np.ascontiguousarray(plane.astype(kind)).tobytes() for plane in planes)

    def finish(self) -> list[Packet]:
        """See Coder."""
        return []
