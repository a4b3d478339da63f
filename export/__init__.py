"""Export of models to ONNX and TensorRT; installed as `vinr_engine.export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vinr_engine.export.engine import Engine
    from vinr_engine.export.exported import ExportedModel
    from vinr_engine.export.onnx_model import Pair, to_onnx
    from vinr_engine.export.tensorrt_build import to_tensorrt

__all__ = ["Engine", "ExportedModel", "Pair", "to_onnx", "to_tensorrt"]

_WHERE = {
    "Engine": "engine",
    "ExportedModel": "exported",
    "Pair": "onnx_model",
    "to_onnx": "onnx_model",
    "to_tensorrt": "tensorrt_build",
}


def __getattr__(name: str) -> Any:
    # The command line lists its commands without loading torch.
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
