"""LIIF's query with the published sizes, EDSR-baseline's features."""

from __future__ import annotations

import itertools

import torch

from benchmarks.family.case import Case, Forms
from vinr_engine import reference
from vinr_engine.drop_in.liif import liif_query

WIDTHS = (580, 256, 256, 256, 256, 3)


def forms(size: int, scale: int) -> Forms:
    n = size * scale
    layers = [((torch.rand(b, a) * 2 - 1) * (6 / a) ** 0.5, torch.rand(b) * 0.1) for a, b in itertools.pairwise(WIDTHS)]
    features = torch.rand(1, 64, size, size) * 2 - 1
    axis = (torch.arange(n) * 2 + 1) / n - 1
    coordinates = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(1, -1, 2)
    cells = torch.full_like(coordinates, 2 / n)

    def straight() -> torch.Tensor:
        return reference.liif_query(features, layers, coordinates, cells).view(1, n, n, -1)

    def ours() -> torch.Tensor:
        return liif_query(features, layers, (n, n))

    def rounded() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return liif_query(features, layers, (n, n))

    return Forms(straight, ours, rounded)


CASES = [Case("liif 48x48 x4", lambda: forms(48, 4))]
