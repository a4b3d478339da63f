"""LTE's and LTE-fast's queries with the published sizes, EDSR-baseline's features."""

from __future__ import annotations

import itertools
from functools import partial

import torch
from torch import Tensor

from benchmarks.family.case import Case, Forms, rounded
from vinr_engine import reference
from vinr_engine.drop_in.lte import lte_query

CHANNELS, WIDTHS = 64, (256, 256, 256, 256, 3)
CHUNK = 4096  # points at a time, the fastest of the straight form


def parameters(fast: bool) -> dict[str, Tensor]:
    """Drawn, by the names of checkpoints."""

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.rand(shape) * 2 - 1) * scale

    D = WIDTHS[0]
    found = {"phase.weight": draw(D // 2, 2)}
    for name in ("coef", "freq"):
        found |= {f"{name}.weight": draw(D, CHANNELS, 3, 3, scale=0.07), f"{name}.bias": draw(D)}
    for i, (a, b) in enumerate(itertools.pairwise(WIDTHS)):
        name = f"layers.{2 * i}" if fast else f"imnet.layers.{2 * i}"
        weight = draw(b, a, scale=(6 / a) ** 0.5)
        found |= {f"{name}.weight": weight[..., None, None] if fast else weight, f"{name}.bias": draw(b, scale=0.1)}
    return found


def forms(size: tuple[int, int], scale: int, fast: bool) -> Forms:
    p = parameters(fast)
    h, w = size
    H, W = h * scale, w * scale
    features, image = torch.rand(1, CHANNELS, h, w) * 2 - 1, torch.rand(1, 3, h, w) * 2 - 1
    axes = [(torch.arange(n) * 2 + 1) / n - 1 for n in (H, W)]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)[None]
    cell = torch.tensor([[2 / H, 2 / W]])
    coef, freq = ((p[f"{name}.weight"], p[f"{name}.bias"]) for name in ("coef", "freq"))
    prefix = "layers" if fast else "imnet.layers"
    layers = [(p[f"{prefix}.{2 * i}.weight"], p[f"{prefix}.{2 * i}.bias"]) for i in range(len(WIDTHS) - 1)]

    def straight() -> Tensor:
        if fast:  # a grid, by bands of rows
            bands = coordinates.split(max(1, CHUNK // W), 1)
            query = partial(reference.lte_fast_query, features, coef, freq, p["phase.weight"], layers)
            return torch.cat([query(band, cell, image) for band in bands], 2).permute(0, 2, 3, 1)
        query = partial(reference.lte_query, features, coef, freq, p["phase.weight"], layers)
        chunks = coordinates.flatten(1, 2).split(CHUNK, 1)
        return torch.cat([query(c, cell.expand_as(c), image) for c in chunks], 1).view(1, H, W, -1)

    def ours() -> Tensor:
        return lte_query(features, p, (H, W), image=image)

    return Forms(straight, ours, rounded(ours))


CASES = [
    Case("lte 48x48 x4", lambda: forms((48, 48), 4, False), 5),
    Case("lte-fast 48x48 x4", lambda: forms((48, 48), 4, True), 5),
    Case("lte 160x90 x4", lambda: forms((90, 160), 4, False), 5, compiles=False),
]
