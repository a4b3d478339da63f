"""VideoINR's query pass as one function: INR decode, flow warp, RGB decode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vinr_engine import backends, reference
from vinr_engine._extension import EXTENSION
from vinr_engine.ops._checks import check, check_device, check_layers, check_rank, check_shape
from vinr_engine.ops.hoisting import hoist
from vinr_engine.reference.mlp import Layer

OMEGA = 30.0
OP = "inr_query"
_LOW_PRECISION = (torch.bfloat16, torch.float16)


def _widened(layers: Sequence[Layer]) -> Sequence[Layer]:
    return [(weight.float(), bias.float()) for weight, bias in layers]


def inr_query(
    features: Tensor,
    frames: Tensor,
    times: Tensor,
    lr_size: tuple[int, int],
    size: tuple[int, int],
    feat_layers: Sequence[Layer],
    flow_layers: Sequence[Layer],
    encode_layers: Sequence[Layer],
    frame_upsample: int = 4,
) -> tuple[Tensor, Tensor]:
    """Colour and flow of every output pixel at every time.

    Args:
        features: [B, C, h', w'], the encoder's three feature maps joined, or [B, 3, C / 3, h', w'] as it gives them,
            which saves a copy (any number of maps will do); h' >= h and w' >= w with the padding.
        frames: [B, 6, h', w'], both frames joined, padded like the features, in [0, 1].
        times: [T, B] in [0, 1], 0 at the first frame and 1 at the second.
        lr_size: (h, w) of the unpadded frames, which the output covers.
        size: (HH, WW) of the output.
        feat_layers: (weight, bias) pairs of a SIREN (omega 30) from C + 6 + 3 inputs: nearest features and colours,
            relative y and x, time -> HR feature, F wide.
        flow_layers: from F + C + 6 + 1 inputs -> 4: flow A (x, y), flow B (x, y), in output pixels.
        encode_layers: from 2 (F + C + 6) + 1 inputs -> colour.
        frame_upsample: factor by which colours are enlarged bilinearly before they are read: 4 on the published test
            path, 1 on its training path.

    Returns:
        colour [B, T, 3, HH, WW], not clamped to [0, 1], and flow [B, T, 4, HH, WW].

    On the cpu backend the number of threads changes no bit of the results and the gradients.

    Under autocast to bfloat16 the cpu backend rounds the operands of the networks' products to bfloat16, where the
    machine has AVX-512 BF16; sums, phases, coordinates, flow and the gradients stay float32, and so does everything on
    other machines and dtypes. The triton backend rounds operands, projected maps and the HR feature to bfloat16 or
    float16 under autocast to it, and for arguments of it; else bfloat16 and float16 arguments are computed in float32.
    The cuda backend rounds operands in the same cases, and to TF32 inside `vinr.input_precision("tf32")`; it has no
    gradients.

    Raises:
        ValueError: shapes or devices that do not fit.
        BackendError: the backend asked for by name cannot run this.

    Source: Chen et al., "VideoINR: Learning Video Implicit Neural Representation for Continuous Space-Time
    Super-Resolution", CVPR 2022; exact formulas in docs/network.md.
    """
    device = features.device.type
    bfloat16, operands = False, frames.dtype
    if torch.is_autocast_enabled(device):
        operands = torch.get_autocast_dtype(device)
        bfloat16 = operands == torch.bfloat16
        features = features.to(frames.dtype)
    (h, w), (HH, WW) = lr_size, size
    if features.dim() != 5:
        check_rank(OP, "features", features, "[B, C, h', w']")
    B, *channels, padded_h, padded_w = features.shape
    C = math.prod(channels)
    check(
        0 < h <= padded_h and 0 < w <= padded_w,
        OP,
        "lr_size must lie within the features {}, got {}",
        features.shape,
        lr_size,
    )
    check(HH > 0 and WW > 0, OP, "size must be positive, got {}", size)
    check(frame_upsample >= 1, OP, "frame_upsample must be a whole number from 1 up, got {}", frame_upsample)
    check_shape(OP, "frames", frames, "[B, 6, h', w']", (B, 6, padded_h, padded_w))
    check_rank(OP, "times", times, "[T, B]")
    check_shape(OP, "times", times, "[T, B]", (times.shape[0], B))
    for name, tensor in (("frames", frames), ("times", times)):
        check_device(OP, name, tensor, features)
        check(
            tensor.dtype == features.dtype,
            OP,
            "{} must be {} like features, got {}",
            name,
            features.dtype,
            tensor.dtype,
        )
    F = check_layers(OP, "feat_layers", feat_layers, C + 9)
    outputs = check_layers(OP, "flow_layers", flow_layers, F + C + 7)
    check(outputs == 4, OP, "flow_layers must end in 4 outputs, got {}", outputs)
    check_layers(OP, "encode_layers", encode_layers, 2 * (F + C + 6) + 1)
    dtype = frames.dtype
    if dtype in _LOW_PRECISION:
        features, frames, times = features.float(), frames.float(), times.float()
        feat_layers, flow_layers, encode_layers = map(_widened, (feat_layers, flow_layers, encode_layers))
    networks = feat_layers, flow_layers, encode_layers
    # A phase is a product times 30: autocast must not touch what is not asked for by name.
    with torch.autocast(device, enabled=False):
        weights = [weight for network in networks for weight, _ in network]

        def call(backend: str) -> tuple[Tensor, Tensor]:
            if backend == "reference":
                joined = features.flatten(1, -3)
                return reference.inr_query(
                    joined, frames, times, lr_size, size, *networks, frame_upsample=frame_upsample
                )
            maps, layers = hoist(
                features, frames, *networks, frame_upsample=frame_upsample, fixed_order=backend == "cpu"
            )
            arguments = (*maps, times, lr_size, size, frame_upsample, *layers, OMEGA)
            out: tuple[Tensor, Tensor]
            if backend == "triton":
                out = torch.ops.vinr.inr_query_triton(*arguments, backends.chosen_operands(operands))
            else:
                on_cpu = "bfloat16" if bfloat16 else "ieee"
                multiplied = backends.chosen_operands(operands) if backend == "cuda" else on_cpu
                out = torch.ops.vinr.inr_query(*arguments, multiplied)
            return out

        image, flow = backends.run(OP, (features, frames, times, *weights), call)
    return image.to(dtype), flow.to(dtype)


def _fake(
    maps: Tensor,
    colours: Tensor | None,
    times: Tensor,
    lr_size: list[int],
    size: list[int],
    frame_upsample: int,
    feat: list[Tensor],
    flow: list[Tensor],
    encode: list[Tensor],
    omega: float,
    operands: str,
) -> tuple[Tensor, Tensor]:
    check_rank(OP, "maps", maps, "[B, h, w, C]")
    check_shape(OP, "times", times, "[T, B]", (times.shape[0], maps.shape[0]))
    B, T = maps.shape[0], times.shape[0]
    return maps.new_empty(B, T, encode[-1].shape[0], *size), maps.new_empty(B, T, 4, *size)


def _fake_backward(
    grad_image: Tensor,
    grad_flow: Tensor,
    maps: Tensor,
    colours: Tensor | None,
    times: Tensor,
    lr_size: list[int],
    size: list[int],
    frame_upsample: int,
    feat: list[Tensor],
    flow: list[Tensor],
    encode: list[Tensor],
    omega: float,
    wants_colours: bool,
    operands: str,
) -> tuple[Tensor, Tensor, Tensor]:
    weights = sum(t.numel() for t in (*feat, *flow, *encode))
    d_colours = maps.new_empty(colours.shape if wants_colours and colours is not None else (0,))
    return torch.empty_like(maps, memory_format=torch.contiguous_format), d_colours, maps.new_empty(weights)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    maps, colours, times, ctx.lr_size, ctx.size, ctx.u, feat, flow, encode, ctx.omega, operands = inputs
    ctx.counts = len(feat), len(flow), len(encode)
    ctx.extra = (operands,)
    ctx.save_for_backward(maps, colours, times, *feat, *flow, *encode)


def _differentiate(name: str) -> Any:
    """The formula of a forward op, by its backward op `name`."""

    def backward(ctx: Any, grad_image: Tensor, grad_flow: Tensor) -> tuple[Any, ...]:
        maps, colours, times, *tensors = ctx.saved_tensors
        if ctx.needs_input_grad[2]:
            raise NotImplementedError(f'{OP}: no gradient of times here; use `with vinr_engine.backend("reference")`')
        a, b, _ = ctx.counts
        networks = tensors[:a], tensors[a : a + b], tensors[a + b :]
        d_maps, d_colours, d_weights = getattr(torch.ops.vinr, name)(
            grad_image, grad_flow, maps, colours, times, ctx.lr_size, ctx.size, ctx.u, *networks, ctx.omega,
            ctx.needs_input_grad[1], *ctx.extra,
        )  # fmt: skip
        flat = iter(d_weights.split([t.numel() for t in tensors]))
        grads = [[next(flat).view_as(t).to(t.dtype) for t in network] for network in networks]
        d_colours = d_colours.to(colours.dtype) if ctx.needs_input_grad[1] else None
        return d_maps.to(maps.dtype), d_colours, None, None, None, None, *grads, None, None

    return backward


def _second_backward(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError(
        f'{OP}: no second derivative on this backend; use `with vinr_engine.backend("reference")`'
    )


if EXTENSION.path is not None:
    torch.library.register_fake("vinr::inr_query", _fake)
    torch.library.register_fake("vinr::inr_query_backward", _fake_backward)
    torch.library.register_autograd(
        "vinr::inr_query", _differentiate("inr_query_backward"), setup_context=_setup_context
    )
    torch.library.register_autograd("vinr::inr_query_backward", _second_backward)
