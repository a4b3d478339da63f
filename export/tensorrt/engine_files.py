"""The files of a TensorRT engine: one for each graph, and the report of their build."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vinr_engine._version import __version__
from vinr_engine.errors import UsageError, WeightsError
from vinr_engine.export.metadata import word
from vinr_engine.models.layers.blocks import padding_to_multiple
from vinr_engine.models.network import Size
from vinr_engine.models.videoinr.encoder import PADDING_MULTIPLE

TARGETS = ("SM80", "SM86", "SM89", "SM120")  # what TensorRT-RTX builds for without the GPU
LONGEST = 64  # letters of a word in a report: a digest's


def pad(size: Size) -> Size:
    """A frame's size as the encoder takes it."""
    _, right, _, below = padding_to_multiple(*size, PADDING_MULTIPLE)
    return size[0] + below, size[1] + right


@dataclass(frozen=True)
class Limits:
    """What an engine is built for: the least, the usual and the largest (height, width) of frames and of outputs, and
    the usual and the largest number of times at once."""

    frames: tuple[Size, Size, Size] = ((64, 64), (180, 320), (540, 960))
    outputs: tuple[Size, Size, Size] = ((64, 64), (720, 1280), (2160, 3840))
    times: tuple[int, int] = (7, 16)

    def __post_init__(self) -> None:
        for name, sizes in (("frames", self.frames), ("outputs", self.outputs)):
            if any(not 2 <= a <= b <= c <= 1 << 15 for a, b, c in zip(*sizes, strict=True)):
                text = ",".join(f"{w}x{h}" for h, w in sizes)
                raise UsageError(f"--{name} must be rising sizes MIN,OPT,MAX from 2x2 to 32768x32768, got {text}")
        if not 1 <= self.times[0] <= self.times[1]:
            raise UsageError(f"times must be rising numbers from 1 up, got {self.times[0]}, {self.times[1]}")

    def padded(self) -> list[Size]:
        """The sizes of frames as the encoder takes them."""
        return [pad(size) for size in self.frames]


@dataclass(frozen=True)
class Files:
    """Where the engines and the report of their build are."""

    encoder: Path
    query: Path
    report: Path


def paths(destination: str | os.PathLike[str]) -> Files:
    """NAME.engine gives NAME.encoder.engine, NAME.query.engine and NAME.json."""
    path = Path(destination)
    if path.suffix != ".engine":
        raise UsageError(f"{destination}: an engine's name ends in .engine")
    return Files(path.with_suffix(".encoder.engine"), path.with_suffix(".query.engine"), path.with_suffix(".json"))


@dataclass(frozen=True)
class Report:
    """How engines were built; `graphs` has bytes, seconds and sha256 of each."""

    version: str
    builder: str
    targets: tuple[str, ...]
    dtype: str
    limits: Limits
    workspace: int | None
    config: dict[str, Any]
    frame_upsample: int
    profile: str
    graphs: dict[str, dict[str, Any]]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def read(cls, path: Path) -> Report:
        """WeightsError for a file that `to_tensorrt` did not write."""
        try:
            values = json.loads(path.read_text())
            if word(values["version"], LONGEST) != __version__:
                raise WeightsError(
                    f"{path}: built by vinr_engine {values['version']}, this is {__version__}: build it again"
                )
            values["limits"] = Limits(*(_tuples(values["limits"][name]) for name in ("frames", "outputs", "times")))
            values["targets"] = tuple(values["targets"])
            report = cls(**values)
            for text in (*report.builder.split(" "), *report.targets):
                word(text, LONGEST)
            for graph in ("encoder", "query"):
                word(report.graphs[graph]["sha256"], LONGEST)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, UsageError):
            raise WeightsError(f"{path}: not a report of vinr export tensorrt") from None
        return report


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def fingerprint(plan: bytes) -> str:
    """By which a report knows its engines."""
    return hashlib.sha256(plan).hexdigest()
