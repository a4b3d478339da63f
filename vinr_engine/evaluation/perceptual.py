"""LPIPS, through torchmetrics, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from vinr_engine.errors import UsageError, VinrError, reason
from vinr_engine.evaluation.metrics import quantise

PACKAGES = ("torchmetrics", "torchvision")


def check() -> None:
    """UsageError naming what is not installed."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(f"--lpips needs {' and '.join(missing)}: pip install 'vinr_engine[lpips]'")


def lpips(device: torch.device) -> Callable[[Tensor, Tensor], float]:
    """The distance of two pictures [3, H, W] in [0, 1], rounded to 8 bits: AlexNet's, lower is nearer.

    Its weights are torchvision's, which fetches them at the first use. Source: Zhang, Isola, Efros, Shechtman, Wang,
    "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018.
    """
    check()
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        metric: Any = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).to(device)
    except (ImportError, OSError, RuntimeError) as error:  # a torchvision of another torch, or no way to its weights
        raise VinrError(f"--lpips: cannot load AlexNet from torchvision: {reason(error)}") from None

    def distance(picture: Tensor, truth: Tensor) -> float:
        value = metric(quantise(picture)[None], quantise(truth)[None])
        metric.reset()
        return float(value)

    return distance
