"""What a run says of itself at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from .io.carried import LEFT_OUT, Carried
from .io.source import Faults
from .job import Seconds


@dataclass(frozen=True)
class Summary:
    """What was done. ``size`` is (width, height), ``rate`` the mean frames per second, None for images.

    ``frames_in`` were used of those that were read; ``repeats`` of them show what the one before does; ``faults``
    counts what was wrong with them. ``resumed``: how many of ``frames_out`` an earlier run made. ``streams``: what
    became of those beside the picture. ``kept`` and ``left_out``: properties of the input that the output has or lacks.
    """

    path: str
    frames_in: int
    frames_out: int
    size: tuple[int, int]
    rate: Fraction | None
    cuts: int
    repeats: int
    seconds: float
    weights: str
    resumed: int = 0
    stages: Seconds = field(default_factory=Seconds)
    faults: Faults = field(default_factory=Faults)
    streams: tuple[Carried, ...] = ()
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def frames_read(self) -> int:
        """Those of the input, also where nothing could be made of them."""
        return self.frames_in + self.faults.dropped

    @property
    def audio_streams(self) -> int:
        """Those that the output has."""
        return sum(stream.kind == "audio" and stream.became != LEFT_OUT for stream in self.streams)
