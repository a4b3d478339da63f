"""A whole clip, from file to file: carries a job's plan out with a network, chunk by chunk, and joins the chunks."""

from __future__ import annotations

import os
import time as clock_time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vinr_engine import files, memory
from vinr_engine._version import __version__
from vinr_engine.errors import Cancelled, SinkError, SourceError, is_full, printable

from . import enlarge
from .chunks import ChunkWriter, Kept
from .cuts import CutDetector
from .io import inputs, outputs, spool
from .io.selection import Part
from .io.source import OpenSource, Picture
from .io.streams import Streams
from .io.target import Target
from .io.video_source import VideoSource
from .job import Job, Seconds
from .journal import Counts, Journal
from .pipeline import Pipeline
from .plan import Plan, Wanted, arguments, plan, wanted
from .resume import pictures_from, remarked
from .summary import Summary
from .threads import ReadAhead, WriteBehind, seconds_of

if TYPE_CHECKING:
    import torch

MOST_THREADS = 16
"""Of an encoder: more make pictures worse, and take memory."""


def upscale(src: str | os.PathLike[str], dst: str | os.PathLike[str], **options: Any) -> Summary:
    """Enlarge a clip in space and time; the options are the fields of `vinr_engine.video.job.Job`, by name.

    Raises UsageError, SourceError, SinkError, WeightsError, Cancelled, all VinrError with a message of one line.
    """
    return render(Job(os.fspath(src), os.fspath(dst), **options))


def render(job: Job, runs: Callable[..., Run] | None = None) -> Summary:
    """See `upscale`. ``runs``: what is called in place of `Run`."""
    began = clock_time.monotonic()
    wanted(job)
    if job.src == spool.STANDARD:
        with spool.spooled(job.dst) as path:
            return render(replace(job, src=path), runs)
    kind = inputs.source_kind(job.src)
    output = outputs.kind_of(job.dst)(job.dst, job.codec, job.crf)
    time, fps = output.times(kind == "image", job.time, job.fps)
    job = replace(job, time=time, fps=fps)
    numbers = wanted(job)
    inputs.check_distinct(job.src, output.place)
    backend = enlarge.check(job, job.untrained)
    journal = Journal(output.place)
    journal.tidy()
    if not journal.exists:
        files.check_new(output.place, output.folder, job.overwrite, output.ours)
    try:
        with journal, ExitStack() as stack:
            run = (runs or Run)(job, numbers, output, journal, stack)
            if not journal.finished:
                files.check_new(output.place, output.folder, job.overwrite, output.ours)
                if journal.counts is None:
                    run.compute(backend)
                run.join()
            summary = run.summary(clock_time.monotonic() - began)
            journal.remove()
    except SinkError as error:
        if not is_full(error):
            raise
        then = "first" if journal.chunks else "and give the same command again"
        raise SinkError(f"{error}; free some space on the disk of {journal.final.parent} {then}") from None
    return summary


