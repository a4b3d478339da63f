"""Export of models to ONNX and TensorRT; installed as `vinr_engine.export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vinr_engine.export.onnx.files import Pair
    from vinr_engine.export.onnx.model import to_onnx
    from vinr_engine.export.runtimes.exported import ExportedModel
    from vinr_engine.export.tensorrt.build import to_tensorrt
    from vinr_engine.export.tensorrt.engine import Engine

__all__ = ["Engine", "ExportedModel", "Pair", "to_onnx", "to_tensorrt"]

_WHERE = {
    "Engine": "tensorrt.engine",
    "ExportedModel": "runtimes.exported",
    "Pair": "onnx.files",
    "to_onnx": "onnx.model",
    "to_tensorrt": "tensorrt.build",
}


def __getattr__(name: str) -> Any:
    # The command line lists its commands without loading torch.
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
