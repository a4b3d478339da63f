"""The model that a command line names, in the runtime that it names."""

from __future__ import annotations

from vinr_engine.errors import UsageError
from vinr_engine.export.runtimes.exported import ExportedModel
from vinr_engine.export.runtimes.sessions import SESSIONS
from vinr_engine.export.tensorrt.engine import Engine

RUNTIMES = (*SESSIONS, "tensorrt")


def open_model(path: str | None, runtime: str | None, provider: str | None) -> ExportedModel | Engine:
    """What `vinr export` wrote at `path`. Raises UsageError unless both of the first are given, WeightsError."""
    if runtime is None or path is None:
        raise UsageError(
            "--runtime and --model go together (--provider with both): vinr export onnx DIR writes a model"
        )
    if runtime not in RUNTIMES:
        raise UsageError(f"--runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    if runtime != "tensorrt":
        return ExportedModel(path, runtime, provider)
    if provider is not None:
        raise UsageError("--provider is for onnxruntime and openvino; tensorrt runs on the current GPU")
    return Engine(path)
