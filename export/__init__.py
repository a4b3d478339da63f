"""Export of models to ONNX and TensorRT; installed as `vinr_engine.export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vinr_engine.export.exported import ExportedModel
    from vinr_engine.export.onnx_model import Pair, to_onnx

__all__ = ["ExportedModel", "Pair", "to_onnx"]

_WHERE = {"ExportedModel": "exported", "Pair": "onnx_model", "to_onnx": "onnx_model"}


def __getattr__(name: str) -> Any:
    # The command line lists its commands without loading torch.
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
