"""An exported network in ONNX Runtime or OpenVINO."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from vinr_engine.errors import UsageError, WeightsError
from vinr_engine.export import metadata
from vinr_engine.export.encoded import Encoded
from vinr_engine.export.onnx.files import find
from vinr_engine.export.runtimes.sessions import SESSIONS, Array
from vinr_engine.memory import Need
from vinr_engine.models.network import Network, Size, Times, times_tensor
from vinr_engine.models.videoinr.encoder import pad_to_multiple

PIXELS_AT_ONCE = 1 << 23  # of queries that run together: a 4K picture alone, four of 1080p
RECURRENT, FORWARD = 770, 430
"""Bytes that ONNX Runtime takes for each feature of an input pixel, with and without a recurrent part."""


class ExportedModel(Network):
    """Both graphs in a runtime: a Network for `vinr_engine.upscale(..., model=...)` and `vinr upscale --runtime`.

    Args:
        folder: what `to_onnx` wrote: the folder, or NAME.onnx.
        runtime: "onnxruntime" or "openvino"; for "tensorrt" see `Engine`.
        provider: of ONNX Runtime an execution provider, such as "CUDA"; of OpenVINO a device; None for its first.

    Raises:
        UsageError: an unknown runtime or provider, or one that is not installed.
        WeightsError: files that are missing, are not ours, or that the runtime refuses.
    """

    def __init__(
        self, folder: str | os.PathLike[str], runtime: str = "onnxruntime", provider: str | None = None
    ) -> None:
        if runtime not in SESSIONS:
            raise UsageError(f"--runtime must be one of {', '.join(SESSIONS)}, got {runtime!r}")
        self.pair = pair = find(folder)
        facts, other = metadata.read(pair.encoder), metadata.read(pair.query)
        if (facts.graph, other.graph) != metadata.GRAPHS:
            raise WeightsError(f"{folder}: its files hold the graphs {facts.graph} and {other.graph}")
        if replace(facts, graph=other.graph) != other:
            raise WeightsError(f"{folder}: its encoder and query were exported apart: export both again")
        if facts.options.profile == "plugin":
            raise UsageError(
                f"{folder}: the plugin profile is for TensorRT; --runtime {runtime} needs the portable one"
            )
        self.options, self._config, self._runtime = facts.options, facts.config, runtime
        self._network = facts.network
        self.name = f"{folder} ({runtime})"
        self._dtype = np.dtype(self.options.dtype)
        self._encoder, self._query = (
            SESSIONS[runtime](path, provider, self.options.dtype, release)
            for path, release in ((pair.encoder, True), (pair.query, False))
        )

    def check(self, size: Size, times: Sequence[float | Fraction] | None, frames: Size | None = None) -> None:
        """UsageError unless it makes pictures of `size` at all of `times`; it takes frames of every size."""
        fixed, fixed_times = self.options.size, self.options.times
        if fixed is not None and fixed != tuple(size):
            raise UsageError(f"this model makes pictures of {fixed[1]}x{fixed[0]} alone, not {size[1]}x{size[0]}")
        if min(size) < 2:
            raise UsageError(f"an exported model makes pictures from 2x2 up, not {size[1]}x{size[0]}")
        if fixed_times is None:
            return
        had = ",".join(f"{t:.6g}" for t in fixed_times)
        if times is None:
            raise UsageError(f"this model decodes the times {had} alone, and any may be needed: export it without")
        if any(_place(t, fixed_times) is None for t in times):
            asked = ",".join(f"{float(t):.6g}" for t in times)
            raise UsageError(f"this model decodes the times {had} alone, not {asked}: export it for those")

    def at_once(self, size: Size) -> int:
        """How many queries may run together to good use, in bounded memory; see Network."""
        if not self._query.serial or self.options.times is not None:  # of fixed times one run makes all
            return 1
        return max(1, min(torch.get_num_threads(), PIXELS_AT_ONCE // (size[0] * size[1])))

    def need(self, frames: Size, size: Size) -> Need | None:
        """See Network; measured of a VideoINR with ONNX Runtime on a CPU, the only runtime of which it is said. Graphs
        of one size take no tiles."""
        if self._runtime != "onnxruntime" or self._network != "VideoINR" or self.options.size is not None:
            return None
        values = self._config["nf"] * frames[0] * frames[1]
        return Need(0, 12 * values, (RECURRENT if self._config["recurrent"] else FORWARD) * values)

    def encode_pair(self, first: Tensor, second: Tensor) -> Encoded:
        """Two frames [1, 3, h, w] in [0, 1] -> what `query` takes."""
        frames = pad_to_multiple(torch.stack([first, second], 1)).numpy().astype(self._dtype)
        feeds = {"frames": frames}
        if self.options.frame_upsample is None:
            feeds["frame_upsample"] = np.array([4])
        return Encoded.of(self._encoder.run(feeds), frames)

    def query(self, features: Encoded, frames: Tensor, times: Times, size: Size, *, shared: None = None) -> Tensor:
        """See Network. Raises UsageError outside the graph's sizes."""
        times = times_tensor(times, 1, frames)[:, 0].tolist()
        self.check(size, times)
        if self.options.times is None:
            return torch.from_numpy(self._decoded(features, frames, size, times))
        if features.pictures is None or features.pictures.shape[-2:] != tuple(size):
            features.pictures = self._decoded(features, frames, size)
        places = [_place(t, self.options.times) for t in times]
        return torch.from_numpy(features.pictures[:, places])

    def _decoded(self, features: Encoded, frames: Tensor, size: Size, times: Sequence[float] | None = None) -> Array:
        feeds = {**features.maps, "lr_size": np.array(frames.shape[-2:], np.int64)}
        if self.options.size is None:
            feeds["size"] = np.array(size, np.int64)
        if times is not None:
            feeds["times"] = np.array(times, np.float32)
        return self._query.run(feeds)["image"]


def _place(time: float | Fraction, times: Sequence[float]) -> int | None:
    """Where `time` is among `times`, which may have been written with six digits; None if it is not."""
    return next((k for k, t in enumerate(times) if abs(t - time) < 1e-6), None)
