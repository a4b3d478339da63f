"""Clips in and out: decoding, timing, scene cuts, audio, colour, encoding."""

from .errors import Cancelled, SinkError, SourceError, UsageError, VinrError, WeightsError
from .upscale import Summary, upscale

__all__ = [
    "Cancelled",
    "SinkError",
    "SourceError",
    "Summary",
    "UsageError",
    "VinrError",
    "WeightsError",
    "upscale",
]
