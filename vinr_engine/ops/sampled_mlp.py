"""The building block of hoisted queries, for VideoINR and for other implicit neural representations."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vinr_engine import backends, reference
from vinr_engine.ops._checks import check, check_device, check_layers, check_rank, check_shape
from vinr_engine.reference.mlp import ACTIVATIONS, Layer

OP = "sampled_mlp"


def sampled_mlp(
    maps: Sequence[Tensor],
    positions: Sequence[Tensor],
    layers: Sequence[Layer],
    *,
    x: Tensor | None = None,
    x_weight: Tensor | None = None,
    bias: Tensor | None = None,
    activation: str = "sine",
    omega: float = 30.0,
) -> Tensor:
    """`z = sum_i sample(maps[i], positions[i]) + x_weight x + bias`, then `layers`, an activation before each.

    Sampling is linear, so the first layer of an MLP over sampled features can be applied to the maps before they are
    sampled, once for all positions that share them: `maps` are such projected maps, D is the first layer's width.

    Args:
        maps: each [B, D, H_i, W_i].
        positions: one for each map, [B, N, 2] as (y, x) in pixels of that map, pixel centres at whole numbers. Read
            bilinearly, zeros outside; NaN reads as outside.
        layers: (weight [out, in], bias [out]) of the layers after the first, the first of them with in = D.
        x: [B, N, X], inputs that come from no map; needs x_weight [D, X].
        bias: [D] of the first layer.
        activation: "sine" (sin(omega z)), "relu" or "gelu".
        omega: frequency of the sine.

    Returns:
        [B, N, out of the last layer], before any activation; with no layers, z [B, N, D].

    Raises:
        ValueError: shapes or devices that do not fit, an unknown activation, no map and no x.
        BackendError: the backend asked for by name cannot run this.
    """
    check(activation in ACTIVATIONS, OP, "activation must be one of {}, got {!r}", sorted(ACTIVATIONS), activation)
    check(
        len(maps) == len(positions),
        OP,
        "as many positions as maps are needed, got {} and {}",
        len(positions),
        len(maps),
    )
    check((x is None) == (x_weight is None), OP, "x and x_weight must be given together")
    check(bool(maps) or x is not None, OP, "a map or x is needed")
    some = maps[0] if maps else x
    assert some is not None
    B, D = some.shape[0], maps[0].shape[1] if maps else x_weight.shape[0]  # type: ignore[union-attr]
    N = positions[0].shape[1] if positions else some.shape[1]
    for i, (m, p) in enumerate(zip(maps, positions, strict=True)):
        check_rank(OP, f"maps[{i}]", m, "[B, D, H, W]")
        check_shape(OP, f"maps[{i}]", m, "[B, D, H, W]", (B, D, *m.shape[2:]))
        check_shape(OP, f"positions[{i}]", p, "[B, N, 2]", (B, N, 2))
        check_device(OP, f"maps[{i}]", m, some)
        check_device(OP, f"positions[{i}]", p, some)
    if x is not None and x_weight is not None:
        check_shape(OP, "x", x, "[B, N, X]", (B, N, x.shape[-1]))
        check_shape(OP, "x_weight", x_weight, "[D, X]", (D, x.shape[-1]))
    if bias is not None:
        check_shape(OP, "bias", bias, "[D]", (D,))
    check_layers(OP, "layers", layers, D)
    backends.select(OP, *maps, *positions, x)
    return reference.sampled_mlp(
        maps, positions, layers, x=x, x_weight=x_weight, bias=bias, activation=activation, omega=omega
    )
