"""A whole clip, from file to file."""

from __future__ import annotations

import os
import time as clock_time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

from vinr_engine import files
from vinr_engine.errors import SinkError, UsageError
from vinr_engine.models import Network

from . import enlarge, parse
from .cuts import CutDetector
from .io import encoders, image_source, paths
from .io.audio import AudioCopy
from .io.encoders import Encoding
from .io.image_source import ImageSource
from .io.sink import FRAMES, FolderSink, Sink, VideoSink
from .io.source import OpenSource, Picture, SourceInfo
from .io.video_source import VideoSource
from .pipeline import Pipeline
from .schedule import Clock, Multiply, Rate, common_unit
from .threads import ReadAhead, WriteBehind

DEFAULT_SPACE = 4.0
DEFAULT_TIME = 8
DEFAULT_INPUT_FPS = 25


@dataclass(frozen=True)
class Summary:
    """What was done. ``size`` is (width, height), ``rate`` the mean frames per second, None for images."""

    path: str
    frames_in: int
    frames_out: int
    size: tuple[int, int]
    rate: Fraction | None
    cuts: int
    audio_streams: int
    seconds: float
    weights: str


@dataclass(frozen=True)
class Job:
    """Checked arguments of `upscale`: everything that can be known without opening a file."""

    src: str
    dst: str
    kind: str
    folder: bool
    space: float
    size: tuple[int, int] | None
    clock: Clock
    input_fps: Fraction
    start: Fraction | None
    end: Fraction | None


def check(
    src: str | os.PathLike[str], dst: str | os.PathLike[str], *, space: float | None = None,
    size: str | tuple[int, int] | None = None, time: int | None = None, fps: str | float | Fraction | None = None,
    start: str | float | Fraction | None = None, end: str | float | Fraction | None = None,
    input_fps: str | float | Fraction | None = None, codec: str | None = None, crf: float | None = None,
) -> Job:  # fmt: skip
    """Check `upscale`'s arguments; UsageError, SourceError."""
    if space is not None and size is not None:
        raise UsageError("--space and --size exclude each other")
    if time is not None and fps is not None:
        raise UsageError("--time and --fps exclude each other")
    src, dst = os.fspath(src), os.fspath(dst)
    scale = parse.scale(DEFAULT_SPACE if space is None else space)
    sides = parse.size(size) if size is not None else None
    rhythm: Clock = (
        Rate(parse.rate(fps)) if fps is not None else Multiply(parse.multiplier(DEFAULT_TIME if time is None else time))
    )
    begin = parse.seconds(start, "--start") if start is not None else None
    until = parse.seconds(end, "--end") if end is not None else None
    if until is not None and until <= (begin or 0):
        raise UsageError("--end must be later than --start" if begin else "--end must be later than 0")
    kind = paths.source_kind(src)
    if input_fps is not None and kind == "video":
        raise UsageError("--input-fps is for images; a video has its own timestamps")
    folder = paths.sink_is_folder(dst)
    if folder and (codec is not None or crf is not None):
        raise UsageError("--codec and --crf are for a video output, and the output is a folder of PNG frames")
    paths.check_distinct(src, dst)
    rate = parse.rate(DEFAULT_INPUT_FPS if input_fps is None else input_fps, "--input-fps")
    return Job(src, dst, kind, folder, scale, sides, rhythm, rate, begin, until)


