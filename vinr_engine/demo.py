"""`vinr demo`: the shipped clip upscaled three ways, side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vinr_engine import files
from vinr_engine.models.network import Network, Size, Times, times_tensor
from vinr_engine.video import enlarge
from vinr_engine.video.job import NetworkOptions
from vinr_engine.video.progress import Bar
from vinr_engine.video.render import upscale

SPACE, TIME = 4, 8
CLIP = Path(__file__).parent / "assets" / "demo.mp4"


class Resize(Network):
    """Every input frame enlarged alone, and shown until the next."""

    def __init__(self, mode: str) -> None:
        self.mode = mode

    def query(self, features: Any, frames: Tensor, times: Times, size: Size, *, shared: Any = None) -> Tensor:
        """See Network."""
        shown = [frames[:, 1 if t >= 1 else 0] for t in times_tensor(times, 1, frames)]
        return torch.stack([torch.nn.functional.interpolate(f, size, mode=self.mode) for f in shown], 1)


def run(
    out_dir: str | os.PathLike[str],
    options: NetworkOptions,
    *,
    quiet: bool = False,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Write low_resolution.mp4, bicubic.mp4, upscaled.mp4 and comparison.png into ``out_dir``; returns their paths.

    Raises what `upscale` raises, all VinrError with a message of one line.
    """
    enlarge.check(options)
    device = str(enlarge.resolve_device(options.device, options.dtype))
    model = enlarge.load(options.weights)
    folder = Path(out_dir)
    files.make_folder(folder)
    common: dict[str, Any] = {"space": SPACE, "time": TIME, "overwrite": True}
    low, bicubic, ours = (folder / name for name in ("low_resolution.mp4", "bicubic.mp4", "upscaled.mp4"))
    with Bar(quiet=quiet, label="demo") as bar:
        upscale(CLIP, low, model=Resize("nearest"), device="cpu", **common)
        upscale(CLIP, bicubic, model=Resize("bicubic"), device="cpu", **common)
        done = upscale(
            CLIP, ours, model=model, device=device, backend=options.backend, dtype=options.dtype, progress=bar.update,
            **common,
        )  # fmt: skip
    rows = [("low resolution, pixels repeated", low), ("bicubic, frames repeated", bicubic)]
    name = type(model).__name__
    comparison = folder / "comparison.png"
    sheet([*rows, (name, ours)], comparison)
    width, height = done.size
    before = f"{done.frames_in} frames, {width // SPACE}x{height // SPACE}"
    say(f"Upscaled a clip of {before}, by {SPACE} in space and {TIME} in time")
    speed = f"{done.seconds:.1f} s ({done.seconds / done.frames_out:.2f} s a frame)"
    say(f"to {done.frames_out} frames, {width}x{height}, in {speed}. Compare:")
    for text, path in ((*rows[0],), (*rows[1],), (name, ours), ("the three side by side", comparison)):
        say(f"  {path}  {text}")
    say(f"Weights: {enlarge.name_of(options)}")
    return [low, bicubic, ours, comparison]


def sheet(rows: list[tuple[str, Path]], path: Path) -> None:
    """A contact sheet: one labelled row a video, first input frame to second in quarters. Errors: SinkError."""
    shown = tuple(TIME * quarter // 4 for quarter in range(5))
    font = ImageFont.load_default(18)
    gap, label = 6, 30
    image: Image.Image | None = None
    for row, (text, video) in enumerate(rows):
        pictures = frames(video, shown)
        height, width = pictures[0].shape[:2]
        if image is None:
            size = (gap + len(shown) * (width + gap), label + len(rows) * (height + label) + gap)
            image = Image.new("RGB", size, (24, 24, 27))
            for column, number in enumerate(shown):
                middle = gap + column * (width + gap) + width // 2
                ImageDraw.Draw(image).text(
                    (middle, label // 2), f"t = {number / TIME:g}", (160, 160, 170), font, anchor="mm"
                )
        top = label + row * (height + label)
        ImageDraw.Draw(image).text((gap + 2, top + label // 2), text, (240, 240, 240), font, anchor="lm")
        for column, picture in enumerate(pictures):
            image.paste(Image.fromarray(picture), (gap + column * (width + gap), top + label))
    assert image is not None
    with files.reported(path), files.draft(path) as new:
        image.save(new)


def frames(video: Path, numbers: tuple[int, ...]) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Chosen frames of a video as uint8 [h, w, 3]."""
    with av.open(str(video)) as container:
        return [f.to_ndarray(format="rgb24") for n, f in enumerate(container.decode(video=0)) if n in numbers]
