"""The command `vinr upscale`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vinr_engine.cli.loading import load_torch
from vinr_engine.cli.options import taking
from vinr_engine.errors import UsageError
from vinr_engine.video.job import Job, NetworkOptions
from vinr_engine.video.plan import wanted


@taking(Job)
def upscale(
    options: dict[str, Any],
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
    """Enlarge a clip in space and time.

    A video of N frames becomes one of k N frames with --time k: the last k - 1 hold the last picture, so that the
    duration stays. A folder of PNG gets (N - 1) k + 1 frames and no copies. With --fps, output frame n lies at n / fps
    after the first. Across a scene cut the earlier picture is held. A single frame is enlarged and held.

    Sides made by --space are rounded to even numbers where the video format needs that (4:2:0). Colour tags and
    sample aspect ratio are kept, rotation tags are applied, audio is copied packet by packet, alpha is dropped
    (images: laid over black). DST appears complete or not at all.
    """
    wanted(Job(**options))  # numbers that are wrong are said at once
    load_torch()
    from vinr_engine.video.progress import Bar
    from vinr_engine.video.render import render

    exported = None
    if runtime is not None or model is not None or provider is not None:
        from vinr_engine.export.runtimes.open import open_model

        if (
            options["untrained"]
            or options["device"] not in ("auto", "cpu")
            or any(options[name] != getattr(NetworkOptions, name) for name in ("weights", "dtype", "backend"))
        ):
            raise UsageError(
                "--runtime excludes --weights, --untrained, --device, --dtype and --backend: the model holds them"
            )
        exported = open_model(model, runtime, provider)
    with Bar(quiet) as bar:
        summary = render(Job(**options, model=exported, progress=bar.update, note=bar.note))
    if not quiet:
        width, height = summary.size
        rate = "" if summary.rate is None else f", {float(summary.rate):.6g} fps"
        cuts = f", {summary.cuts} scene cut{'s' if summary.cuts > 1 else ''}" if summary.cuts else ""
        typer.echo(
            f"{summary.path}: {summary.frames_out} frames from {summary.frames_in}, {width}x{height}{rate}{cuts}, "
            f"{summary.seconds:.1f} s, weights: {summary.weights}"
        )
