"""From a batch to the loss: the module that is trained, so that what wraps modules wraps all of a step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.errors import ConfigError
from vinr_engine.evaluation.metrics import luma
from vinr_engine.models import NetworkModule
from vinr_engine.training.config import Stage
from vinr_engine.training.losses import LOSSES
from vinr_engine.training.samples import Batch


class Objective(nn.Module):
    """The network at the targets' times, and the loss; or what else a stage says to learn."""

    def __init__(self, model: NetworkModule, frame_upsample: int) -> None:
        super().__init__()
        self.model = model
        self.frame_upsample = frame_upsample
        for name, parameter in model.named_parameters():
            # No gradient ever reaches these; processes that share gradients would wait for one.
            parameter.requires_grad_(not name.startswith(model.unused))

    def forward(self, batch: Batch, stage: Stage) -> tuple[Tensor, Tensor]:
        """-> the loss to minimise, and the part of it that the pictures make."""
        target = batch["target"]
        size = (target.shape[-2], target.shape[-1])
        out, flows = self.model.training_outputs(
            batch["frames"], batch["times"], size, self.frame_upsample, stage.learn
        )
        pictures = target.new_zeros(())
        if out is not None:
            pictures = _pictures(out, target if stage.learn == "pictures" else target[:, :2], stage)
            if stage.teacher_share and "taught" in batch:
                pictures = torch.lerp(pictures, _pictures(out, batch["taught"], stage), stage.teacher_share)
        if not stage.flow_weight:
            return pictures, pictures.detach()
        if flows is None:
            raise ConfigError(f"stages: flow_weight needs flow, which {type(self.model).__name__} does not give")
        errors = torch.stack([_flow_error(flow, batch["flow"], stage.reduction) for flow in flows])
        return pictures + stage.flow_weight * errors.sum(), pictures.detach()


def _pictures(out: Tensor, target: Tensor, stage: Stage) -> Tensor:
    loss = LOSSES[stage.loss]
    if not stage.luma:
        return loss(out, target, stage.reduction)
    brightness = loss(luma(out), luma(target), stage.reduction)
    return (1 - stage.luma) * loss(out, target, stage.reduction) + stage.luma * brightness


def _flow_error(flow: Tensor, true: Tensor, reduction: str) -> Tensor:
    # Smooth near zero: a hundredth of a pixel matters to nobody.
    error = ((flow - _resized_flow(true, flow.shape)) ** 2 + 1e-2).sqrt()
    return error.sum() if reduction == "sum" else error.mean()


def _resized_flow(flow: Tensor, shape: torch.Size) -> Tensor:
    """flow [B, T, 4, HH, WW] in pixels, at the places and in the pixels of a smaller `shape`."""
    if flow.shape == shape:
        return flow
    y, x = (small / large for small, large in zip(shape[-2:], flow.shape[-2:], strict=True))
    coarse = F.interpolate(flow.flatten(0, 1), tuple(shape[-2:]), mode="nearest-exact").view(shape)
    return coarse * flow.new_tensor([x, y, x, y])[:, None, None]
