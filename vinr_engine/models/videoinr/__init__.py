"""VideoINR, and its smaller relatives that config values make."""

from vinr_engine.models.videoinr.network import VideoINR

__all__ = ["VideoINR"]
