"""The command `vinr`."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from vinr_engine.errors import Cancelled, UsageError, VinrError, WeightsError
from vinr_engine.export.cli import app as export_app

app = typer.Typer(
    name="vinr",
    help="Continuous space-time video super-resolution with VideoINR.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = "interrupted; nothing was written"
KEEPING = {
    "train": "interrupted; train --resume continues from the last state",
    "prepare": "interrupted; call it again",
}
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Checkpoint: the published latest_G.pth of VideoINR, or a .safetensors [default: the package's own].",
    ),
]
Untrained = Annotated[
    bool, typer.Option("--untrained", help="Random weights: tries the tool; the picture means nothing.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Backend = Annotated[str, typer.Option(help="auto, reference, cpu, triton or cuda (see vinr info).")]
Dtype = Annotated[
    str, typer.Option(help="float32, float64, bfloat16 or (GPU) float16; the last two are faster and less exact.")
]


def version(value: bool) -> None:
    """Print the version and stop."""
    if value:
        import vinr_engine

        typer.echo(f"vinr {vinr_engine.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Continuous space-time video super-resolution with VideoINR."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
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
        from vinr_engine.export.runtimes import open_model

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


def _several(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


@app.command()
def evaluate(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC...",
            help="Videos, folders of frames or of clips, data sets; photographs with --still.",
        ),
    ],
    weights: Weights = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Only the baselines, no network.")] = False,
    protocol: Annotated[str, typer.Option(help="vinr, or videoinr: the published choices.")] = "vinr",
    layout: Annotated[str, typer.Option(help="auto, gopro, adobe240 or vid4.")] = "auto",
    names: Annotated[
        str | None, typer.Option("--list", metavar="FILE", help="Names of the clips of a data set, one a line.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(metavar="S,...", help="Shrink by this: 4, 2.5 or several [default: 4].")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="K,...", help="Keep one of K frames: 2, 4 or several [default: 2; 8 for 240 fps]."),
    ] = None,
    still: Annotated[
        bool, typer.Option("--still", help="Each photograph paired with itself, at scales 2, 3 and 4.")
    ] = False,
    windows: Annotated[str | None, typer.Option(help="shared: windows share kept frames; or disjoint.")] = None,
    border: Annotated[
        int | None, typer.Option(help="Pixels of border that are left out [default: 0; in cropped variants the scale].")
    ] = None,
    bicubic: Annotated[str | None, typer.Option(help="Baselines' kernel: torch (-3/4) or matlab (-1/2).")] = None,
    exact_input: Annotated[bool, typer.Option("--exact-input", help="Do not round shrunk frames to 8 bits.")] = False,
    crop: Annotated[str | None, typer.Option(metavar="WxH", help="Only the middle of each frame.")] = None,
    max_frames: Annotated[int | None, typer.Option(help="Only the first frames of each clip.")] = None,
    tile: Annotated[int, typer.Option(help="Run the network on tiles of so many input pixels a side; 0: off.")] = 0,
    lpips: Annotated[bool, typer.Option("--lpips", help="LPIPS too (needs the extra lpips).")] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for JSON, CSV and a picture sheet.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results in DIR.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    device: Device = "auto",
    backend: Backend = "auto",
    dtype: Dtype = "float32",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no table of variants.")] = False,
) -> None:
    """Measure a checkpoint on true clips: PSNR and SSIM, beside bicubic enlargement and blending.

    Clips are shrunk, all but every K-th frame are dropped, and the network restores them. Kept frames and frames
    between are reported apart; a second table has every variant in which published figures differ. See
    docs/evaluation.md.
    """
    from vinr_engine.evaluation.evaluate import evaluate as run
    from vinr_engine.video.progress import Bar

    with Bar(quiet, "evaluate") as bar:
        found = run(
            sources, weights=weights, baselines=baselines, protocol=protocol, layout=layout, names=names,
            scales=_several(scale), keeps=_several(keep), still=still, windows=windows, border=border, bicubic=bicubic,
            exact_input=exact_input, crop=crop, max_frames=max_frames, tile=tile, lpips=lpips, output=output,
            overwrite=overwrite, device=device, backend=backend, dtype=dtype, progress=bar.update, note=bar.note,
        )  # fmt: skip
    typer.echo(found.as_json() if as_json else found.as_text(variants=not quiet), nl=False)


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """Show versions, the compiled extension, processors and backends."""
    from vinr_engine import info as system

    facts = system.gather()
    typer.echo(system.as_json(facts) if as_json else system.as_text(facts))


@app.command()
def demo(
    out_dir: Annotated[str, typer.Argument(metavar="[OUT_DIR]", help="Folder for the results.")] = "vinr_demo",
    weights: Weights = None,
    device: Device = "auto",
    backend: Backend = "auto",
    dtype: Dtype = "float32",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Upscale the clip that comes with the package, and compare.

    Four times in space and eight times in time, beside the low-resolution clip and a bicubic one.
    """
    from vinr_engine import demo as demonstration

    demonstration.run(
        out_dir, weights=weights, device=device, backend=backend, dtype=dtype, quiet=quiet, say=typer.echo
    )


