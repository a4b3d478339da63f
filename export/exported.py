"""An exported network, with the face that the video tool uses of `VideoINR`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vinr_engine.export.encoded import Encoded
from vinr_engine.export.onnx_model import FORMAT, METADATA, Pair, paths
from vinr_engine.export.packages import require
from vinr_engine.export.sessions import SESSIONS

from vinr_engine.models.video_inr import pad_to_multiple
from vinr_engine.video.errors import UsageError, WeightsError

PIXELS_AT_ONCE = 1 << 23  # of queries that run together: a 4K picture alone, four of 1080p


def find(folder: str | os.PathLike[str]) -> Pair:
    """The pair of graphs in a folder, or that NAME.onnx stands for. Raises WeightsError."""
    path = Path(folder)
    if path.suffix == ".onnx" or not path.is_dir():
        pair = paths(path)
        if not (pair.encoder.is_file() and pair.query.is_file()):
            raise WeightsError(f"{folder}: no such model (no {pair.encoder.name} and {pair.query.name})")
        return pair
    encoders = sorted(path.glob("*encoder.onnx"))
    pairs = [
        Pair(e, q) for e in encoders if (q := e.with_name(e.name[: -len("encoder.onnx")] + "query.onnx")).is_file()
    ]
    if len(pairs) != 1:
        names = ", ".join(p.encoder.name for p in pairs)
        found = f"several models ({names}): name one of them" if pairs else "no encoder.onnx with its query.onnx"
        raise WeightsError(f"{folder}: {found}")
    return pairs[0]


def metadata(path: Path) -> dict[str, Any]:
    """What the exporter wrote into a graph. Raises WeightsError for a file that it did not write."""
    require("onnx")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError):
        raise WeightsError(f"{path}: not an ONNX file, or a truncated one") from None
    prefix = METADATA + "."
    facts = {p.key.removeprefix(prefix): p.value for p in model.metadata_props if p.key.startswith(prefix)}
    try:
        decoded = {key: json.loads(value) for key, value in facts.items()}
    except json.JSONDecodeError:
        decoded = {}
    if not {"format", "version", "graph", "options"} <= decoded.keys():
        raise WeightsError(f"{path}: not exported by vinr_engine")
    if decoded["format"] != FORMAT:
        raise WeightsError(
            f"{path}: exported by vinr_engine {decoded['version']} in format {decoded['format']}, this version reads "
            f"format {FORMAT}: export it again"
        )
    return decoded


class ExportedModel:
    """Both graphs in a runtime; serves `vinr_engine.upscale(..., model=...)` and `vinr upscale --runtime`.

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
        facts, other = metadata(pair.encoder), metadata(pair.query)
        if (facts["graph"], other["graph"]) != ("encoder", "query"):
            raise WeightsError(f"{folder}: its files hold the graphs {facts['graph']} and {other['graph']}")
        if facts["options"] != other["options"] or facts["config"] != other["config"]:
            raise WeightsError(f"{folder}: its encoder and query were exported apart: export both again")
        if facts["options"]["profile"] == "plugin":
            raise UsageError(
                f"{folder}: the plugin profile is for TensorRT; --runtime {runtime} needs the portable one"
            )
        self.options: dict[str, Any] = facts["options"]
        self.name = f"{folder} ({runtime})"
        self._dtype = np.dtype(self.options["dtype"])
        self._encoder, self._query = (
            SESSIONS[runtime](path, provider, self.options["dtype"], release)
            for path, release in ((pair.encoder, True), (pair.query, False))
        )

    def at_once(self, size: tuple[int, int]) -> int:
        """How many queries for pictures of `size` (height, width) may run together to good use, in bounded memory, each
        on a thread of the caller's."""
        if not self._query.serial:
            return 1
        return max(1, min(torch.get_num_threads(), PIXELS_AT_ONCE // (size[0] * size[1])))

    def pyramid(self, frame: Tensor) -> Tensor:
        """The frame itself: the encoder's graph takes both frames."""
        return frame

    def encode_pyramids(self, first: Tensor, second: Tensor) -> Encoded:
        """Two frames [1, 3, h, w] in [0, 1] -> what `query` takes."""
        frames = pad_to_multiple(torch.stack([first, second], 1)).numpy().astype(self._dtype)
        feeds = {"frames": frames}
        if self.options["frame_upsample"] is None:
            feeds["frame_upsample"] = np.array([4])
        return Encoded.of(self._encoder.run(feeds), frames)

    def query(self, features: Encoded, frames: Tensor, times: Sequence[float], size: tuple[int, int]) -> Tensor:
        """Pictures [1, T, 3, HH, WW] at `times`; see `VideoINR.query`. Raises UsageError outside the graph's sizes."""
        fixed, fixed_times = self.options["size"], self.options["times"]
        if fixed is not None and tuple(fixed) != tuple(size):
            raise UsageError(f"this model makes pictures of {fixed[1]}x{fixed[0]} alone, not {size[1]}x{size[0]}")
        if min(size) < 2:
            raise UsageError(f"an exported model makes pictures from 2x2 up, not {size[1]}x{size[0]}")
        feeds = {**features.maps, "lr_size": np.array(frames.shape[-2:], np.int64)}
        if fixed is None:
            feeds["size"] = np.array(size, np.int64)
        if fixed_times is None:
            feeds["times"] = np.array(times, np.float32)
        elif not set(times) <= set(fixed_times):
            raise UsageError(f"this model decodes the times {fixed_times} alone, not {list(times)}")
        image = torch.from_numpy(self._query.run(feeds)["image"])
        if fixed_times is None:
            return image
        return image[:, [fixed_times.index(t) for t in times]]
