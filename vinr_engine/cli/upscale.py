"""The command `vinr upscale`."""

from __future__ import annotations

from typing import Annotated

import typer

from vinr_engine.cli.options import Backend, Device, Dtype, Untrained, Weights
from vinr_engine.errors import UsageError


def upscale(
    src: Annotated[
        str, typer.Argument(metavar="SRC", help="Video file, folder of images, or pattern such as frame_%04d.png.")
    ],
    dst: Annotated[str, typer.Argument(metavar="DST", help="A .mp4, .mkv or .webm file, or a folder for PNG frames.")],
    space: Annotated[
        float | None, typer.Option(help="Enlargement in space, any positive number [default: 4].", show_default=False)
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Output size in pixels instead of --space, such as 1280x720.")
    ] = None,
    time: Annotated[
        int | None, typer.Option(help="Output frames per input frame [default: 8].", show_default=False)
    ] = None,
    fps: Annotated[
        str | None, typer.Option(metavar="RATE", help="Output rate instead of --time: 60, 24000/1001, 29.97.")
    ] = None,
    weights: Weights = None,
    untrained: Untrained = False,
    device: Device = "auto",
    backend: Backend = "auto",
    dtype: Dtype = "float32",
    cuda_graphs: Annotated[
        bool,
        typer.Option("--cuda-graphs", help="Record the network's launches on a CUDA device once (never run so far)."),
    ] = False,
    codec: Annotated[
        str | None,
        typer.Option(help="FFmpeg video encoder [default: libx264; libvpx-vp9 for .webm].", show_default=False),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option(help="Encoder quality, lower is better [default: 17 for libx264].", show_default=False),
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="First moment used: seconds or [HH:]MM:SS[.fff].")
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Moment from which nothing is used.")] = None,
    input_fps: Annotated[
        str | None, typer.Option(metavar="RATE", help="Rate of images, which have none [default: 25].")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DST if it exists.")] = False,
    no_cuts: Annotated[bool, typer.Option("--no-cuts", help="Interpolate across scene cuts too.")] = False,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the audio out.")] = False,
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
    from vinr_engine.video.progress import Bar
    from vinr_engine.video.upscale import upscale as run

    exported = None
    if runtime is not None or model is not None or provider is not None:
        from vinr_engine.export.runtimes.open import open_model

        if weights is not None or untrained or device not in ("auto", "cpu") or dtype != "float32" or backend != "auto":
            raise UsageError(
                "--runtime excludes --weights, --untrained, --device, --dtype and --backend: the model holds them"
            )
        exported = open_model(model, runtime, provider)
    with Bar(quiet) as bar:
        summary = run(
            src, dst, model=exported, space=space, size=size, time=time, fps=fps, weights=weights,
            untrained=untrained, device=device, backend=backend, dtype=dtype, cuda_graphs=cuda_graphs, codec=codec,
            crf=crf, start=start, end=end, input_fps=input_fps, overwrite=overwrite, cuts=not no_cuts,
            audio=not no_audio, progress=bar.update, note=bar.note,
        )  # fmt: skip
    if not quiet:
        width, height = summary.size
        rate = "" if summary.rate is None else f", {float(summary.rate):.6g} fps"
        cuts = f", {summary.cuts} scene cut{'s' if summary.cuts > 1 else ''}" if summary.cuts else ""
        typer.echo(
            f"{summary.path}: {summary.frames_out} frames from {summary.frames_in}, {width}x{height}{rate}{cuts}, "
            f"{summary.seconds:.1f} s, weights: {summary.weights}"
        )