class Run:
    """One call of `render`, from its plan to the output; what is open is closed by ``stack``."""

    def __init__(self, job: Job, numbers: Wanted, output: outputs.Output, journal: Journal, stack: ExitStack) -> None:
        """Open the source, and take up what an earlier run has done. Errors: as `upscale`."""
        self.job, self.numbers, self.output, self.journal = job, numbers, output, journal
        note = job.note or (lambda text: None)
        self.say: Callable[[str], None] = lambda text: note(printable(text))  # a file's tags may be called anything
        self.stages = Seconds()
        source = stack.enter_context(self._open())
        info = source.info
        accepts = output.settle(info)
        self.plan: Plan = plan(numbers, info, accepts)
        width, height = self.plan.size
        if job.model is not None:  # before anything is computed
            job.model.check((height, width), self.plan.clock.positions(), (info.height, info.width))
        self.source = source
        self.accepts = accepts
        self.streams: Streams | None = None
        if isinstance(source, VideoSource):
            part = Part(
                begin=source.origin + self._first_time(),
                end=None if numbers.end is None else source.origin + numbers.end,
                trim=bool(numbers.start) or numbers.end is not None,
            )
            self.streams = Streams(Path(job.src), source.stream.index, part, accepts.container, job.audio)
            stack.callback(self.streams.close)
        self.lead = self.streams.lead if self.streams else Fraction(0)
        self.model = enlarge.load(job.weights, job.untrained) if job.model is None else job.model
        self.device, limit = self._place()
        threads = min(MOST_THREADS, -(-3 * (os.cpu_count() or 1) // 2))
        # Of these, what one run found is for all that go on with it: pictures and packets depend on them.
        settled = journal.begin(self._head({"threads": threads, "memory": limit}), job.restart)
        self.memory = limit if job.memory is not None or settled["memory"] is None else settled["memory"]
        self.resumed = journal.frames
        constant = accepts.container is not None and accepts.container.constant
        tick = 1 / self.plan.rate if constant else self.plan.tick(self.lead)
        self.target = Target(
            self.plan.size, replace(info, aspect=self.plan.aspect), self.plan.rate, tick, settled["threads"]
        )
        if self.resumed:
            self.say(f"{self.resumed} output frames are done: going on from there")
        lost = [*accepts.left_out, *info.unkept]
        alone = [f"left out: {', '.join(lost)}"] if lost else []
        left_out = self.streams.notes(lost) if self.streams else alone
        for text in (*info.notes, *accepts.notes, *output.remarks(self.target), *left_out):
            self.say(text)

    def _open(self) -> OpenSource:
        return inputs.open_source(self.job.src, self.numbers.reading, self.output.scene)

    def _place(self) -> tuple[torch.device | None, int | None]:
        """The device, None for the model's own, and the bytes to stay within."""
        job = self.job
        given = job.model is not None and job.device == "auto"
        device = None if given else enlarge.resolve_device(job.device, job.dtype)
        return device, memory.budget(job.memory, device or self.model.device)

    def _first_time(self) -> Fraction:
        """Of the first frame that is used."""
        if not self.numbers.start:
            return Fraction(0)
        with self._open() as probe:
            return next(iter(probe.pictures())).time

    def _head(self, settled: dict[str, Any]) -> dict[str, Any]:
        """What the journal says of the job, so that no other one goes on with it."""
        job = self.job
        return {
            "vinr": __version__,
            "source": {"name": job.src, "fingerprint": inputs.fingerprint(job.src)},
            "weights": {"name": self.weights, "digest": enlarge.digest(self.model)},
            "arguments": arguments(job),
            "settled": settled,
        }

    @property
    def weights(self) -> str:
        """What the summary calls the network."""
        return "untrained" if self.job.untrained else enlarge.name_of(self.job)

    def compute(self, backend: str) -> None:
        """All chunks that are not there yet."""
        job, journal = self.job, self.journal
        self.output.check(self.target, self.streams)
        with ExitStack() as stack:
            pictures = ReadAhead(remarked(pictures_from(self.source, journal.mark, self._open, self.say), self.say))
            stack.callback(pictures.close)
            writer = WriteBehind(ChunkWriter(self.output, self.target, journal))
            stack.callback(writer.close)
            if job.untrained:
                self.say(enlarge.UNTRAINED)
            width, height = self.plan.size
            frames = self.target.info.height, self.target.info.width
            if job.memory is not None and self.model.need(frames, (height, width)) is None:
                self.say("this network does not say what it needs: --memory does not bound it")
            enlarger = enlarge.Enlarger(
                self.model, (height, width), self.device, job.dtype, job.cuda_graphs, frames, self.memory
            )
            stack.callback(enlarger.close)
            detector = CutDetector() if job.cuts else None
            began = clock_time.monotonic()

            def stages() -> Seconds:
                return seconds_of(clock_time.monotonic() - began, pictures, writer)

            def progress(done: int, total: int | None) -> None:
                if job.stages is not None:
                    job.stages(stages())
                if job.progress is not None:
                    job.progress(done, total)

            pipeline = Pipeline(enlarger, self.plan, writer, detector, self.lead, journal.mark, progress, job.cancel)
            progress(self.resumed, self.plan.total)
            try:
                counts = None
                with suppress(Cancelled):
                    counts = run_network(pipeline, pictures, backend)
                if counts is None:
                    writer.flush()
                    self._interrupted()
                else:
                    writer.finish(counts)
            except SourceError as error:
                with suppress(SinkError):
                    writer.flush()  # what lies before is not in vain
                raise SourceError(f"{error}{self._kept()}") from None
            except SinkError as error:
                raise SinkError(f"{error}{self._kept()}") from None
            self.stages = stages()

    def _kept(self) -> str:
        """How to go on, to end a message with."""
        frames = self.journal.frames
        if not frames or not self.output.resumes:
            return ""
        total = f" of about {self.plan.total}" if self.plan.total else ""
        return f"; {frames}{total} output frames are kept, and the same command goes on from there"

    def _interrupted(self) -> None:
        if not self.journal.frames:
            raise Cancelled("interrupted; nothing was written")
        if not self.output.resumes:
            raise Cancelled(f"interrupted; {self.journal.frames} output frames were written")
        partial = ""
        if self.job.keep_partial:
            path = self.journal.partial()
            files.check_new(str(path), self.output.folder, overwrite=True, ours=self.output.ours)
            with files.draft(path, self.output.folder, self.output.ours, SinkError) as new:
                self.output.join(Kept(self.journal, whole=False), new, self.target, self.streams)
            partial = f"; {path} holds them, and plays"
        raise Cancelled(f"interrupted{self._kept()}{partial}")

    def join(self) -> None:
        """The output, from all chunks."""
        began = clock_time.monotonic()
        try:
            if not self.journal.joined:
                self.output.join(Kept(self.journal), self.journal.result, self.target, self.streams)
            for text in self.output.late:
                self.say(text)
            self.journal.rename(self.output.ours, self.job.overwrite)
        except SinkError as error:
            self.journal.discard()
            raise SinkError(f"{error}{self._kept()}") from None
        self.stages = replace(self.stages, join=clock_time.monotonic() - began)

    def summary(self, seconds: float) -> Summary:
        """After `join`."""
        counts = self.journal.counts
        assert counts is not None
        unkept = dict.fromkeys([*self.target.info.unkept, *counts.unkept])
        return Summary(
            path=self.job.dst,
            frames_in=counts.frames_in,
            frames_out=counts.frames_out,
            size=self.plan.size,
            rate=self.plan.rate if self.accepts.timed else None,
            cuts=counts.cuts,
            repeats=counts.repeats,
            seconds=seconds,
            weights=self.weights,
            resumed=self.resumed,
            stages=replace(self.stages, total=seconds),
            faults=counts.faults,
            streams=self.streams.carried if self.streams else (),
            kept=(*self.accepts.kept, *(self.streams.kept if self.streams else ())),
            left_out=(*self.accepts.left_out, *unkept, *(self.streams.left_out if self.streams else ())),
        )


def run_network(pipeline: Pipeline, pictures: Iterator[Picture], backend: str, until: int | None = None) -> Counts:
    """`Pipeline.run`, with PyTorch set for it. Errors: its own; SourceError where memory does not suffice."""
    import torch

    import vinr_engine.backends

    try:
        with torch.inference_mode(), vinr_engine.backends.backend(backend):
            return pipeline.run(pictures, until)
    except (MemoryError, RuntimeError) as error:
        mapped = enlarge.out_of_memory(error)
        if mapped is None:
            raise
        raise mapped from None