@app.command()
def train(
    out: Annotated[str, typer.Argument(metavar="OUT_DIR", help="Folder of the run: states, weights, log, pictures.")],
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML file that describes the run.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Instead of --config: stage1, stage2, both (as published), small or gpu.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value, such as optimiser.lr=2e-4."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of clips, such as vinr prepare makes.")
    ] = None,
    names: Annotated[Path | None, typer.Option(metavar="FILE", help="List of the clips to use, a name a line.")] = None,
    init: Annotated[Path | None, typer.Option(metavar="FILE", help="Checkpoint to start from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT_DIR.")] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after this time with a state to resume from.", show_default=False)
    ] = None,
) -> None:
    """Train a network.

    On several processes or machines: torchrun --nproc-per-node N -m vinr_engine.cli train ... . What was trained so
    far lies in OUT_DIR; an interrupted run continues with --resume.
    """
    load, run = _training()
    changes = [*(change or []), *([f"init={init}"] if init is not None else [])]
    run(load(config, preset, changes, data, names), Path(out), resume=resume, say=typer.echo, minutes=minutes)


def _training() -> tuple[Any, Any]:
    """What `vinr train` runs; UsageError where the packages that only training needs are not there."""
    try:
        from vinr_engine.training.config import load
        from vinr_engine.training.loop import train as run
    except ModuleNotFoundError as error:
        raise UsageError(f"train needs the package {error.name}: pip install 'vinr_engine[train]'") from None
    return load, run


@app.command()
def prepare(
    videos: Annotated[Path, typer.Argument(metavar="VIDEOS", help="Folder of video files.")],
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder for the clips, one folder each.")],
    jobs: Annotated[int | None, typer.Option(min=1, help="Videos at once [default: as many as processors].")] = None,
) -> None:
    """Turn videos into clips for `vinr train`: folders of numbered PNG.

    Clips that are there already are skipped, so that the same command continues an interrupted one.
    """
    from vinr_engine.training.prepare import prepare as run

    done = run(videos, out, jobs, say=typer.echo)
    typer.echo(f"{out}: {len(done.made)} made, {len(done.skipped)} there before, {len(done.failed)} failed")
    if done.failed:
        raise typer.Exit(1)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def bench(context: typer.Context) -> None:
    """Measure the ops and the network on this machine; `vinr bench --help` lists the options.

    The benchmarks are part of the repository, not of an installed package.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / "benchmarks" / "cpu" / "run.py").is_file():
        raise UsageError(
            "bench needs a checkout of the repository with this package installed from it (make build): "
            "an installed package holds no benchmarks"
        )
    sys.path.insert(0, str(root))
    from benchmarks.cpu.run import main as run

    raise typer.Exit(run(context.args))


app.add_typer(export_app, name="export")


class Interrupted(KeyboardInterrupt):
    """A class of our own: Python kills itself by SIGINT at exit if a plain KeyboardInterrupt ever left an exec()."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 wrong usage, 1 failure, 130 interrupted."""
    signals: list[int] = []
    command = (sys.argv[1:] if argv is None else argv)[:1]
    interruption = KEEPING.get(command[0] if command else "", INTERRUPTED)

    def interrupted(number: int, frame: Any) -> None:
        signals.append(number)
        raise Interrupted

    with suppress(ValueError):  # outside the main thread the host program minds its signals
        signal.signal(signal.SIGTERM, interrupted)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
            signal.signal(signal.SIGINT, interrupted)
    try:
        code = app(args=argv, standalone_mode=False)
    except BaseException as error:
        # C code turns a KeyboardInterrupt that meets it into errors of its own
        if signals or isinstance(error, (KeyboardInterrupt, typer.Abort)):
            return _fail(interruption, 130)
        return _failure(error)
    # typer turns an interruption into this code
    return _fail(interruption, 130) if code == 130 else code if isinstance(code, int) else 0


def _failure(error: BaseException) -> int:
    """Say in one line what happened; returns the exit code. Raises what is no Exception, and all with VINR_DEBUG."""
    if isinstance(error, (UsageError, WeightsError)):
        return _fail(str(error), 2)
    if isinstance(error, VinrError):
        return _fail(str(error), 130 if isinstance(error, Cancelled) else 1)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if hasattr(error, "format_message"):
        # typer's own usage errors: its click is a private copy, so they are known by their shape
        text = " ".join(error.format_message().split())
        return _fail(text or "no command was given (vinr --help lists them)", 2)
    if os.environ.get("VINR_DEBUG") or not isinstance(error, Exception):
        raise error
    return _fail(f"{type(error).__name__}: {' '.join(str(error).split())} (VINR_DEBUG=1 shows where)", 1)


def _fail(message: str, code: int) -> int:
    print(f"vinr: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
