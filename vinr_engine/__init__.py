"""Continuous space-time video super-resolution (VideoINR): the network, fused ops, and a video tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vinr_engine import _checkout, ops  # noqa: F401  first: it finds what the others import
from vinr_engine._version import __version__
from vinr_engine.backends import BackendError, backend, input_precision
from vinr_engine.models import (
    CheckpointError,
    FlowINR,
    Network,
    NetworkModule,
    VideoINR,
    load_network,
    register,
    save_checkpoint,
)

if TYPE_CHECKING:
    from vinr_engine.video.render import upscale

__all__ = [
    "BackendError",
    "CheckpointError",
    "FlowINR",
    "Network",
    "NetworkModule",
    "VideoINR",
    "__version__",
    "backend",
    "input_precision",
    "load_network",
    "ops",
    "register",
    "save_checkpoint",
    "upscale",
]


def __getattr__(name: str) -> Any:
    # The video libraries are loaded when they are first used: a training script needs none of them.
    if name == "upscale":
        from vinr_engine.video.render import upscale

        return upscale
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
