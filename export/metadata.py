"""What an exported graph says of itself, in the metadata of its ONNX file."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vinr_engine._version import __version__
from vinr_engine.errors import UsageError, WeightsError
from vinr_engine.export.options import Options
from vinr_engine.export.packages import require
from vinr_engine.models import BFSTVSR, Network, VideoINR
from vinr_engine.models.checkpoint import parameters_digest

PREFIX = "vinr_engine"  # of the keys
FORMAT = 3  # of these facts and of the graphs' inputs and outputs; a reader refuses any other
GRAPHS = ("encoder", "query")
Exportable = VideoINR | BFSTVSR
NETWORKS = ("VideoINR", "BFSTVSR")


@dataclass(frozen=True)
class Facts:
    """Which of the two graphs it is, of which network and weights, made with which options."""

    graph: str
    network: str
    config: dict[str, Any]
    weights: str
    options: Options


def exportable(model: Network) -> Exportable:
    """The network, if it is one that can be exported. Raises UsageError."""
    if not isinstance(model, VideoINR | BFSTVSR):
        raise UsageError(f"a {type(model).__name__} cannot be exported: of all networks, VideoINR and BFSTVSR alone")
    return model


def of(model: Exportable, options: Options, graph: str) -> dict[str, str]:
    """The entries of one graph."""
    facts = {
        "format": FORMAT,
        "version": __version__,
        "graph": graph,
        "network": type(model).__name__,
        "config": model.config,
        "weights": parameters_digest(model),  # by which the two graphs of one network know each other
        "options": asdict(options),
        "limits": {"sides_multiple_of": 4, "largest_side": 1 << 15, "times": [0, 1], "batch": 1},
    }
    return {f"{PREFIX}.{key}": json.dumps(value) for key, value in facts.items()}


def read(path: Path) -> Facts:
    """What the exporter wrote into a graph. Raises WeightsError for a file that it did not write."""
    require("onnx")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError):
        raise WeightsError(f"{path}: not an ONNX file, or a truncated one") from None
    prefix = f"{PREFIX}."
    entries = {p.key.removeprefix(prefix): p.value for p in model.metadata_props if p.key.startswith(prefix)}
    if not {"format", "version", "graph", "options"} <= entries.keys():
        raise WeightsError(f"{path}: not exported by vinr_engine")
    try:
        facts = {key: json.loads(value) for key, value in entries.items()}
        if facts["format"] != FORMAT:
            raise WeightsError(
                f"{path}: exported by vinr_engine {word(facts['version'], 40)} in format {int(facts['format'])}, this "
                f"version reads format {FORMAT}: export it again"
            )
        return _checked(facts)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, UsageError):
        raise WeightsError(f"{path}: its metadata are damaged: export it again") from None


def _checked(facts: dict[str, Any]) -> Facts:
    """ValueError, TypeError, KeyError or UsageError for what the exporter never writes."""
    graph, network, config, weights, options = (facts[k] for k in ("graph", "network", "config", "weights", "options"))
    if graph not in GRAPHS or network not in NETWORKS or not isinstance(config, dict) or not isinstance(weights, str):
        raise ValueError
    for name in ("times", "size"):
        if options[name] is not None:
            options[name] = tuple(options[name])
    return Facts(graph, network, config, weights, Options(**options))


def word(text: str, longest: int) -> str:
    """The text, if nothing in it acts on a terminal, and it is one word and no longer. ValueError, TypeError."""
    if len(text) > longest or not re.fullmatch(r"[\w.+-]+", text, re.ASCII):
        raise ValueError("not a word")
    return text
