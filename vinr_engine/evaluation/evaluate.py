"""`vinr evaluate`: lose frames and pixels of true clips, restore them, measure."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import torch

from vinr_engine import backends, files
from vinr_engine._version import __version__
from vinr_engine.errors import SourceError, UsageError
from vinr_engine.evaluation import perceptual, report, sheet
from vinr_engine.evaluation.clips import check, find
from vinr_engine.evaluation.protocol import Protocol, decimal, keep, named, scale
from vinr_engine.evaluation.results import Result
from vinr_engine.evaluation.run import Options, expected_frames, run_clip
from vinr_engine.models import Network
from vinr_engine.video import enlarge, parse

OUTPUTS = re.compile(r"results\.json|frames\.csv|sheet_x[\d.-]+_k\d+\.png")
"""What may lie in an output folder that is replaced."""
STILL_SCALES = ("2", "3", "4")


@dataclass
class Report:
    """What `evaluate` found: one result a protocol, and the settings that they share."""

    settings: dict[str, Any]
    results: list[Result]

    def as_text(self, variants: bool = True) -> str:
        """Tables for people: figures by clip and method, and by every variant of the protocol."""
        return f"weights: {self.settings['weights']}\n\n{report.as_text(self.results, variants)}"

    def as_json(self) -> str:
        """All means, indented."""
        content = {**self.settings, "runs": [report.as_dict(result) for result in self.results]}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    def as_csv(self) -> str:
        """A row a frame, method and variant."""
        return report.as_csv(self.results)


def protocols(
    name: str, layout: str, scales: Sequence[str | float | Fraction] | None, keeps: Sequence[str | int] | None,
    still: bool, border: int | None, changes: dict[str, Any],
) -> list[Protocol]:  # fmt: skip
    """The protocols to run, one for each of `scales` and `keeps`; UsageError."""
    base = dataclasses.replace(named(name, layout), **{k: v for k, v in changes.items() if v is not None})
    if border is not None:
        if not 0 <= border <= 1024:
            raise UsageError(f"--border must be from 0 to 1024 pixels, got {border}")
        base = dataclasses.replace(base, border=border, cropped=border or None)
    if still:
        if keeps:
            raise UsageError("--keep and --still exclude each other")
        base = dataclasses.replace(base, keep=2, disjoint=True, still=True)
    wanted = [scale(s) for s in scales or (STILL_SCALES if still else [base.scale])]
    every = [keep(k) for k in keeps or [base.keep]]
    chosen = product(dict.fromkeys(wanted), dict.fromkeys(every))
    return [dataclasses.replace(base, scale=s, keep=k) for s, k in chosen]


def _check_options(max_frames: int | None, tile: int, windows: str | None, bicubic: str | None) -> None:
    if max_frames is not None and max_frames < 1:
        raise UsageError(f"--max-frames must be at least 1, got {max_frames}")
    if tile < 0:
        raise UsageError(f"--tile must be 0 (whole frames) or a number of pixels, got {tile}")
    if windows not in (None, "shared", "disjoint"):
        raise UsageError(f"--windows must be shared or disjoint, got {windows!r}")
    if bicubic not in (None, "torch", "matlab"):
        raise UsageError(f"--bicubic must be torch or matlab, got {bicubic!r}")


def evaluate(
    sources: Sequence[str | os.PathLike[str]],
    *,
    model: Network | None = None,
    weights: str | os.PathLike[str] | None = None,
    baselines: bool = False,
    layout: str = "auto",
    names: str | os.PathLike[str] | None = None,
    protocol: str = "vinr",
    scales: Sequence[str | float | Fraction] | None = None,
    keeps: Sequence[str | int] | None = None,
    windows: str | None = None,
    border: int | None = None,
    bicubic: str | None = None,
    exact_input: bool = False,
    still: bool = False,
    crop: str | tuple[int, int] | None = None,
    max_frames: int | None = None,
    tile: int = 0,
    lpips: bool = False,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    device: str = "auto",
    backend: str = "auto",
    dtype: str = "float32",
    progress: Callable[[int, int | None], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Report:
    """Measure how well a network restores true clips, beside bicubic enlargement and blending.

    Of each clip every k-th frame is kept (`keeps`) and shrunk (`scales`); every pair of kept frames then gives all
    frames between and itself, each measured by PSNR and SSIM. All scales and keeps are combined, one result each.

    sources: videos, folders of frames, printf patterns, folders of clips, or data sets in the `layout` gopro,
    adobe240 or vid4; names: a file listing the clips of a data set. model: a vinr_engine.Network, or `weights`, or
    `baselines`: no network. protocol: "vinr" or "videoinr", see docs/evaluation.md; windows ("shared", "disjoint"),
    border, bicubic ("torch", "matlab") and exact_input change one of its choices. still: each image, or video's first
    frame, paired with itself, by default at scales 2, 3 and 4. crop: "WxH" or (width, height), the middle of each
    frame. max_frames: the first so many of each clip. tile: see models.tiled, 0 for whole frames. output: a folder for
    results.json, frames.csv and a picture sheet a result; it appears complete or not at all.
    device, backend, dtype: see video.job.NetworkOptions. progress(done, total) after each frame; note(text): remarks.

    No more than one window of frames is in memory. Raises UsageError, SourceError, SinkError, WeightsError, all
    VinrError with a message of one line.
    """
    _check_options(max_frames, tile, windows, bicubic)
    middle = None if crop is None else parse.size(crop, "--crop")
    changes = {
        "disjoint": None if windows is None else windows == "disjoint", "bicubic": bicubic, "exact_input": exact_input
    }  # fmt: skip
    wanted = protocols(protocol, layout, scales, keeps, still, border, changes)
    enlarge.check_device(device)
    enlarge.check_dtype(dtype, device)
    backend = enlarge.check_backend(backend)
    if baselines and (weights is not None or model is not None):
        raise UsageError("--baselines leaves the network out: it does not go together with weights")
    if not baselines:
        enlarge.check_weights(weights, False, model is not None)
    if lpips:
        perceptual.check()
    if output is not None:
        files.check_new(os.fspath(output), True, overwrite, OUTPUTS)
    clips = find([os.fspath(s) for s in sources], layout, None if names is None else os.fspath(names), still)
    for clip in clips:
        check(clip, max(p.keep for p in wanted) + 1)
    total = expected_frames(clips, wanted, max_frames)
    given = model is not None
    target = None if given and device == "auto" else enlarge.resolve_device(device, dtype)
    if not given and not baselines:
        model = enlarge.load(weights)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    options = Options(model, target, dtype, tile, middle, max_frames, step)
    if lpips:
        options = dataclasses.replace(options, distance=perceptual.lpips(target or torch.device("cpu")))
    used = "none" if baselines else "given model" if given else "default" if weights is None else os.fspath(weights)
    settings = {
        "vinr_engine": __version__, "torch": torch.__version__,
        "weights": used,
        "device": str(target or "the model's"), "backend": backend, "dtype": dtype, "tile": tile,
        "crop": None if middle is None else list(middle), "max_frames": max_frames, "still": still,
    }  # fmt: skip
    found = Report(settings, [])
    sheets: dict[str, list[sheet.Row]] = {}
    for one in wanted:
        began = clock.monotonic()
        result = Result(one, ())
        rows = sheets.setdefault(f"sheet_x{decimal(one.scale).replace('/', '-')}_k{one.keep}.png", [])
        try:
            with torch.inference_mode(), backends.backend(backend):
                for clip in clips:
                    rows += run_clip(clip, one, options, result, len(clips), sheet.MAX_ROWS - len(rows))
        except (MemoryError, RuntimeError) as error:
            if enlarge.out_of_memory(error) is None:
                raise
            raise SourceError("not enough memory for frames of this size: try --tile 256, or --crop") from None
        result.seconds = clock.monotonic() - began
        found.results.append(result)
    if output is not None:
        write(found, sheets, output)
        if note is not None:
            note(f"wrote results.json, frames.csv and {', '.join(sheets)} into {output}")
    return found


def write(found: Report, sheets: dict[str, list[sheet.Row]], output: str | os.PathLike[str]) -> None:
    """Fill the output folder, which then takes its name. SinkError."""
    with files.reported(os.path.abspath(output)), files.draft(output, folder=True, ours=OUTPUTS) as new:
        for name, text in (("results.json", found.as_json()), ("frames.csv", found.as_csv())):
            (new / name).write_text(text, encoding="utf-8")
        for name, rows in sheets.items():
            sheet.draw(rows).save(new / name)
