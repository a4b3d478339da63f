"""One clip by one protocol, a window at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from vinr_engine.errors import SourceError
from vinr_engine.evaluation import sheet
from vinr_engine.evaluation.clips import Clip
from vinr_engine.evaluation.metrics import measure
from vinr_engine.evaluation.protocol import Protocol
from vinr_engine.evaluation.restore import Restorer, Shrunk, centre_crop, true_size
from vinr_engine.evaluation.results import ClipFacts, Figures, Frame, Result
from vinr_engine.evaluation.windows import count, windows
from vinr_engine.models.network import Network

ROWS_OF_BOTH = 4
"""Up to that many clips, the sheet shows a kept frame of each beside one between."""


@dataclass(frozen=True)
class Options:
    """What all runs share; see `evaluate`. `step` is called after each frame, `distance` is LPIPS."""

    model: Network | None
    device: torch.device | None
    dtype: str
    memory: int
    crop: tuple[int, int] | None
    max_frames: int | None
    step: Callable[[], None]
    distance: Callable[[Tensor, Tensor], float] | None = None


def _length(clip: Clip, protocol: Protocol, max_frames: int | None, known: int | None) -> int | None:
    """How many frames of a clip are used at most; None if that is not known beforehand."""
    if clip.still:
        return protocol.keep + 1
    found = [n for n in (known, max_frames) if n is not None]
    return min(found) if found else None


def expected_frames(clips: list[Clip], wanted: list[Protocol], max_frames: int | None) -> int | None:
    """About how many frames will be measured."""
    total = 0
    for clip in clips:
        with clip.open() as source:
            known = source.info.count
        for protocol in wanted:
            length = _length(clip, protocol, max_frames, known)
            if length is None:
                return None
            total += count(length, protocol.keep, protocol.disjoint) * (protocol.keep + 1)
    return total


def run_clip(
    clip: Clip, protocol: Protocol, options: Options, result: Result, clips: int, most_rows: int
) -> list[sheet.Row]:
    """Measure a clip, one of `clips`; adds to `result` and returns at most `most_rows` rows of the sheet."""
    rows: dict[int, list[sheet.Row]] = {}
    shown_frames = (0,) if clip.still else (0, protocol.keep // 2) if clips <= ROWS_OF_BOTH else (protocol.keep // 2,)
    with clip.open() as source:
        info = source.info
        size = true_size(info.height, info.width, options.crop, protocol, clip.name)
        restorer = Restorer(options.model, size, protocol, options.device, options.dtype, options.memory)
        result.methods = restorer.methods
        most = _length(clip, protocol, options.max_frames, None)
        likely = _length(clip, protocol, options.max_frames, info.count) or 0
        middle = max(0, (count(likely, protocol.keep, protocol.disjoint) - 1) // 2)
        before: Shrunk | None = None
        number = used = 0
        for window in windows(islice(source.pictures(), most), protocol.keep, protocol.disjoint):
            truths = [centre_crop(picture.rgb, size).to(restorer.device) for picture in window.pictures]
            first = before or restorer.shrink(truths[0])
            last = restorer.shrink(truths[-1])
            for index, pictures in enumerate(restorer.window(first, last, window.times)):
                frame = _measured(
                    len(result.clips), window.start + index, index, window.times[index], pictures, truths[index],
                    protocol, options,
                )  # fmt: skip
                result.frames.append(frame)
                # a video's header may promise more windows than there are: the first one is the second choice
                if number in (0, middle) and index in shown_frames:
                    rows.setdefault(number, []).append(_row(clip, frame, protocol, truths[index], pictures))
                options.step()
            before = None if protocol.disjoint else last
            number, used = number + 1, window.start + len(window.pictures)
    if number == 0:
        raise SourceError(
            f"the clip {clip.name} is too short for --keep {protocol.keep}"
            + ("" if options.max_frames is None else f" and --max-frames {options.max_frames}")
            + f": a window needs {protocol.keep + 1} frames"
        )
    result.clips.append(ClipFacts(clip.name, (size[1], size[0]), used, number))
    return rows[max(rows)][:most_rows]


def _measured(
    clip: int, number: int, index: int, time: Fraction, pictures: dict[str, Tensor], truth: Tensor,
    protocol: Protocol, options: Options,
) -> Frame:  # fmt: skip
    wanted = protocol.variants()
    scores: dict[str, Figures] = {m: np.asarray(measure(p, truth, wanted)) for m, p in pictures.items()}
    lpips = {m: options.distance(p, truth) for m, p in pictures.items()} if options.distance else {}
    return Frame(clip, number, index, float(time), scores, lpips)


def _row(clip: Clip, frame: Frame, protocol: Protocol, truth: Tensor, pictures: dict[str, Tensor]) -> sheet.Row:
    variant = protocol.variants().index(protocol.variant)
    captions = {
        method: f"frame: {scores[variant][0]:.2f} dB, SSIM {scores[variant][1]:.4f}"
        for method, scores in frame.scores.items()
    }
    kind = "kept" if frame.index in (0, protocol.keep) else "in between"
    title = clip.name if clip.still else f"{clip.name}, frame {frame.number}, {kind}, t = {frame.time:.3g}"
    return sheet.row(title, truth, pictures, captions)
