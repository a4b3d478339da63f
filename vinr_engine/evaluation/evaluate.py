"""`vinr evaluate`: lose frames and pixels of true clips, restore them, measure."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from vinr_engine import backends, files, memory
from vinr_engine._version import __version__
from vinr_engine.errors import SourceError, UsageError
from vinr_engine.evaluation import perceptual, report, sheet
from vinr_engine.evaluation.clips import check, find
from vinr_engine.evaluation.job import Evaluation
from vinr_engine.evaluation.protocol import Protocol, decimal, keep, named, scale
from vinr_engine.evaluation.results import Result
from vinr_engine.evaluation.run import Options, expected_frames, run_clip
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


def protocols(job: Evaluation) -> list[Protocol]:
    """The protocols to run, one for each of the scales and keeps; UsageError."""
    changes: dict[str, Any] = {"exact_input": job.exact_input}
    if job.windows is not None:
        changes["disjoint"] = job.windows == "disjoint"
    if job.bicubic is not None:
        changes["bicubic"] = job.bicubic
    if job.border is not None:
        if not 0 <= job.border <= 1024:
            raise UsageError(f"--border must be from 0 to 1024 pixels, got {job.border}")
        changes |= {"border": job.border, "cropped": job.border or None}
    if job.still:
        if job.keeps:
            raise UsageError("--keep and --still exclude each other")
        changes |= {"keep": 2, "disjoint": True, "still": True}
    base = dataclasses.replace(named(job.protocol, job.layout), **changes)
    scales = job.scales.split(",") if isinstance(job.scales, str) else job.scales
    keeps = job.keeps.split(",") if isinstance(job.keeps, str) else job.keeps
    wanted = [scale(s) for s in scales or (STILL_SCALES if job.still else [base.scale])]
    every = [keep(k) for k in keeps or [base.keep]]
    chosen = product(dict.fromkeys(wanted), dict.fromkeys(every))
    return [dataclasses.replace(base, scale=s, keep=k) for s, k in chosen]


def _check_options(job: Evaluation) -> None:
    if job.max_frames is not None and job.max_frames < 1:
        raise UsageError(f"--max-frames must be at least 1, got {job.max_frames}")
    if job.windows not in (None, "shared", "disjoint"):
        raise UsageError(f"--windows must be shared or disjoint, got {job.windows!r}")
    if job.bicubic not in (None, "torch", "matlab"):
        raise UsageError(f"--bicubic must be torch or matlab, got {job.bicubic!r}")
    if job.baselines and (job.weights is not None or job.model is not None):
        raise UsageError("--baselines leaves the network out: it does not go together with weights")


def evaluate(sources: Sequence[str | os.PathLike[str]], **options: Any) -> Report:
    """Measure how well a network restores true clips, beside bicubic enlargement and blending.

    Of each clip every k-th frame is kept and shrunk; every pair of kept frames then gives all frames between and
    itself, each measured by PSNR and SSIM. The options are the fields of `evaluation.job.Evaluation`, by name.

    No more than one window of frames is in memory. Raises UsageError, SourceError, SinkError, WeightsError, all
    VinrError with a message of one line.
    """
    return run(Evaluation(sources, **options))


def run(job: Evaluation) -> Report:
    """See `evaluate`."""
    _check_options(job)
    middle = None if job.crop is None else parse.size(job.crop, "--crop")
    wanted = protocols(job)
    backend = enlarge.check(job)
    if job.lpips:
        perceptual.check()
    if job.output is not None:
        files.check_new(os.fspath(job.output), True, job.overwrite, OUTPUTS)
    listed = None if job.names is None else os.fspath(job.names)
    clips = find([os.fspath(s) for s in job.sources], job.layout, listed, job.still)
    for clip in clips:
        check(clip, max(p.keep for p in wanted) + 1)
    total = expected_frames(clips, wanted, job.max_frames)
    given = job.model is not None
    target = None if given and job.device == "auto" else enlarge.resolve_device(job.device, job.dtype)
    model = job.model if given or job.baselines else enlarge.load(job.weights)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if job.progress is not None:
            job.progress(done, total)

    limit = memory.budget(job.memory, target or (model.device if model is not None else torch.device("cpu")))
    options = Options(model, target, job.dtype, limit, middle, job.max_frames, step)
    if job.lpips:
        options = dataclasses.replace(options, distance=perceptual.lpips(target or torch.device("cpu")))
    default = "default" if job.weights is None else os.fspath(job.weights)
    used = "none" if job.baselines else "given model" if given else default
    settings = {
        "vinr_engine": __version__, "torch": torch.__version__,
        "weights": used,
        "device": str(target or "the model's"), "backend": backend, "dtype": job.dtype, "memory": limit,
        "crop": None if middle is None else list(middle), "max_frames": job.max_frames, "still": job.still,
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
            raise SourceError("not enough memory for frames of this size: try less --memory, or --crop") from None
        result.seconds = clock.monotonic() - began
        found.results.append(result)
    if job.output is not None:
        write(found, sheets, job.output)
        if job.note is not None:
            job.note(f"wrote results.json, frames.csv and {', '.join(sheets)} into {job.output}")
    return found


def write(found: Report, sheets: dict[str, list[sheet.Row]], output: str | os.PathLike[str]) -> None:
    """Fill the output folder, which then takes its name. SinkError."""
    with files.reported(os.path.abspath(output)), files.draft(output, folder=True, ours=OUTPUTS) as new:
        for name, text in (("results.json", found.as_json()), ("frames.csv", found.as_csv())):
            (new / name).write_text(text, encoding="utf-8")
        for name, rows in sheets.items():
            sheet.draw(rows).save(new / name)
