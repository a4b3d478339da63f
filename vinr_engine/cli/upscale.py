"""The command `vinr upscale`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vinr_engine.cli import interruption
from vinr_engine.cli.loading import load_torch
from vinr_engine.cli.options import taking
from vinr_engine.errors import Cancelled, UsageError
from vinr_engine.video.job import Job, NetworkOptions
from vinr_engine.video.plan import wanted

if TYPE_CHECKING:
    from vinr_engine.frontends.queue import Entry, Pair
    from vinr_engine.video.summary import Summary

Where = Callable[[], "AbstractContextManager[Callable[[Job], Summary] | None]"]
"""Gives what renders in place of `render`, or None."""
_SRC, _DST = (field.metadata["help"] for field in fields(Job) if field.name in ("src", "dst"))


@taking(Job, without=("src", "dst"))
def upscale(
    options: dict[str, Any],
    src: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SRC",
            show_default=False,
            help=f"{_SRC} With --output-dir several, folders of videos and globs too.",
        ),
    ] = None,
    dst: Annotated[
        str | None, typer.Argument(metavar="DST", show_default=False, help=f"{_DST} Not with --output-dir.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--output-dir",
            "-o",
            metavar="DIR",
            show_default=False,
            help="Upscale each SRC into this folder, under its own name; those that are there already are skipped.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="SUFFIX",
            show_default=False,
            help="What --output-dir gets: .mp4, .gif, ...; or png, tif, ... for images, a folder of each clip's "
            "[default: SRC's suffix, else .mkv].",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            show_default=False,
            help="Let a Ray cluster make the segments: local, auto, HOST:PORT or ray://HOST:PORT. All its "
            "machines must see SRC under one path, and have this version of vinr_engine.",
        ),
    ] = None,
    ray_cpus: Annotated[
        int | None,
        typer.Option(metavar="N", show_default=False, help="CPUs for each segment with --ray [default: 1]."),
    ] = None,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="The same as --audio none.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was done as JSON, and nothing else on standard output.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")] = False,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="onnxruntime, openvino or tensorrt: run the exported --model instead of torch.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="What vinr export wrote, for --runtime: DIR, NAME.engine.", show_default=False
        ),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(help="ONNX Runtime's execution provider (CPU, CUDA), or OpenVINO's device.", show_default=False),
    ] = None,
) -> None:
    """Enlarge a clip in space and time, or with --output-dir many.

    A video of N frames becomes one of k N frames with --time k: the last k - 1 hold the last picture, so that the
    duration stays. Images get (N - 1) k + 1 frames and no copies. With --fps, output frame n lies at n / fps
    after the first. Across a scene cut the earlier picture is held. A single frame is enlarged and held.

    Sides made by --space are rounded to even numbers where the video format needs that (4:2:0). Colour tags and
    sample aspect ratio are kept, rotation tags are applied, everything else in SRC is kept or named, alpha is dropped
    (images: laid over black). DST appears complete or not at all.

    What is done is kept in .NAME.vinr beside DST until then. After Ctrl-C, a crash or a full disk the same command goes
    on from there. Ctrl-C once finishes the frame at hand, twice stops at once.

    With --output-dir one clip after another is done. One that fails does not stop the others: a table at the end says
    what became of each, and the exit code is 1. The same command again does those that are left.
    """
    paths = [*(src or []), *([] if dst is None else [dst])]  # with --output-dir the last one is a SRC as well
    if not paths:
        raise UsageError("SRC and DST are missing")
    if no_audio:
        if options["audio"] not in (Job.audio, "none"):
            raise UsageError("--no-audio and --audio exclude each other")
        options["audio"] = "none"
    job = Job("", "", **options)
    wanted(job)  # numbers that are wrong are said at once
    exported = (runtime, model, provider)
    if exported != (None, None, None) and (
        job.untrained
        or job.device not in ("auto", "cpu")
        or any(getattr(job, name) != getattr(NetworkOptions, name) for name in ("weights", "dtype", "backend"))
    ):
        raise UsageError(
            "--runtime excludes --weights, --untrained, --device, --dtype and --backend: the model holds them"
        )
    if ray is None and ray_cpus is not None:
        raise UsageError("--ray-cpus is for --ray")
    if ray is not None and exported != (None, None, None):
        raise UsageError("--ray excludes --runtime: it sends networks of PyTorch alone")
    if ray is not None and paths[-1] == "-" and out is None:
        raise UsageError("--ray does not write to standard output: name a file")
    where = partial(_rendering, ray, 1 if ray_cpus is None else ray_cpus)
    if out is not None:
        _queue(job, where, exported, paths, out, to, as_json, quiet)
        return
    if to is not None:
        raise UsageError("--to is for --output-dir; DST's name says what it is")
    if len(paths) != 2:
        said = "DST is missing" if len(paths) == 1 else f"SRC and DST are two names, got {len(paths)}"
        raise UsageError(f"{said}; several clips go into a folder: upscale SRC... --output-dir DIR")
    _one(replace(job, src=paths[0], dst=paths[1]), where, exported, as_json, quiet)


@contextmanager
def _rendering(address: str | None, cpus: int) -> Iterator[Callable[[Job], Summary] | None]:
    """What renders in place of `render`, if there is a cluster's address."""
    if address is None:
        yield None
        return
    from vinr_engine.frontends.ray import connected

    with connected(address, cpus) as cluster:
        yield cluster.render


