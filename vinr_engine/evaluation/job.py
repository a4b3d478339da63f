"""What is asked of an evaluation: its only list of arguments, with their help and defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from vinr_engine.video.job import NetworkOptions, argument, option


@dataclass(frozen=True)
class Evaluation(NetworkOptions):
    """True clips to lose frames and pixels of, to restore and to measure.

    ``protocol`` is one of docs/evaluation.md; ``windows``, ``border``, ``bicubic`` and ``exact_input`` change a choice
    of it. All of ``scales`` and ``keeps`` are combined, one result each. ``still`` takes each image, or a video's
    first frame. ``crop``: "WxH" or (width, height). ``output`` appears complete or not at all.

    ``progress(done, total or None)`` is called after each frame, ``note(text)`` gets remarks of one line.
    """

    sources: Sequence[str | os.PathLike[str]] = argument(
        "SRC...", "Videos, folders of frames or of clips, data sets; photographs with --still.", list[str]
    )
    baselines: bool = option("Only the baselines, no network.", bool, False, name="--baselines")
    protocol: str = option("vinr, or videoinr: the published choices.", str, "vinr")
    layout: str = option("auto, gopro, adobe240 or vid4.", str, "auto")
    names: str | os.PathLike[str] | None = option(
        "Names of the clips of a data set, one a line.", str, metavar="FILE", name="--list"
    )
    scales: str | Sequence[str | float | Fraction] | None = option(
        "Shrink by this: 4, 2.5 or several [default: 4].", str, metavar="S,...", name="--scale"
    )
    keeps: str | Sequence[str | int] | None = option(
        "Keep one of K frames: 2, 4 or several [default: 2; 8 for 240 fps].", str, metavar="K,...", name="--keep"
    )
    still: bool = option("Each photograph paired with itself, at scales 2, 3 and 4.", bool, False, name="--still")
    windows: str | None = option("shared: windows share kept frames; or disjoint.", str)
    border: int | None = option("Pixels of border that are left out [default: 0; in cropped variants the scale].", int)
    bicubic: str | None = option("Baselines' kernel: torch (-3/4) or matlab (-1/2).", str)
    exact_input: bool = option("Do not round shrunk frames to 8 bits.", bool, False, name="--exact-input")
    crop: str | tuple[int, int] | None = option("Only the middle of each frame.", str, metavar="WxH")
    max_frames: int | None = option("Only the first frames of each clip.", int)
    lpips: bool = option("LPIPS too (needs the extra lpips).", bool, False, name="--lpips")
    output: str | os.PathLike[str] | None = option(
        "Folder for JSON, CSV and a picture sheet.", str, metavar="DIR", name="--output -o"
    )
    overwrite: bool = option("Replace earlier results in DIR.", bool, False, name="--overwrite")
    progress: Callable[[int, int | None], None] | None = field(default=None, kw_only=True)
    note: Callable[[str], None] | None = field(default=None, kw_only=True)
