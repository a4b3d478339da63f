"""Runtimes that run an exported graph: ONNX Runtime and OpenVINO, behind one small interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vinr_engine.errors import UsageError, VinrError, WeightsError, reason
from vinr_engine.export.packages import require

Array = NDArray[Any]


class Session(Protocol):
    """A graph that is ready to run; of a `serial` one, several runs at once, each on a thread, use a CPU better."""

    serial: bool

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The graph's outputs by name, from its inputs by name."""


class OnnxRuntime:
    """ONNX Runtime, with one execution provider and the CPU for what that provider lacks.

    With `release` a run gives its memory back, which ONNX Runtime would keep for the next one.
    """

    def __init__(self, path: Path, provider: str | None, dtype: str, release: bool = False) -> None:
        require("onnxruntime")
        import onnxruntime as ort

        available = [p for p in ort.get_available_providers() if p != "AzureExecutionProvider"]  # that asks a server
        name = next((p for p in available if provider is None or _plain(p) == _plain(provider)), None)
        if name is None:
            known = ", ".join(available)
            raise UsageError(f"--provider {provider}: this ONNX Runtime has {known} (onnxruntime-gpu has more)")
        if dtype == "float16" and name == "OpenVINOExecutionProvider":
            raise UsageError("--provider OpenVINO does not take float16 graphs: export with --dtype float32")
        options = ort.SessionOptions()
        options.log_severity_level = 3  # its warnings speak of its own optimisations
        if dtype == "float16":  # with all of them 1.31 crashes on the float16 graphs that are made for TensorRT-RTX
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        # Threads that spin while they wait starve whatever else runs: the decoder, the encoder of the video.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = list(dict.fromkeys([name, "CPUExecutionProvider"]))
        try:
            self._session = ort.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # a type of its own for every cause
            raise WeightsError(f"{path}: ONNX Runtime refuses it: {reason(error)}") from None
        if provider is not None and name not in self._session.get_providers():
            raise UsageError(f"--provider {provider}: it is built in, but finds no device on this machine")
        self._run_options = ort.RunOptions()
        if release:
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self.serial = self._session.get_providers()[0] == "CPUExecutionProvider"  # it computes sines on one thread

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        names = [output.name for output in self._session.get_outputs()]
        try:
            values = self._session.run(names, dict(feeds), self._run_options)
        except Exception as error:  # a type of its own for every cause
            raise _failure("ONNX Runtime", error) from None
        return dict(zip(names, values, strict=True))


class OpenVino:
    """OpenVINO on one of its devices."""

    serial = False  # every run uses all processors

    def __init__(self, path: Path, provider: str | None, dtype: str, release: bool = False) -> None:
        require("openvino")
        core = _openvino_core()
        devices = core.available_devices
        device = next((d for d in devices if provider is None or d.lower() == provider.lower()), None)
        if device is None:
            raise UsageError(f"--provider {provider}: this OpenVINO has {', '.join(devices)}")
        # It would else compute float32 graphs in bfloat16 on processors that have it.
        precision = {"INFERENCE_PRECISION_HINT": "f16" if dtype == "float16" and device != "CPU" else "f32"}
        try:
            self._model = core.compile_model(str(path), device, precision)
        except RuntimeError as error:
            hint = " (export with --deform-conv grid_sample)" if "DeformConv" in str(error) else ""
            raise WeightsError(f"{path}: OpenVINO refuses it{hint}: {reason(error)[:200]}") from None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        try:
            results = self._model(dict(feeds))
        except (RuntimeError, TypeError, ValueError) as error:
            raise _failure("OpenVINO", error) from None
        return {output.any_name: np.asarray(results[output]) for output in self._model.outputs}


def _failure(runtime: str, error: Exception) -> Exception:
    """For the caller to raise; the video tool knows what to say of a MemoryError."""
    if "alloc" in str(error).lower():
        return MemoryError(reason(error))
    return VinrError(f"{runtime} failed: {reason(error)}"[:300])


@cache
def _openvino_core() -> Any:
    """One for the whole process. Where it ends earlier, OpenVINO (2026.4) unmaps the stack that it gave the thread for
    signals, and the next signal, a Ctrl-C or the end of a child process, is a segmentation fault."""
    import openvino as ov

    return ov.Core()


def _plain(provider: str) -> str:
    return provider.lower().removesuffix("executionprovider")


SESSIONS: dict[str, Callable[..., Session]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
}
