"""Runs TensorRT engines on torch tensors, without copies, on the current stream."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vinr_engine.errors import UsageError, VinrError, WeightsError, reason
from vinr_engine.export.encoded import Encoded
from vinr_engine.export.tensorrt import plugin_library as library
from vinr_engine.export.tensorrt.build import MODULES, runtime_module
from vinr_engine.export.tensorrt.engine_files import Report, fingerprint, pad, paths
from vinr_engine.models.network import Network, Size, Times, times_tensor
from vinr_engine.models.videoinr.encoder import pad_to_multiple

DEVICE = "cuda"
_TORCH = {"FLOAT": torch.float32, "HALF": torch.float16, "INT64": torch.int64, "INT32": torch.int32}


class _Graph:
    """One engine with its execution context."""

    def __init__(self, trt: Any, runtime: Any, path: Path, sha256: str) -> None:
        self.trt = trt
        try:
            plan = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path}: {reason(error)}") from None
        if fingerprint(plan) != sha256:
            raise WeightsError(f"{path}: not the engine that the report beside it is of: build both again")
        self.engine = runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise WeightsError(f"{path}: not an engine for this GPU and this TensorRT {trt.__version__}: build it here")
        self.context = self.engine.create_execution_context()
        if self.context is None:
            raise VinrError(f"{path}: TensorRT cannot run it: not enough memory on the GPU")
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


class Engine(Network):
    """The engines that `to_tensorrt` wrote; a Network for `vinr_engine.upscale(..., model=...)`.

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
        self.report = report = Report.read(files.report)
        name = report.builder.split()[0]
        if name not in MODULES:
            raise WeightsError(f"{path}: built by {name}, which is not one of {', '.join(MODULES)}")
        if not torch.cuda.is_available():
            raise UsageError("an engine needs an NVIDIA GPU that torch can use; this machine has none")
        major, minor = torch.cuda.get_device_capability()
        if report.targets and f"SM{major}{minor}" not in report.targets:
            raise WeightsError(
                f"{path}: built for {', '.join(report.targets)}, this GPU is SM{major}{minor}: build it for that"
            )
        _, trt = runtime_module(name)
        self._logger = trt.Logger(trt.Logger.ERROR)
        if report.profile == "plugin":
            library.load(trt, library.find(plugin_library))
        self._runtime = trt.Runtime(self._logger)
        self._encoder, self._query = (
            _Graph(trt, self._runtime, file, report.graphs[graph]["sha256"])
            for file, graph in ((files.encoder, "encoder"), (files.query, "query"))
        )
        self.name = f"{path} ({report.builder})"
        self.limits = report.limits

    def check(self, size: Size, times: Sequence[float | Fraction] | None, frames: Size | None = None) -> None:
        """UsageError unless the engines' profile has pictures of `size` and frames of theirs, at whatever times."""
        low, _, high = self.limits.outputs
        if not _between(low, size, high):
            raise UsageError(f"{_text(size)} lies outside the engine's outputs, {_text(low)} to {_text(high)}")
        low, _, high = self.limits.padded()
        if frames is not None and not _between(low, pad(frames), high):
            raise UsageError(f"frames of {_text(frames)} lie outside the engine's, {_text(low)} to {_text(high)}")

    def encode_pair(self, first: Tensor, second: Tensor) -> Encoded:
        """Two frames [1, 3, h, w] in [0, 1] -> what `query` takes."""
        frames = pad_to_multiple(torch.stack([first, second], 1)).to(DEVICE)
        return Encoded.of(self._encoder.run({"frames": frames}), frames)

    def query(self, features: Encoded, frames: Tensor, times: Times, size: Size, *, shared: None = None) -> Tensor:
        """See Network. Raises UsageError outside the profile."""
        self.check(size, None)
        feeds = dict(features.maps)
        feeds["times"] = times_tensor(times, 1, frames)[:, 0].float()
        feeds["lr_size"], feeds["size"] = torch.tensor(frames.shape[-2:]), torch.tensor(size)
        return self._query.run(feeds)["image"]


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


def _between(low: Size, size: Size, high: Size) -> bool:
    return all(a <= side <= b for a, side, b in zip(low, size, high, strict=True))
