"""Of which network parameters are, by their names: what errors say of checkpoints that are not taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# The network, and parameters that it has and none of those before it.
_KINDS = (
    ("BF-STVSR", ("flow_imnet.t_dilation.weight",)),
    ("MoTIF", ("flow_process.0.weight",)),
    ("VideoINR", ("encode_imnet.net.0.linear.weight",)),
    ("LTE", ("coef.weight", "freq.weight", "imnet.layers.0.weight")),
    ("LTE-fast", ("coef.weight", "freq.weight", "layers.0.weight")),
    ("LIIF", ("imnet.layers.0.weight",)),
)
# Where to go with parameters of networks that are not loaded as a whole.
_PAGES = {
    "MoTIF": "docs/drop-in-motif.md",
    "LTE": "docs/drop-in-lte.md",
    "LTE-fast": "docs/drop-in-lte.md",
    "LIIF": "docs/drop-in-liif.md",
    "V3": "docs/drop-in-v3.md",
    "Thera": "docs/drop-in-thera.md",
}


def kind_of(state: Mapping[str, Any] | Iterable[str]) -> str:
    """The name of the network; empty if it is not known."""
    names = {name.removeprefix("module.") for name in state}
    return next((kind for kind, needed in _KINDS if names.issuperset(needed)), "")


def told(kind: str) -> str:
    """What an error says of a network that is known but not loaded; empty for others."""
    return f"this is a {kind} checkpoint, whose query {_PAGES[kind]} runs" if kind in _PAGES else ""
