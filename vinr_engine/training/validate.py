"""Validation: pictures decoded from samples that are always the same, beside bicubic enlargement and linear blend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vinr_engine import files
from vinr_engine.evaluation.metrics import luma
from vinr_engine.models import NetworkModule
from vinr_engine.models.layers.warped_blend import bicubic, warped_blend
from vinr_engine.training.config import Validation
from vinr_engine.training.samples import Batch, Source

SEED = 20220607
TIMES = (0.0, 0.5)  # an end, and the moment hardest to guess


def samples(source: Source, v: Validation) -> list[Batch]:
    """The samples, each with `TIMES` as its targets."""
    times = torch.tensor(TIMES)
    return [
        source.sample(np.random.default_rng([SEED, k]), times, v.input_crop, v.scale, v.target_shrink)
        for k in range(v.samples)
    ]


def psnr_y(output: Tensor, target: Tensor) -> Tensor:
    """[..., 3, H, W] in [0, 1] -> [...]: PSNR of the luma of BT.601, in dB."""
    error = (luma(output.clamp(0, 1)) - luma(target)).square().mean((-3, -2, -1))
    return -10 * error.clamp_min(1e-10).log10()


def flow_error(flow: Tensor, true: Tensor, width: int) -> Tensor:
    """The mean distance, in pixels of an input of that width, of flow [4, h, w] from true [4, H, W]."""
    coarse = F.interpolate(true[None], flow.shape[-2:], mode="nearest-exact")[0] * (width / true.shape[-1])
    return (flow * (width / flow.shape[-1]) - coarse).unflatten(0, (2, 2)).norm(dim=1).mean()


@torch.no_grad()
def validate(
    model: NetworkModule, samples: list[Batch], autocast: Any, device: torch.device
) -> tuple[dict[str, float], list[Tensor]]:
    """Mean PSNR-Y at the ends and in between, and by how much it beats the blend; and of each sample a picture.

    A picture is [3, H, 4 W]: the blend, the network's output, the target in between, ten times the output's error.
    """
    was_training = model.training
    model.eval()
    ours, blend, pictures, flow_errors = [], [], [], []
    for sample in samples:
        frames, target = sample["frames"][None].to(device), sample["target"].to(device)
        times, size = sample["times"].to(device), (target.shape[-2], target.shape[-1])
        with autocast():
            out = model(frames, times, size)[0].float()
        enlarged = bicubic(frames, size)
        base = warped_blend(enlarged, times[:, None], frames.new_zeros(1, len(times), 4, *size))[0]
        ours.append(psnr_y(out, target))
        blend.append(psnr_y(base, target))
        if "flow" in sample and "flow" in model.learns:
            with autocast():
                _, flows = model.training_outputs(frames, times[:, None], size, 1, "flow")
            assert flows is not None
            flow_errors.append(flow_error(flows[0][0, -1].float(), sample["flow"][-1].to(device), frames.shape[-1]))
        error = (10 * (out[-1] - target[-1])).abs()
        pictures.append(torch.cat([base[-1], out[-1], target[-1], error], -1).clamp(0, 1).cpu())
    model.train(was_training)
    mean, mean_blend = torch.stack(ours).mean(0).tolist(), torch.stack(blend).mean(0).tolist()
    figures = {
        "psnr_end": mean[0],
        "psnr_between": mean[1],
        "gain_end": mean[0] - mean_blend[0],
        "gain_between": mean[1] - mean_blend[1],
    }
    if flow_errors:
        figures["flow_error"] = float(torch.stack(flow_errors).mean())
    return figures, pictures


def write_pictures(pictures: list[Tensor], path: Path) -> None:
    """One PNG, a row a picture."""
    sheet = (torch.cat(pictures, 1).permute(1, 2, 0) * 255).round().byte().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.draft(path) as new:
        Image.fromarray(sheet).save(new)
