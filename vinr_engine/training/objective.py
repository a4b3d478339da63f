"""From a batch to the loss: the module that is trained, so that what wraps modules wraps all of a step."""

from __future__ import annotations

from torch import Tensor, nn

from vinr_engine.models.video_inr import VideoINR
from vinr_engine.training.batches import Batch
from vinr_engine.training.config import Stage
from vinr_engine.training.losses import LOSSES

UNUSED = ("upconv1.", "upconv2.", "HRconv.", "conv_last.")  # parameters of the checkpoint that the network never runs


class Objective(nn.Module):
    """Encoder, query at the targets' times, loss."""

    def __init__(self, model: VideoINR, frame_upsample: int) -> None:
        super().__init__()
        self.model = model
        self.frame_upsample = frame_upsample
        for name, parameter in model.named_parameters():
            # No gradient ever reaches these; processes that share gradients would wait for one.
            parameter.requires_grad_(not name.startswith(UNUSED))

    def forward(self, batch: Batch, stage: Stage) -> tuple[Tensor, Tensor]:
        """-> the loss to minimise, and the part of it that the pictures make."""
        frames, target = batch["frames"], batch["target"]
        out, flow = self.model.query(
            self.model.encode(frames), frames, batch["times"], tuple(target.shape[-2:]), self.frame_upsample, True
        )
        pictures = LOSSES[stage.loss](out, target, stage.reduction)
        if not stage.flow_weight:
            return pictures, pictures.detach()
        # Smooth near zero: a hundredth of a pixel matters to nobody.
        error = ((flow - batch["flow"]) ** 2 + 1e-2).sqrt()
        weighted = stage.flow_weight * (error.sum() if stage.reduction == "sum" else error.mean())
        return pictures + weighted, pictures.detach()
