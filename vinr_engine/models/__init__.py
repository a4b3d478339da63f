"""The VideoINR network and its checkpoints."""

from vinr_engine.models.checkpoint import CheckpointError, save_checkpoint
from vinr_engine.models.videoinr import VideoINR

__all__ = ["CheckpointError", "VideoINR", "save_checkpoint"]
