"""The command `vinr evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vinr_engine.cli.options import taking
from vinr_engine.video.job import NetworkOptions


def _several(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


@taking(NetworkOptions)
def evaluate(
    options: dict[str, Any],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC...",
            help="Videos, folders of frames or of clips, data sets; photographs with --still.",
        ),
    ],
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
            sources, baselines=baselines, protocol=protocol, layout=layout, names=names,
            scales=_several(scale), keeps=_several(keep), still=still, windows=windows, border=border, bicubic=bicubic,
            exact_input=exact_input, crop=crop, max_frames=max_frames, tile=tile, lpips=lpips, output=output,
            overwrite=overwrite, **options, progress=bar.update, note=bar.note,
        )  # fmt: skip
    typer.echo(found.as_json() if as_json else found.as_text(variants=not quiet), nl=False)
