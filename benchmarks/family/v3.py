"""V3's and Thera's queries with the published sizes, the 1x1 convolution included: pictures from features."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.family.case import Case, Forms, rounded
from vinr_engine import reference
from vinr_engine.drop_in.thera import TheraQuery
from vinr_engine.drop_in.v3 import V3Query, nearest_frames, times_of

# Output pixels a side that the straight form decodes at once. The published scripts take 32; on CPUs 16 is fastest, its
# numbers staying in the caches.
TILE = 16


def _straight(
    query: V3Query | TheraQuery,
    frequencies: Tensor,
    features: Tensor,
    base: Tensor,
    size: tuple[int, int],
    times: tuple[Tensor, Tensor] | None,
) -> Tensor:
    head = query.out_conv.kernel.t().contiguous(), query.out_conv.bias
    damping = reference.field_damping(frequencies, query.k, features.shape[1] ** 2 / size[0] ** 2)
    field = reference.v3_query(features, head, frequencies, damping, size, times, tile=TILE)
    (ky, _), (kx, _) = (reference.nearest_pixels(n, m) for n, m in zip(base.shape[1:3], size, strict=True))
    enlarged = base[:, ky][:, :, kx] if times is None else base[times[0]][:, ky][:, :, kx]
    return (field * torch.tensor(query.std) + torch.tensor(query.mean) + enlarged).clamp(0, 1)


def v3(pixels: int, outputs: int, frames: int, rate: int) -> Forms:
    query, times = V3Query(), times_of(frames, rate)
    torch.nn.init.normal_(query.out_conv.kernel, std=0.01)
    features, base = torch.randn(frames, pixels, pixels, 256), torch.rand(frames, pixels, pixels, 3)
    size = (outputs, outputs)
    index, offset = nearest_frames(times, frames)

    def straight() -> Tensor:
        return _straight(query, query.freqs, features, base, size, (index, offset.float()))

    def ours() -> Tensor:
        return query(features, base, size, times)

    return Forms(straight, ours, rounded(ours))


def thera(functions: int, pixels: int, outputs: int) -> Forms:
    query = TheraQuery(64, functions)
    torch.nn.init.normal_(query.out_conv.kernel, std=0.01)
    features, base, size = torch.randn(1, pixels, pixels, 64), torch.rand(1, pixels, pixels, 3), (outputs, outputs)

    def straight() -> Tensor:
        return _straight(query, query.components, features, base, size, None)

    def ours() -> Tensor:
        return query(features, base, size)

    return Forms(straight, ours, rounded(ours))


CASES = [
    Case("v3 48x48 x4, time x8", lambda: v3(48, 192, 2, 8), wanted=60, compiles=False),
    Case("v3 48x48 x4", lambda: v3(48, 192, 2, 1), wanted=30, compiles=False),
    Case("v3 48x48 x2, time x2", lambda: v3(48, 96, 3, 2), wanted=6, compiles=False),
    Case("v3 40x40 to 104x104, time x2", lambda: v3(40, 104, 2, 2), compiles=False),
    Case("v3 41x41 to 100x100, time x2", lambda: v3(41, 100, 2, 2), compiles=False),
    Case("thera air 96x96 x4", lambda: thera(32, 96, 384), compiles=False),
    Case("thera plus 48x48 x4", lambda: thera(512, 48, 192), compiles=False),
]
