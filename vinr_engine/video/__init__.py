"""Clips in and out: decoding, timing, scene cuts, audio, colour, encoding.

Importing this package loads none of the video libraries. What it exports of `upscale`, the module, is loaded on use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vinr_engine.errors import Cancelled, SinkError, SourceError, UsageError, VinrError, WeightsError

if TYPE_CHECKING:
    from .upscale import Summary

__all__ = [
    "Cancelled",
    "SinkError",
    "SourceError",
    "Summary",
    "UsageError",
    "VinrError",
    "WeightsError",
]


def __getattr__(name: str) -> Any:
    if name == "Summary":
        from .upscale import Summary

        return Summary
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
