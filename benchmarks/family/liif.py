"""LIIF's query with the published sizes, EDSR-baseline's features; and with the published weights, where they are."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from benchmarks.family import published_liif
from benchmarks.family.case import Case, Forms, rounded
from vinr_engine import reference
from vinr_engine.drop_in.liif import liif_query

WIDTHS = (580, 256, 256, 256, 256, 3)
CHUNK = 4096  # queries at a time, the fastest of the straight form


def forms(size: int, scale: int) -> Forms:
    n = size * scale
    layers = [((torch.rand(b, a) * 2 - 1) * (6 / a) ** 0.5, torch.rand(b) * 0.1) for a, b in itertools.pairwise(WIDTHS)]
    features = torch.rand(1, 64, size, size) * 2 - 1
    coordinates, cells = published_liif.grid((n, n))

    def straight() -> Tensor:
        parts = zip(coordinates.split(CHUNK, 1), cells.split(CHUNK, 1), strict=True)
        return torch.cat([reference.liif_query(features, layers, *part) for part in parts], 1).view(1, n, n, -1)

    def ours() -> Tensor:
        return liif_query(features, layers, (n, n))

    return Forms(straight, ours, rounded(ours))


def published_forms(size: tuple[int, int], output: tuple[int, int]) -> Forms:
    """The published code and weights, on features of their own encoder."""
    network = published_liif.model()
    with torch.inference_mode():
        features = network.gen_feat(published_liif.picture(size), "cpu")
    coordinates, cells = published_liif.grid(output)

    def straight() -> Tensor:
        return published_liif.straight(network, coordinates, cells, CHUNK).view(1, *output, 3)

    def ours() -> Tensor:
        return liif_query(features, network.imnet, output)

    return Forms(straight, ours, rounded(ours))


CASES = [Case("liif 48x48 x4", lambda: forms(48, 4))]
if published_liif.folder() is not None:
    CASES += [
        Case("liif real weights 48x48 x4", lambda: published_forms((48, 48), (192, 192)), 8),
        Case("liif real weights 160x90 x4", lambda: published_forms((90, 160), (360, 640)), 8, compiles=False),
    ]
