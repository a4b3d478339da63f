"""What a job comes to for one source: sizes, times and counts. Pure: no files, no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import TYPE_CHECKING

from vinr_engine.errors import UsageError

from . import parse
from .io.containers import AUDIO_CHOICES, listed
from .io.reading import HOLD, SKIP, STOP, Reading
from .job import DEFAULT_SPACE, DEFAULT_TIME, Job
from .schedule import Clock, Multiply, Rate, common_unit

if TYPE_CHECKING:
    from .io.outputs import Accepts
    from .io.source import SourceInfo

SHORTEST, LONGEST = 32, 240
"""Output frames of a segment, by default: its key frame costs bytes, and what is lost with it costs time."""
SEGMENT_PIXELS = 1 << 28
"""About as many of the output make a segment."""


@dataclass(frozen=True)
class Wanted:
    """A job's numbers as exact values; ``size`` is (width, height), times are seconds."""

    space: float
    size: tuple[int, int] | None
    clock: Clock
    input_fps: Fraction | None
    start: Fraction | None
    end: Fraction | None
    segment: int | None
    on_error: str = HOLD
    deinterlace: bool = True
    repeats: bool = True

    @property
    def reading(self) -> Reading:
        """How the source is read."""
        return Reading(self.input_fps, self.start, self.end, self.on_error, self.deinterlace)


def wanted(job: Job) -> Wanted:
    """The numbers of a job; UsageError."""
    if job.space is not None and job.size is not None:
        raise UsageError("--space and --size exclude each other")
    if job.time is not None and job.fps is not None:
        raise UsageError("--time and --fps exclude each other")
    scale = parse.scale(DEFAULT_SPACE if job.space is None else job.space)
    size = None if job.size is None else parse.size(job.size)
    clock: Clock
    if job.fps is not None:
        clock = Rate(parse.rate(job.fps))
    else:
        clock = Multiply(parse.multiplier(DEFAULT_TIME if job.time is None else job.time))
    start = None if job.start is None else parse.seconds(job.start, "--start")
    end = None if job.end is None else parse.seconds(job.end, "--end")
    if end is not None and end <= (start or 0):
        raise UsageError("--end must be later than --start" if start else "--end must be later than 0")
    rate = None if job.input_fps is None else parse.rate(job.input_fps, "--input-fps")
    if job.on_error not in (HOLD, SKIP, STOP):
        raise UsageError(f"--on-error must be {HOLD}, {SKIP} or {STOP}, got {job.on_error}")
    if job.audio not in AUDIO_CHOICES:
        raise UsageError(f"--audio must be {listed(AUDIO_CHOICES)}, got {job.audio}")
    if job.segment is not None and job.segment < 1:
        raise UsageError(f"--segment must be at least 1 frame, got {job.segment}")
    return Wanted(scale, size, clock, rate, start, end, job.segment, job.on_error, job.deinterlace, job.repeats)


@dataclass(frozen=True)
class Plan:
    """What will be made: ``size`` is (width, height), ``rate`` the nominal output rate.

    ``copies``: the last picture is repeated until its end. ``total``: about how many frames, None if that is unknown.
    ``segment``: output frames of a segment. ``interval``: the input's, nominally. ``through``: motion goes on through
    frames that are repeated. ``aspect``: the sample aspect ratio, None for square ones.
    """

    size: tuple[int, int]
    clock: Clock
    rate: Fraction
    copies: bool
    total: int | None
    step: Fraction
    segment: int
    interval: Fraction = Fraction(1, 25)
    through: bool = True
    aspect: Fraction | None = None

    def tick(self, lead: Fraction) -> Fraction:
        """The unit of output timestamps, in seconds: all times are whole multiples where 32 bits allow it.

        ``lead`` is added to all times.
        """
        return common_unit([self.step, lead]) or common_unit([self.step]) or Fraction(1, 1_000_000)


def plan(wanted: Wanted, info: SourceInfo, accepts: Accepts) -> Plan:
    """The plan for a source and an output; UsageError for a size that is too large, or odd where it must be even."""
    clock = wanted.clock
    rate = info.rate or Fraction(25)
    interval = 1 / rate
    total = info.count
    if isinstance(clock, Multiply):
        step = info.tick / clock.factor
        if total is not None:
            total = total * clock.factor if accepts.timed else (total - 1) * clock.factor + 1
        rate *= clock.factor
    else:
        step = 1 / clock.fps
        if total is not None:
            total = max(1, round(total / rate * clock.fps))
        rate = clock.fps
    size = _size(wanted, info, accepts)
    segment = wanted.segment or min(max(SEGMENT_PIXELS // (size[0] * size[1]), SHORTEST), LONGEST)
    through = wanted.repeats and rate * interval > 1  # else only frames of the input are shown
    aspect = _aspect(wanted, info, size)
    return Plan(size, clock, rate, accepts.timed, total, step, segment, interval, through, aspect)


def _aspect(wanted: Wanted, info: SourceInfo, size: tuple[int, int]) -> Fraction | None:
    """The shape of the output's pixels: the input's with --space; with --size such that the picture keeps its own."""
    aspect = info.aspect or Fraction(1)
    if wanted.size is not None:
        width, height = size
        aspect *= Fraction(info.width * height, info.height * width)
        if abs(aspect - 1) * max(width, height) <= 1:  # less than a pixel
            return None
        aspect = aspect if max(aspect.numerator, aspect.denominator) < 256 else aspect.limit_denominator(255)
    return None if aspect == 1 else aspect


def _size(wanted: Wanted, info: SourceInfo, accepts: Accepts) -> tuple[int, int]:
    if wanted.size is None:
        return parse.enlarged(info.width, info.height, wanted.space, bool(accepts.even))
    width, height = wanted.size
    if accepts.even and (width % 2 or height % 2):
        raise UsageError(
            f"--size {width}x{height}: {accepts.even} needs even sides, "
            f"such as {width + width % 2}x{height + height % 2}"
        )
    return width, height


def arguments(job: Job) -> dict[str, str]:
    """The options that change what is written, by their names on the command line, as text."""
    found: dict[str, str] = {}
    for field in fields(job):
        if not field.metadata.get("alters"):
            continue
        value = getattr(job, field.name)
        if field.name == "space" and value is None and job.size is None:
            value = DEFAULT_SPACE
        elif field.name == "time" and value is None and job.fps is None:
            value = DEFAULT_TIME
        name = field.metadata["name"] or f"--{field.name.replace('_', '-')}"
        if field.metadata["kind"] is bool:
            found[name] = "on" if value != field.default else "off"
        elif value is None:
            found[name] = "(default)"
        else:
            found[name] = f"{value:g}" if isinstance(value, float) else str(value)
    return found