def _with_model(job: Job, exported: tuple[str | None, ...]) -> Job:
    if exported == (None, None, None):
        return job
    from vinr_engine.export.runtimes.open import open_model

    runtime, model, provider = exported
    return replace(job, model=open_model(model, runtime, provider))


def _one(job: Job, where: Where, exported: tuple[str | None, ...], as_json: bool, quiet: bool) -> None:
    load_torch()
    from vinr_engine.frontends import queue, report
    from vinr_engine.video.progress import Bar
    from vinr_engine.video.render import render

    job = _with_model(job, exported)
    with where() as renders, Bar(quiet) as bar, interruption.asking(bar.note) as asked:
        summary = (renders or render)(replace(job, progress=bar.update, stages=bar.stages, cancel=asked, note=bar.note))
    entry = queue.Entry(queue.Pair(job.src, job.dst), queue.DONE, summary)
    beside = job.dst == "-"  # pictures are on standard output
    if as_json:
        typer.echo(report.as_json([entry]), err=beside)
    elif not quiet:
        typer.echo(report.as_line(entry), err=beside)
        typer.echo(report.fidelity(summary), err=beside)
        typer.echo(report.stages(summary.stages), err=beside)


def _queue(
    job: Job,
    where: Where,
    exported: tuple[str | None, ...],
    sources: list[str],
    out: str,
    to: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    from vinr_engine.frontends import queue, report

    pairs = queue.plan(sources, out, to)
    load_torch()
    from vinr_engine.video.progress import Bar

    job = _with_model(job, exported)
    entries: list[Entry] = []

    def begin(number: int, pair: Pair) -> None:
        bar.begin(f"{number + 1} of {len(pairs)}: {pair.src}")

    def tell() -> None:
        left = [queue.Entry(pair, queue.WAITING) for pair in pairs[len(entries) :]]
        if as_json:
            typer.echo(report.as_json([*entries, *left]))
        elif not quiet:
            typer.echo(report.as_text([*entries, *left]))

    try:
        with where() as renders, Bar(quiet) as bar, interruption.asking(bar.note) as asked:
            job = replace(job, progress=bar.update, stages=bar.stages, cancel=asked, note=bar.note)
            for entry in queue.run(pairs, job, begin, interruption.came, renders):
                entries.append(entry)
                if not quiet or entry.status == queue.FAILED:
                    bar.say(f"{len(entries)} of {len(pairs)}: {report.as_line(entry)}")
    except (KeyboardInterrupt, Cancelled) as error:
        tell()
        done = sum(entry.status in (queue.DONE, queue.SKIPPED) for entry in entries)
        text = f"interrupted; {done} of {len(pairs)} are done, the same command does the others"
        interruption.say(text)
        if isinstance(error, Cancelled):
            raise Cancelled(text) from None
        raise
    tell()
    if any(entry.status == queue.FAILED for entry in entries):
        raise typer.Exit(1)
