"""A whole clip, from file to file: carries a job's plan out with a network."""

from __future__ import annotations

import os
import time as clock_time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

from vinr_engine import files, memory
from vinr_engine.errors import SinkError, UsageError

from . import enlarge
from .cuts import CutDetector
from .io import inputs, outputs
from .io.audio import AudioCopy
from .io.source import Picture
from .io.video_source import VideoSource
from .job import Job
from .pipeline import Counts, Pipeline
from .plan import plan, wanted
from .threads import ReadAhead, WriteBehind


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


def upscale(src: str | os.PathLike[str], dst: str | os.PathLike[str], **options: Any) -> Summary:
    """Enlarge a clip in space and time; the options are the fields of `vinr_engine.video.job.Job`, by name.

    Raises UsageError, SourceError, SinkError, WeightsError, Cancelled, all VinrError with a message of one line.
    """
    return render(Job(os.fspath(src), os.fspath(dst), **options))


def render(job: Job) -> Summary:
    """See `upscale`."""
    began = clock_time.monotonic()
    numbers = wanted(job)
    src, dst = job.src, job.dst
    if inputs.source_kind(src) == "video" and job.input_fps is not None:
        raise UsageError("--input-fps is for images; a video has its own timestamps")
    output = outputs.kind_of(dst)(dst, job.codec, job.crf)
    inputs.check_distinct(src, dst)
    backend = enlarge.check(job, job.untrained)
    say = job.note or (lambda text: None)
    with ExitStack() as stack:
        files.check_new(dst, output.folder, job.overwrite, output.ours)
        source = stack.enter_context(inputs.open_source(src, numbers.input_fps, numbers.start, numbers.end))
        pictures = ReadAhead(source.pictures())
        stack.callback(pictures.close)
        first = next(pictures)
        info = source.info
        accepts = output.settle(info)
        what = plan(numbers, info, accepts)
        size = (what.size[1], what.size[0])
        if job.model is not None:  # before anything is computed
            job.model.check(size, what.clock.positions(), (info.height, info.width))
        for text in (*info.notes, *accepts.notes):
            say(text)
        draft = stack.enter_context(files.draft(dst, output.folder, output.ours, SinkError))
        sound = None
        if isinstance(source, VideoSource) and job.audio and accepts.audio:
            sound = AudioCopy(
                Path(src),
                begin=source.origin + (first.time if numbers.start else 0),
                end=None if numbers.end is None else source.origin + numbers.end,
                trim=bool(numbers.start) or numbers.end is not None,
            )
            stack.callback(sound.close)
        lead = sound.lead if sound else Fraction(0)
        writer = WriteBehind(output.open(draft, what.size, info, what.rate, what.tick(lead), sound))
        stack.callback(writer.close)
        given = job.model is not None and job.device == "auto"
        device = None if given else enlarge.resolve_device(job.device, job.dtype)
        if job.untrained:
            say("the network is untrained: its pictures mean nothing (nearly black)")
        model = enlarge.load(job.weights, job.untrained) if job.model is None else job.model
        limit = memory.budget(job.memory, device or model.device)
        enlarger = enlarge.Enlarger(model, size, device, job.dtype, job.cuda_graphs, (info.height, info.width), limit)
        stack.callback(enlarger.close)
        pipeline = Pipeline(
            enlarger, what.clock, writer, CutDetector() if job.cuts else None, lead, what.copies, what.total,
            job.progress, job.cancel,
        )  # fmt: skip
        counts = _run(pipeline, chain([first], pictures), backend)
    return Summary(
        path=dst,
        frames_in=counts.frames_in,
        frames_out=counts.frames_out,
        size=what.size,
        rate=what.rate,
        cuts=counts.cuts,
        audio_streams=len(sound.streams) if sound else 0,
        seconds=clock_time.monotonic() - began,
        weights="untrained" if job.untrained else enlarge.name_of(job),
    )


def _run(pipeline: Pipeline, pictures: Iterator[Picture], backend: str) -> Counts:
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
