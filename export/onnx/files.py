"""The two files of an exported network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vinr_engine.errors import WeightsError


@dataclass(frozen=True)
class Pair:
    """Where the two graphs of a model are."""

    encoder: Path
    query: Path


def paths(destination: str | os.PathLike[str]) -> Pair:
    """The two files that a destination names: NAME.onnx gives NAME.encoder.onnx and NAME.query.onnx, else a folder."""
    path = Path(destination)
    if path.suffix == ".onnx":
        return Pair(path.with_suffix(".encoder.onnx"), path.with_suffix(".query.onnx"))
    return Pair(path / "encoder.onnx", path / "query.onnx")


def find(folder: str | os.PathLike[str]) -> Pair:
    """The pair of graphs in a folder, that NAME.onnx stands for, or that a file belongs to. Raises WeightsError."""
    path = Path(folder)
    if path.suffix == ".onnx" or not path.is_dir():
        pair = next((p for p in _pairs(path.parent) if path in (p.encoder, p.query)), paths(path))
        if not (pair.encoder.is_file() and pair.query.is_file()):
            raise WeightsError(f"{folder}: no such model (no {pair.encoder.name} and {pair.query.name})")
        return pair
    pairs = _pairs(path)
    if len(pairs) != 1:
        names = ", ".join(p.encoder.name for p in pairs)
        found = f"several models ({names}): name one of them" if pairs else "no encoder.onnx with its query.onnx"
        raise WeightsError(f"{folder}: {found}")
    return pairs[0]


def _pairs(folder: Path) -> list[Pair]:
    encoders = sorted(folder.glob("*encoder.onnx"))
    pairs = [Pair(e, e.with_name(e.name[: -len("encoder.onnx")] + "query.onnx")) for e in encoders]
    return [pair for pair in pairs if pair.query.is_file()]
