"""MoTIF: its query, and the motion features that it reads."""

from vinr_engine.models.motif.features import MotionEncoder, motion_input
from vinr_engine.models.motif.query import MoTIFDecoder

__all__ = ["MoTIFDecoder", "MotionEncoder", "motion_input"]
