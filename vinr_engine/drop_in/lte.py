"""The queries of LTE and LTE-fast, for projects that have its encoder and want the rest faster.

from vinr_engine.drop_in.lte import accelerate
accelerate(model)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.backends import LOW_PRECISION
from vinr_engine.drop_in.liif import neighbour
from vinr_engine.ops.checks import check, check_layers, check_rank, check_shape
from vinr_engine.ops.fourier_mlp import fourier_mlp
from vinr_engine.reference.mlp import Layer

OP = "lte_query"
NAMES = "coef, freq, phase and imnet (LTE) or layers (LTE-fast)"


class Parts(NamedTuple):
    """What a model's query consists of, but for its encoder."""

    coef: Layer  # weights [D, C, 3, 3]
    freq: Layer
    phase: Tensor  # [D / 2, 2]
    layers: Sequence[Layer]  # from D inputs
    fast: bool


def parts_of(model: nn.Module | Mapping[str, Tensor]) -> Parts:
    """Of a module of LTE or LTE-fast, or its parameters by the names of its checkpoints. Raises ValueError."""
    parts = _of_module(model) if isinstance(model, nn.Module) else _of_parameters(model)
    (weight, bias), (freq, freq_bias), phase, layers, _ = parts
    check(weight.dim() == 4, OP, "coef.weight must be [D, C, 3, 3], got {}", weight.shape)
    D, C = weight.shape[:2]
    for name, tensor in (("coef", weight), ("freq", freq)):
        check_shape(OP, f"{name}.weight", tensor, "[D, C, 3, 3]", (D, C, 3, 3))
    for name, tensor in (("coef", bias), ("freq", freq_bias)):
        check_shape(OP, f"{name}.bias", tensor, "[D]", (D,))
    check(D % 2 == 0, OP, "coef.weight must have an even number of outputs, got {}", D)
    check_shape(OP, "phase.weight", phase, "[D / 2, 2]", (D // 2, 2))
    check_layers(OP, "layers", layers, D)
    return parts


def _of_module(model: nn.Module) -> Parts:
    fast = not isinstance(getattr(model, "imnet", None), nn.Module)
    names = ("coef", "freq", "phase", "layers" if fast else "imnet")
    missing = [name for name in names if not isinstance(getattr(model, name, None), nn.Module)]
    check(not missing, OP, "model must have {}, got a {} without {}", NAMES, type(model).__name__, ", ".join(missing))
    coef, freq, phase, head = (getattr(model, name) for name in names)
    for name, module in (("coef", coef), ("freq", freq)):
        plain = isinstance(module, nn.Conv2d) and module.padding == module.stride == (1, 1) and module.bias is not None
        check(plain, OP, "{} must be a 3x3 convolution with padding 1 and a bias, got {}", name, module)
    without_bias = isinstance(phase, nn.Linear) and phase.bias is None
    check(without_bias, OP, "phase must be a Linear layer without bias, got {}", phase)
    leaves = [m for m in head.modules() if not any(True for _ in m.children())]
    kind = nn.Conv2d if fast else nn.Linear
    alternate = len(leaves) % 2 == 1 and all(isinstance(m, nn.ReLU if i % 2 else kind) for i, m in enumerate(leaves))
    wanted = "1x1 convolutions" if fast else "Linear layers"
    check(alternate, OP, "{} must be {} with a ReLU between them, got {}", names[3], wanted, leaves)
    pairs = [(m.weight, m.bias) for m in leaves[::2]]
    return Parts((coef.weight, coef.bias), (freq.weight, freq.bias), phase.weight, _flat(pairs, fast), fast)


def _of_parameters(parameters: Mapping[str, Tensor]) -> Parts:
    fast = "imnet.layers.0.weight" not in parameters
    prefix = "layers." if fast else "imnet.layers."
    last = max([0, *[n for n in range(0, len(parameters), 2) if f"{prefix}{n}.weight" in parameters]])
    names = ["coef.weight", "coef.bias", "freq.weight", "freq.bias", "phase.weight"]
    names += [f"{prefix}{n}.{which}" for n in range(0, last + 1, 2) for which in ("weight", "bias")]
    missing = [name for name in names if name not in parameters]
    check(not missing, OP, "model must have {}, got parameters without {}", NAMES, ", ".join(missing))
    coef, coef_bias, freq, freq_bias, phase, *rest = (parameters[name] for name in names)
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    return Parts((coef, coef_bias), (freq, freq_bias), phase, _flat(pairs, fast), fast)


def _flat(pairs: Sequence[tuple[Tensor, Tensor | None]], fast: bool) -> list[Layer]:
    """Weights of 1x1 convolutions as those of Linear layers, and zeros for biases that are not there."""
    for i, (weight, _) in enumerate(pairs):
        if fast:
            check(weight.dim() == 4, OP, "layers.{}.weight must be [out, in, 1, 1], got {}", 2 * i, weight.shape)
            check_shape(OP, f"layers.{2 * i}.weight", weight, "[out, in, 1, 1]", (*weight.shape[:2], 1, 1))
        else:
            check_rank(OP, f"imnet.layers.{2 * i}.weight", weight, "[out, in]")
    return [(w.flatten(1), w.new_zeros(len(w)) if b is None else b) for w, b in pairs]


class Maps(NamedTuple):
    """Amplitudes and frequencies of features' pixels: [B, h w, D] each, frequencies along y, then those along x."""

    coef: Tensor
    freq: Tensor
    size: tuple[int, int]


def maps_of(features: Tensor, parts: Parts) -> Maps:
    """Both convolutions of features [B, C, h, w]; frequencies are float32 or wider whatever the rest."""
    check_rank(OP, "features", features, "[B, C, h, w]")
    B, _, h, w = features.shape
    (coef, coef_bias), (freq, freq_bias) = parts.coef, parts.freq
    check_shape(OP, "features", features, "[B, C, h, w]", (B, coef.shape[1], h, w))
    check(h > 0 and w > 0, OP, "features must have pixels, got {}", features.shape)
    D = len(coef)
    if not parts.fast:  # pairs of the weights turned round are far fewer than pairs of the map
        freq, freq_bias = (t.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1) for t in (freq, freq_bias))

    def project(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        last = torch.channels_last
        out = F.conv2d(x.contiguous(memory_format=last), weight.contiguous(memory_format=last), bias, padding=1)
        return out.permute(0, 2, 3, 1).reshape(B, h * w, len(weight))

    device = features.device.type
    if features.dtype in LOW_PRECISION or torch.is_autocast_enabled(device):
        low = project(features, coef, coef_bias)
        with torch.autocast(device, enabled=False):
            return Maps(low, project(features.float(), freq.float(), freq_bias.float()), (h, w))
    both = project(features, torch.cat([coef, freq]), torch.cat([coef_bias, freq_bias]))
    return Maps(both[..., :D], both[..., D:], (h, w))


def _near(coordinates: Tensor, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """On an axis of n pixels, of each coordinate's two neighbours: index and distance in half pixels, [.., 2]."""
    index, distance = zip(*(neighbour(coordinates.double(), n, sign) for sign in (-1, 1)), strict=True)
    return torch.stack(index, -1).long(), torch.stack(distance, -1).to(dtype)


def query_maps(maps: Maps, parts: Parts, y: Tensor, x: Tensor, cell: Tensor) -> Tensor:
    """Colours [B, Q, out] at coordinates y and x [B or 1, *] that broadcast to Q in all, with cells [B, Q or 1, 2]."""
    (h, w), B = maps.size, len(maps.coef)
    Q = torch.broadcast_shapes(y.shape, x.shape)[1:].numel()
    dtype = maps.freq.dtype
    (at_y, from_y), (at_x, from_x) = _near(y, h, dtype), _near(x, w, dtype)
    index = at_y[..., :, None] * w + at_x[..., None, :]  # [B or 1, *, 2, 2], neighbours y before x
    relative = torch.stack(torch.broadcast_tensors(from_y[..., :, None], from_x[..., None, :]), -1)
    area = (from_y[..., :, None] * from_x[..., None, :]).abs() + 1e-9
    share = (area / area.sum((-1, -2), keepdim=True)).flip(-1, -2)  # of the neighbour opposite to each

    def of_all(t: Tensor, *last: int) -> Tensor:
        return t.reshape(len(t), Q, *last).expand(B, Q, *last)

    scale = torch.tensor([h, w], dtype=cell.dtype, device=cell.device)
    return fourier_mlp(
        maps.coef, maps.freq, of_all(index, 4), of_all(relative, 4, 2), parts.phase, parts.layers, of_all(share, 4),
        cell=cell * scale,
    )  # fmt: skip


def lte_query(
    features: Tensor,
    model: nn.Module | Mapping[str, Tensor],
    size: tuple[int, int] | None = None,
    *,
    coordinates: Tensor | None = None,
    cells: Tensor | None = None,
    image: Tensor | None = None,
) -> Tensor:
    """Colours that LTE, or LTE-fast, gives at an output size, or at single coordinates.

    Both convolutions run as one, on the features; the rest is `vinr_engine.ops.fourier_mlp`, which stores nothing of a
    point but its colour.

    Args:
        features: [B, C, h, w], the encoder's output.
        model: a module with coef, freq (3x3 convolutions), phase (Linear) and imnet (LTE: Linear and ReLU in turn) or
            layers (LTE-fast: 1x1 convolutions and ReLU in turn); or its parameters by their names in its checkpoints,
            `state_dict()` with or without the encoder's.
        size: (HH, WW) of an output that covers the features' extent; or
        coordinates: [B, Q, 2], (y, x) in [-1, 1], with cells.
        cells: height and width of a query's pixel in the same unit, [B, Q, 2], or [B, 2] for all of a picture; with a
            size (2 / HH, 2 / WW) where it is None. Published tests multiply them by max(scale / 4, 1).
        image: [B, out, H, W], read bilinearly and added, in [-1, 1] as published; None adds nothing.

    Returns:
        [B, HH, WW, out] for a size, [B, Q, out] for coordinates.

    Differentiable in features, the model's parameters, coordinates, cells and image. Neighbours are found in float64;
    frequencies and angles are float32 or wider whatever the rest.

    Raises:
        ValueError: shapes that do not fit, a module of another kind, both or neither of size and coordinates.

    Source: Lee and Jin, "Local Texture Estimator for Implicit Representation Function", CVPR 2022.
    """
    parts = parts_of(model)
    check((size is None) != (coordinates is None), OP, "either size or coordinates must be given")
    if size is not None:
        check(len(size) == 2 and min(size) > 0, OP, "size must be two positive numbers, got {}", size)
    maps = maps_of(features, parts)
    B = len(features)
    outputs = len(parts.layers[-1][1])
    if image is not None:
        check_rank(OP, "image", image, "[B, out, H, W]")
        check_shape(OP, "image", image, "[B, out, H, W]", (B, outputs, *image.shape[2:]))
    if coordinates is not None:
        return _at(maps, parts, coordinates, cells, image)
    assert size is not None
    y, x = ((torch.arange(n, device=features.device).double() * 2 + 1) / n - 1 for n in size)
    if cells is None:
        cells = torch.tensor([2 / n for n in size], dtype=maps.freq.dtype, device=features.device).expand(B, 2)
    check_shape(OP, "cells", cells, "[B, 2] with a size", (B, 2))
    out = query_maps(maps, parts, y[None, :, None], x[None, None, :], cells[:, None]).view(B, *size, outputs)
    if image is None:
        return out
    return out + F.interpolate(image, size, mode="bilinear", align_corners=False).permute(0, 2, 3, 1).to(out.dtype)


def _at(maps: Maps, parts: Parts, coordinates: Tensor, cells: Tensor | None, image: Tensor | None) -> Tensor:
    """Colours [B, Q, out] at coordinates [B, Q, 2]."""
    B = len(maps.coef)
    check_rank(OP, "coordinates", coordinates, "[B, Q, 2]")
    Q = coordinates.shape[1]
    check_shape(OP, "coordinates", coordinates, "[B, Q, 2]", (B, Q, 2))
    check(cells is not None, OP, "coordinates need cells beside them")
    assert cells is not None
    if cells.dim() == 2:
        check_shape(OP, "cells", cells, "[B, 2]", (B, 2))
        cells = cells[:, None]
    else:
        check_shape(OP, "cells", cells, "[B, Q, 2] or [B, 2]", (B, Q, 2))
    out = query_maps(maps, parts, coordinates[..., 0], coordinates[..., 1], cells.to(maps.freq.dtype))
    if image is None:
        return out
    at = coordinates.flip(-1).unsqueeze(1).to(image.dtype)
    skip = F.grid_sample(image, at, mode="bilinear", padding_mode="border", align_corners=False)
    return out + skip[:, :, 0].transpose(1, 2).to(out.dtype)


class _Accelerated(nn.Module):
    """Stands before a module's own class: its query is replaced, its encoder and parameters are its own."""

    encoder: nn.Module

    def gen_feat(self, inp: Tensor) -> Tensor:
        """Run the encoder on a picture [B, 3, h, w] in [-1, 1], and keep what queries need."""
        self.inp = inp
        self.feat = self.encoder(inp)
        self._maps = maps_of(self.feat, parts_of(self))
        return self.feat

    def query_rgb(self, coord: Tensor, cell: Tensor) -> Tensor:
        """Colours at coordinates, of the picture that `gen_feat` had; see `accelerate`."""
        parts = parts_of(self)
        check("_maps" in self.__dict__, OP, "query_rgb needs gen_feat, or forward, before it")
        if not parts.fast:
            if coord.dim() != 3:
                single = "this is an LTE module, coord must be [B, Q, 2] and cell [B, Q, 2], got {} and {}; "
                check(False, OP, single + "a grid is what LTE-fast takes", coord.shape, cell.shape)
            return _at(self._maps, parts, coord, cell, self.inp)
        if coord.dim() != 4 or cell.dim() != 2:
            grid = "this is an LTE-fast module, coord must be [B, HH, WW, 2] and cell [B, 2], got {} and {}"
            check(False, OP, grid, coord.shape, cell.shape)
        out = _at(self._maps, parts, coord.flatten(1, 2), cell, self.inp)
        return out.transpose(1, 2).unflatten(2, coord.shape[1:3])

    def forward(self, inp: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        self.gen_feat(inp)
        return self.query_rgb(coord, cell)


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}  # made so far, by a module's own


def accelerate(model: nn.Module) -> nn.Module:
    """Replace the query of a module of LTE or LTE-fast, in place; returns it.

    `model(inp, coord, cell)`, `model.gen_feat(inp)` and `model.query_rgb(coord, cell)` are ours afterwards; encoder,
    parameters, their names, `train`, `state_dict` and everything else stay. LTE takes coordinates [B, Q, 2] with a cell
    each and gives [B, Q, 3]; LTE-fast takes a grid [B, HH, WW, 2] with a cell for each picture, [B, 2], and gives
    [B, 3, HH, WW].

    Raises ValueError, saying what is missing, for a module of another kind.
    """
    parts_of(model)
    check(isinstance(getattr(model, "encoder", None), nn.Module), OP, "model must have an encoder, see lte_query")
    if not isinstance(model, _Accelerated):
        kind = type(model)
        if kind not in _CLASSES:
            _CLASSES[kind] = type(kind.__name__, (_Accelerated, kind), {"__module__": kind.__module__})
        model.__class__ = _CLASSES[kind]
    return model
