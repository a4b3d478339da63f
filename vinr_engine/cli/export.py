"""The commands `vinr export ...`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vinr_engine.cli.loading import load_torch
from vinr_engine.errors import UsageError

WEIGHTS_HELP = "Checkpoint of a VideoINR, or for onnx of a BF-STVSR [default: a small VideoINR of the package]."

app = typer.Typer(help="Write a network for other runtimes.", rich_markup_mode=None, no_args_is_help=True)


def _numbers(text: str | None, option: str) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} must be numbers separated by commas, got {text!r}") from None


def _network(weights: str | None, untrained: bool) -> Any:
    """The network of a checkpoint, or of --untrained; without either, the package's own that can be exported."""
    from vinr_engine.models import SMALL_VIDEOINR
    from vinr_engine.video import enlarge

    return enlarge.load(SMALL_VIDEOINR if weights is None and not untrained else weights, untrained)


@app.callback()
def root() -> None:
    """Write a network for other runtimes."""


@app.command()
def onnx(
    out: Annotated[
        str,
        typer.Argument(metavar="OUT", help="Folder for encoder.onnx and query.onnx; NAME.onnx: NAME.encoder.onnx ..."),
    ],
    weights: Annotated[str | None, typer.Option(metavar="FILE", help=WEIGHTS_HELP)] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Random weights: tries the export.")] = False,
    profile: Annotated[
        str, typer.Option(help="portable: standard nodes; plugin: nodes of the TensorRT plugin library.")
    ] = "portable",
    deform_conv: Annotated[
        str,
        typer.Option(help="grid_sample: runs everywhere; deform_conv: faster in ONNX Runtime (portable profile)."),
    ] = "grid_sample",
    dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    frame_upsample: Annotated[
        str, typer.Option(metavar="N|input", help="Enlargement of the colours that are read; input: given at each run.")
    ] = "4",
    times: Annotated[
        str | None,
        typer.Option(metavar="T,T,...", help="Times in [0, 1] to fix (vinr upscale needs 0 and 1 too); else given."),
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Output size to fix; else given at each run.")] = None,
    opset: Annotated[int, typer.Option(help="ONNX opset, 20 to 22.")] = 20,
    layers: Annotated[
        str, typer.Option(help="blocks: of pixels in turn, fast on processors; whole: all pixels at once, for GPUs.")
    ] = "blocks",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Write the network as two ONNX files: the encoder of a pair of frames, and the query.

    `vinr upscale --runtime onnxruntime --model OUT` then upscales a video with them.
    """
    load_torch()
    from vinr_engine.export.onnx.model import to_onnx
    from vinr_engine.video import enlarge, parse

    upsample: int | None = None
    if frame_upsample != "input":
        if not frame_upsample.isdecimal():
            raise UsageError(f"--frame-upsample must be a whole number or input, got {frame_upsample!r}")
        upsample = int(frame_upsample)
    sides = None if size is None else parse.size(size)
    enlarge.check_weights(weights, untrained, given=False)
    pair = to_onnx(
        _network(weights, untrained), out, profile=profile, deform_conv=deform_conv, dtype=dtype,
        frame_upsample=upsample, times=_numbers(times, "--times"), size=None if sides is None else (sides[1], sides[0]),
        opset=opset, layers=layers, overwrite=overwrite,
    )  # fmt: skip
    for path in (pair.encoder, pair.query):
        typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def _sizes(text: str, option: str) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """ "64x64,320x180,960x540" -> three of (height, width)"""
    from vinr_engine.video import parse

    parts = text.split(",")
    if len(parts) != 3:
        raise UsageError(f"{option} must be MIN,OPT,MAX, each as WxH, got {text!r}")
    low, usual, high = ((height, width) for width, height in map(parse.size, parts))
    return low, usual, high


@app.command()
def tensorrt(
    out: Annotated[
        str, typer.Argument(metavar="OUT.engine", help="OUT.encoder.engine, OUT.query.engine and OUT.json are written.")
    ],
    weights: Annotated[str | None, typer.Option(metavar="FILE", help=WEIGHTS_HELP)] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Random weights: tries the export.")] = False,
    builder: Annotated[
        str | None, typer.Option(help="tensorrt or tensorrt-rtx [default: the first that is installed].")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="SM,SM,...", help="GPUs of tensorrt-rtx: SM80, SM86, SM89, SM120 [all].")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float16 or float32.")] = "float16",
    frames: Annotated[
        str, typer.Option(metavar="MIN,OPT,MAX", help="Sizes of the input frames.")
    ] = "64x64,320x180,960x540",
    outputs: Annotated[
        str, typer.Option(metavar="MIN,OPT,MAX", help="Sizes of the output.")
    ] = "64x64,1280x720,3840x2160",
    workspace: Annotated[
        int | None, typer.Option(metavar="MB", min=1, help="GPU memory that a tactic may take [the builder's choice].")
    ] = None,
    timing_cache: Annotated[str | None, typer.Option(metavar="FILE", help="Kept between builds (tensorrt).")] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="plugin or portable [default: plugin for tensorrt, portable for tensorrt-rtx]."),
    ] = None,
    plugin_library: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Plugin library, see docs/tensorrt-plugins.md [default: $VINR_TENSORRT_PLUGINS]."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Build TensorRT engines of both graphs; with tensorrt-rtx no GPU is needed.

    No engine was ever run by those who wrote this: they had no GPU. vinr_engine.export.Engine is to run them.
    """
    load_torch()
    import json

    from vinr_engine.export.tensorrt.build import to_tensorrt
    from vinr_engine.export.tensorrt.engine_files import Limits
    from vinr_engine.video import enlarge

    enlarge.check_weights(weights, untrained, given=False)
    targets = [name.strip().upper() for name in gpu.split(",")] if gpu else []
    limits = Limits(_sizes(frames, "--frames"), _sizes(outputs, "--outputs"))
    files = to_tensorrt(
        _network(weights, untrained), out, builder=builder, targets=targets, dtype=dtype,
        limits=limits, workspace=None if workspace is None else workspace << 20, timing_cache=timing_cache,
        profile=profile, plugin_library=plugin_library, overwrite=overwrite,
        note=lambda text: typer.echo(text, err=True),
    )  # fmt: skip
    report = json.loads(files.report.read_text())
    for path, graph in ((files.encoder, "encoder"), (files.query, "query")):
        facts = report["graphs"][graph]
        typer.echo(f"{path}: {facts['bytes'] / 1e6:.1f} MB, built in {facts['seconds']:.0f} s")
