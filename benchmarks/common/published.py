"""The published form of the network as a user of plain torch runs it: what our times are compared with.

The package's reference is a specification and samples by gathers; here sampling is `F.grid_sample` and the deformable
convolution is torchvision's, as in the published code. `baselines.py` holds both to the times that the published
network took elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

import vinr_engine as vinr
from benchmarks.cases import Case
from vinr_engine import reference
from vinr_engine.models.videoinr.encoder import pad_to_multiple
from vinr_engine.reference.mlp import Layer, mlp

WARP_LIMIT = 1 - 1e-6


def _torchvision_op() -> Callable[..., Tensor] | None:
    try:
        from torchvision.ops import deform_conv2d
    except (ImportError, OSError, RuntimeError):  # a torchvision built for another torch raises any of them
        return None
    op: Callable[..., Tensor] = deform_conv2d
    return op


_TORCHVISION = _torchvision_op()
DEFORM_SOURCE = "torchvision" if _TORCHVISION else "reference"


def deform_conv2d(input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
    """3x3, padding 1; torchvision's op, or the package's reference where torchvision is not installed."""
    op = _TORCHVISION or reference.deform_conv2d
    return op(input, offset, weight, bias, padding=(1, 1), mask=mask)


def encode(model: vinr.VideoINR, frames: Tensor) -> Tensor:
    """The published encoder, without shared work; frames [B, 2, 3, h, w] -> [B, 3, nf, ceil4(h), ceil4(w)]."""
    op = _TORCHVISION or reference.deform_conv2d
    features: Tensor = reference.encoder(dict(model.named_parameters()), frames, deform_conv2d=op)
    return features


def reference_deform_conv2d(input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
    """The same in plain torch, which torch.compile can fuse."""
    return reference.deform_conv2d(input, offset, weight, bias, padding=(1, 1), mask=mask)


def _centres(n: int, extent: int, like: Tensor) -> Tensor:
    """Centres of n pixels, normalised so that -1 and 1 are the edges of the first `extent` ones."""
    return (2 * torch.arange(n, device=like.device, dtype=like.dtype) + 1) / extent - 1


def query(
    features: Tensor,
    frames: Tensor,
    time: float,
    size: tuple[int, int],
    networks: Sequence[Sequence[Layer]],
    frame_upsample: int = 4,
) -> Tensor:
    """features [B, 3, nf, ceil4(h), ceil4(w)], frames [B, 2, 3, h, w] -> colour [B, 3, HH, WW] at `time`.

    As published but for the padding, which the published code leaves to its caller.
    """
    feat_layers, flow_layers, encode_layers = networks
    h, w = frames.shape[-2:]
    features, colours = features.flatten(1, 2), pad_to_multiple(frames).flatten(1, 2)
    B, _, padded_h, padded_w = features.shape
    HH, WW = size

    def sample(maps: Tensor, grid: Tensor, mode: str = "bilinear", padded: bool = True) -> Tensor:
        if padded and (padded_h, padded_w) != (h, w):
            grid = (grid + 1) * grid.new_tensor([w / padded_w, h / padded_h]) - 1
        return F.grid_sample(maps, grid, mode, "zeros", align_corners=False).permute(0, 2, 3, 1)

    y, x = torch.meshgrid(_centres(HH, HH, features), _centres(WW, WW, features), indexing="ij")
    centres = torch.stack([x, y], -1).expand(B, HH, WW, 2)
    times = features.new_full((B, HH, WW, 1), time)

    map_centres = (_centres(padded_h, h, features), _centres(padded_w, w, features))
    coordinates = torch.stack(torch.meshgrid(*map_centres, indexing="ij")).expand(B, 2, padded_h, padded_w)
    nearest = [sample(m, centres, "nearest") for m in (features, colours, coordinates)]
    nearest[2] = (torch.stack([y, x], -1) - nearest[2]) * features.new_tensor([h, w])
    hr = mlp(torch.cat([*nearest, times], -1), feat_layers)  # [B, HH, WW, F]

    if frame_upsample != 1:
        fine = (padded_h * frame_upsample, padded_w * frame_upsample)
        colours = F.interpolate(colours, size=fine, mode="bilinear", align_corners=False)
    flow = mlp(torch.cat([hr, sample(features, centres), sample(colours, centres), times], -1), flow_layers)

    lines = (torch.linspace(-1, 1, n, device=flow.device) for n in size)
    base = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], -1)
    half = flow.new_tensor([(WW - 1) / 2, (HH - 1) / 2])
    grids = [(base + flow[..., k : k + 2] / half).clamp(-WARP_LIMIT, WARP_LIMIT) for k in (0, 2)]
    maps = ((hr.permute(0, 3, 1, 2), False), (features, True), (colours, True))
    warped = [sample(m, grid, padded=padded) for m, padded in maps for grid in grids]
    return mlp(torch.cat([*warped, times], -1), encode_layers).permute(0, 3, 1, 2)


def networks(model: vinr.VideoINR) -> list[list[Layer]]:
    """Weights and biases of the query's networks."""
    return [network.layers() for network in (model.feat_imnet, model.flow_imnet, model.encode_imnet)]


def form(case: Case, model: vinr.VideoINR, frame_upsample: int = 4) -> Callable[..., Tensor]:
    """A case of the query, the encoder or both, of `case.inputs()`: features, or frames, one time after the other."""

    def run(*inputs: Tensor) -> Tensor:
        *known, frames = inputs
        features = known[0] if known else encode(model, frames)
        if case.kind == "encoder":
            return features
        layers = networks(model)
        out = [query(features, frames, t, case.size, layers, frame_upsample) for t in case.times]
        return torch.stack(out, 1)

    return run