def upscale(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    space: float | None = None,
    size: str | tuple[int, int] | None = None,
    time: int | None = None,
    fps: str | float | Fraction | None = None,
    model: Network | None = None,
    weights: str | os.PathLike[str] | None = None,
    untrained: bool = False,
    device: str = "auto",
    backend: str = "auto",
    dtype: str = "float32",
    cuda_graphs: bool = False,
    codec: str | None = None,
    crf: float | None = None,
    start: str | float | Fraction | None = None,
    end: str | float | Fraction | None = None,
    input_fps: str | float | Fraction | None = None,
    overwrite: bool = False,
    cuts: bool = True,
    audio: bool = True,
    progress: Callable[[int, int | None], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    note: Callable[[str], None] | None = None,
) -> Summary:
    """Enlarge a clip in space and time with VideoINR.

    src: a video file, a folder of images (natural order), or a printf pattern (frame_%04d.png). dst: a .mp4, .mkv or
    .webm file, or a folder for PNG frames (frame_000000.png, ...). It appears complete or not at all.

    space: any positive factor (default 4), or ``size``: "1280x720" or (width, height). Where the video's pixel format
    needs even sides (4:2:0), sizes made by ``space`` are rounded to even numbers and an odd ``size`` is refused.
    time: a whole factor (default 8), or ``fps``: an output rate ("60", "24000/1001", 29.97); output frame n is then at
    the first frame's time + n / fps. Times are exact fractions of the input's timestamps, constant rate or not.

    Counts: N input frames with ``time=k`` give a video of k N frames, of which the last k - 1 repeat the last input
    frame's picture so that the duration stays; a folder gets (N - 1) k + 1 frames. With ``fps`` a video gets every n
    before the last frame's end, a folder every n up to the last frame. A one-frame clip is enlarged and held. Across
    a scene cut the earlier frame is held (``cuts=False`` interpolates there too).

    model: a vinr_engine.Network, such as a VideoINR or a vinr_engine.export.ExportedModel, or ``weights``: a checkpoint
    file, or ``untrained=True``: random weights of a fixed seed; the package's own small network if nothing is given.
    device: auto, cpu, cuda, cuda:N, mps. backend: see vinr_engine.backend; auto is the one in force, such as
    VINR_BACKEND's. dtype: float32, float64, bfloat16 or (GPU) float16; the last two for the encoder, the query stays
    float32. cuda_graphs: record the network's launches on a CUDA device once and replay them, see
    vinr_engine.models.graphs.
    codec, crf: FFmpeg encoder and quality. start, end: seconds or "[HH:]MM:SS[.fff]" from the clip's first frame;
    frames with start <= time < end are used. input_fps: the rate of images (default 25). audio: copy audio packets.

    Colour matrix, range, primaries, transfer and sample aspect ratio are kept, rotation tags are applied to the
    picture, more than 8 bits stay where the encoder has them, alpha is not kept.

    progress(done, total or None) after each output frame; cancel() -> True stops; note(text) gets remarks of one line.
    Raises UsageError, SourceError, SinkError, WeightsError, Cancelled, all VinrError with a message of one line.
    """
    began = clock_time.monotonic()
    job = check(
        src, dst, space=space, size=size, time=time, fps=fps, start=start, end=end, input_fps=input_fps,
        codec=codec, crf=crf,
    )  # fmt: skip
    enlarge.check_device(device)
    enlarge.check_dtype(dtype, device)
    backend = enlarge.check_backend(backend)
    given = model is not None
    enlarge.check_weights(weights, untrained, given)
    say = note or (lambda text: None)
    with ExitStack() as stack:
        files.check_new(job.dst, job.folder, overwrite, FRAMES)
        source = stack.enter_context(open_source(job))
        pictures = ReadAhead(source.pictures())
        stack.callback(pictures.close)
        first = next(pictures)
        info = source.info
        encoding = None if job.folder else encoders.choose(job.dst, codec, crf, info)
        width, height = output_size(job, info, encoding)
        if model is not None:  # before anything is computed
            model.check((height, width), job.clock.positions(), (info.height, info.width))
        for text in (*info.notes, *(encoding.notes if encoding else ())):
            say(text)
        draft = stack.enter_context(files.draft(job.dst, job.folder, FRAMES, SinkError))
        sound = None
        if isinstance(source, VideoSource) and audio and encoding is not None:
            sound = AudioCopy(
                Path(job.src),
                begin=source.origin + (first.time if job.start else 0),
                end=source.origin + job.end if job.end is not None else None,
                trim=bool(job.start) or job.end is not None,
            )
            stack.callback(sound.close)
        lead = sound.lead if sound else Fraction(0)
        rate = nominal_rate(job, info)
        sink: Sink
        if encoding is None:
            sink = FolderSink(draft, job.dst, (width, height), info)
        else:
            sink = VideoSink(draft, job.dst, encoding, (width, height), info, rate, tick(job, info, lead), sound)
        writer = WriteBehind(sink)
        stack.callback(writer.close)
        torch_device = None if model is not None and device == "auto" else enlarge.resolve_device(device, dtype)
        if model is None:
            if untrained:
                say("the network is untrained: its pictures mean nothing (nearly black)")
            model = enlarge.load(weights, untrained)
        enlarger = enlarge.Enlarger(model, (height, width), torch_device, dtype, cuda_graphs)
        stack.callback(enlarger.close)
        total = expected_frames(job, info)
        pipeline = Pipeline(
            enlarger, job.clock, writer, CutDetector() if cuts else None, lead=lead, copies=not job.folder,
            progress=(lambda done: progress(done, total)) if progress else None, cancel=cancel,
        )  # fmt: skip
        counts = _run(pipeline, chain([first], pictures), backend)
    return Summary(
        path=job.dst,
        frames_in=counts.frames_in,
        frames_out=counts.frames_out,
        size=(width, height),
        rate=rate,
        cuts=counts.cuts,
        audio_streams=len(sound.streams) if sound else 0,
        seconds=clock_time.monotonic() - began,
        weights=_weights_name(model if given else None, weights, untrained),
    )


def _weights_name(given: Network | None, weights: str | os.PathLike[str] | None, untrained: bool) -> str:
    if given is not None:
        return given.name
    if untrained:
        return "untrained"
    return enlarge.DEFAULT_NAME if weights is None else os.fspath(weights)


def _run(pipeline: Pipeline, pictures: Iterator[Picture], backend: str) -> Any:
    import torch

    import vinr_engine.backends

    try:
        with torch.inference_mode(), vinr_engine.backends.backend(backend):
            return pipeline.run(pictures)
    except (MemoryError, RuntimeError) as error:
        mapped = enlarge.out_of_memory(error)
        if mapped is None:
            raise
        raise mapped from None


def open_source(job: Job) -> OpenSource:
    """The input of a job; SourceError."""
    if job.kind == "video":
        return VideoSource(Path(job.src), job.start, job.end)
    files = image_source.in_folder(Path(job.src)) if job.kind == "folder" else image_source.by_pattern(job.src)
    return ImageSource(files, job.input_fps, job.start, job.end)


def output_size(job: Job, info: SourceInfo, encoding: Encoding | None) -> tuple[int, int]:
    """Output (width, height); UsageError when it is too large, or odd where it must be even."""
    even = encoding is not None and encoding.subsampled
    if job.size is None:
        return parse.enlarged(info.width, info.height, job.space, even)
    width, height = job.size
    if even and (width % 2 or height % 2):
        assert encoding is not None
        raise UsageError(
            f"--size {width}x{height}: {encoding.codec} with {encoding.pixel_format} needs even sides, "
            f"such as {width + width % 2}x{height + height % 2}"
        )
    return width, height


def nominal_rate(job: Job, info: SourceInfo) -> Fraction:
    """The output's rate for the encoder and the summary."""
    if isinstance(job.clock, Rate):
        return job.clock.fps
    return (info.rate or Fraction(25)) * job.clock.factor


def tick(job: Job, info: SourceInfo, lead: Fraction) -> Fraction:
    """The unit of output timestamps, in seconds: all output times are whole multiples where 32 bits allow it."""
    step = 1 / job.clock.fps if isinstance(job.clock, Rate) else info.tick / job.clock.factor
    return common_unit([step, lead]) or common_unit([step]) or Fraction(1, 1_000_000)


def expected_frames(job: Job, info: SourceInfo) -> int | None:
    """About how many frames the output will have."""
    if info.count is None:
        return None
    if isinstance(job.clock, Multiply):
        return info.count * job.clock.factor if not job.folder else (info.count - 1) * job.clock.factor + 1
    return max(1, round(info.count / (info.rate or Fraction(25)) * job.clock.fps))


__all__ = ["DEFAULT_SPACE", "DEFAULT_TIME", "SinkError", "Summary", "check", "upscale"]
