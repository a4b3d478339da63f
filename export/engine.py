"""Runs TensorRT engines on torch tensors, without copies, on the current stream."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from vinr_engine.export import plugin_library as library
from vinr_engine.export.encoded import Encoded
from vinr_engine.export.tensorrt_build import MODULES, Limits, paths, runtime_module

from vinr_engine._version import __version__
from vinr_engine.models.video_inr import pad_to_multiple
from vinr_engine.video.errors import UsageError, WeightsError

DEVICE = "cuda"
_TORCH = {"FLOAT": torch.float32, "HALF": torch.float16, "INT64": torch.int64, "INT32": torch.int32}


class _Graph:
    """One engine with its execution context."""

    def __init__(self, trt: Any, runtime: Any, path: Path) -> None:
        self.trt = trt
        self.engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            raise WeightsError(f"{path}: not an engine for this GPU and this TensorRT {trt.__version__}: build it here")
        self.context = self.engine.create_execution_context()
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        is_input = {n: self.engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT for n in names}
        self.inputs, self.outputs = [n for n in names if is_input[n]], [n for n in names if not is_input[n]]

    def dtype(self, name: str) -> torch.dtype:
        return _TORCH[self.engine.get_tensor_dtype(name).name]

    def run(self, feeds: dict[str, Tensor]) -> dict[str, Tensor]:
        kept = []  # alive until the call has been enqueued
        for name in self.inputs:
            on_host = self.engine.is_shape_inference_io(name)
            tensor = feeds[name].to("cpu" if on_host else DEVICE, self.dtype(name)).contiguous()
            kept.append(tensor)
            if not self.context.set_input_shape(name, tuple(tensor.shape)):
                low, _, high = self.engine.get_tensor_profile_shape(name, 0)
                raise UsageError(f"{name} {list(tensor.shape)} lies outside the engine's profile, {low} to {high}")
            self.context.set_tensor_address(name, tensor.data_ptr())
        if unset := self.context.infer_shapes():
            raise UsageError(f"sizes outside the engine's profile ({', '.join(unset)})")
        outputs = {}
        for name in self.outputs:
            shape = tuple(self.context.get_tensor_shape(name))
            outputs[name] = torch.empty(shape, dtype=self.dtype(name), device=DEVICE)
            self.context.set_tensor_address(name, outputs[name].data_ptr())
        if not self.context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError("TensorRT could not run the engine")
        return outputs


class Engine:
    """The engines that `to_tensorrt` wrote; has the face that `vinr_engine.upscale(..., model=...)` uses.

    Args:
        path: NAME.engine.
        plugin_library: for an engine of the plugin profile, the library that it was built with; None for the one that
            the variable VINR_TENSORRT_PLUGINS names.

    Raises:
        WeightsError: files that are missing, of another version, or built for another GPU.
        UsageError: no GPU, or TensorRT or the plugin library is not there.
    """

    def __init__(self, path: str | os.PathLike[str], plugin_library: str | os.PathLike[str] | None = None) -> None:
        files = paths(path)
        if not files.report.is_file():
            raise WeightsError(f"{path}: no such engine (no {files.report.name})")
        try:
            self.report: dict[str, Any] = json.loads(files.report.read_text())
            name, version = self.report["builder"].split()[0], self.report["version"]
            plugins = self.report.get("profile") == "plugin"
        except (ValueError, KeyError, TypeError, AttributeError):
            raise WeightsError(f"{files.report}: not a report of vinr export tensorrt") from None
        if version != __version__ or name not in MODULES:
            raise WeightsError(f"{path}: built by vinr_engine {version}, this is {__version__}: build it again")
        if not torch.cuda.is_available():
            raise UsageError("an engine needs an NVIDIA GPU that torch can use; this machine has none")
        major, minor = torch.cuda.get_device_capability()
        targets = self.report["targets"]
        if targets and f"SM{major}{minor}" not in targets:
            raise WeightsError(
                f"{path}: built for {', '.join(targets)}, this GPU is SM{major}{minor}: build it for that"
            )
        _, trt = runtime_module(name)
        self._logger = trt.Logger(trt.Logger.ERROR)
        if plugins:
            library.load(trt, library.find(plugin_library))
        self._runtime = trt.Runtime(self._logger)
        self._encoder, self._query = (_Graph(trt, self._runtime, p) for p in (files.encoder, files.query))
        self.name = f"{path} ({self.report['builder']})"
        self.limits = Limits(**{k: _tuples(v) for k, v in self.report["limits"].items()})

    def pyramid(self, frame: Tensor) -> Tensor:
        """The frame itself: the encoder's graph takes both frames."""
        return frame

    def encode_pyramids(self, first: Tensor, second: Tensor) -> Encoded:
        """Two frames [1, 3, h, w] in [0, 1] -> what `query` takes."""
        frames = pad_to_multiple(torch.stack([first, second], 1)).to(DEVICE)
        return Encoded.of(self._encoder.run({"frames": frames}), frames)

    def query(self, features: Encoded, frames: Tensor, times: Sequence[float], size: tuple[int, int]) -> Tensor:
        """Pictures [1, T, 3, HH, WW] at `times`; see `VideoINR.query`. Raises UsageError outside the profile."""
        low, _, high = self.limits.outputs
        if any(not a <= side <= b for a, side, b in zip(low, size, high, strict=True)):
            raise UsageError(
                f"{size[1]}x{size[0]} lies outside the engine's outputs, {low[1]}x{low[0]} to {high[1]}x{high[0]}"
            )
        feeds = dict(features.maps)
        feeds["times"] = torch.tensor(list(times), dtype=torch.float32)
        feeds["lr_size"], feeds["size"] = torch.tensor(frames.shape[-2:]), torch.tensor(size)
        return self._query.run(feeds)["image"]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
