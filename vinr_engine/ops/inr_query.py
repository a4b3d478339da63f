"""VideoINR's query pass as one function: INR decode, flow warp, RGB decode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vinr_engine import reference
from vinr_engine.backends import LOW_PRECISION, chosen_operands
from vinr_engine.kernels.common import runtime
from vinr_engine.ops.checks import check, check_device, check_layers, check_rank, check_shape
from vinr_engine.ops.hoisting import hoist
from vinr_engine.ops.op import (
    Backend,
    Op,
    computed_in,
    gradient_operands,
    on_cuda,
    on_the_cpu,
    on_triton,
    run_by_cpu,
    triton_kernel,
    wants_gradient,
)
from vinr_engine.reference.mlp import Layer

OMEGA = 30.0
OP = "inr_query"
WIDEST_ON_CUDA = 376  # outputs of a layer whose activations a block holds in 99 KiB of shared memory
DEEPEST_ON_CUDA = 8  # layers of a network: kMaxLayers in csrc


class Arguments(NamedTuple):
    """Of a call of `inr_query`, in float32 or float64, and what products multiply."""

    features: Tensor
    frames: Tensor
    times: Tensor
    lr_size: tuple[int, int]
    size: tuple[int, int]
    networks: tuple[Sequence[Layer], Sequence[Layer], Sequence[Layer]]  # feat, flow, encode
    frame_upsample: int
    operands: torch.dtype
    under_autocast: bool


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

    Under autocast to bfloat16 the cpu backend rounds the operands of the networks' products to bfloat16, forward and,
    but on Intel's CPUs, backward, where the machine has AVX-512 BF16 or AMX; sums, phases, coordinates, flow and what
    is handed on as a gradient stay float32, and so does everything on other machines and dtypes. The triton backend
    rounds operands, projected maps and the HR feature to bfloat16 or float16 under autocast to it, and for arguments
    of it; else bfloat16 and float16 arguments are computed in float32. The cuda backend rounds operands in the same
    cases, and to TF32 inside `vinr.input_precision("tf32")`; it has no gradients.

    Raises:
        ValueError: shapes or devices that do not fit.
        BackendError: the backend asked for by name cannot run this.

    Source: Chen et al., "VideoINR: Learning Video Implicit Neural Representation for Continuous Space-Time
    Super-Resolution", CVPR 2022; exact formulas in docs/network.md.
    """
    device = features.device.type
    operands, rounds = frames.dtype, torch.is_autocast_enabled(device)
    if rounds:
        operands = torch.get_autocast_dtype(device)
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
    networks = feat_layers, flow_layers, encode_layers
    if dtype in LOW_PRECISION:
        features, frames, times = features.float(), frames.float(), times.float()
        networks = _widened(feat_layers), _widened(flow_layers), _widened(encode_layers)
    arguments = Arguments(features, frames, times, lr_size, size, networks, frame_upsample, operands, rounds)
    # A phase is a product times 30: autocast must not touch what is not asked for by name.
    with torch.autocast(device, enabled=False):
        image, flow = INR_QUERY(arguments)
    return image.to(dtype), flow.to(dtype)


def _reference(a: Arguments) -> tuple[Tensor, Tensor]:
    features = a.features.flatten(1, -3)
    return reference.inr_query(features, a.frames, a.times, a.lr_size, a.size, *a.networks, a.frame_upsample)


def _prepare(backend: str, a: Arguments) -> tuple[Any, ...]:
    maps, layers = hoist(a.features, a.frames, *a.networks, a.frame_upsample, fixed_order=backend == "cpu")
    # The CPU rounds under autocast alone.
    dtype = a.operands if a.under_autocast or backend != "cpu" else torch.float32
    return *maps, a.times, a.lr_size, a.size, a.frame_upsample, *layers, OMEGA, chosen_operands(dtype)


def _fake(
    maps: Tensor, colours: Tensor | None, times: Tensor, lr_size: list[int], size: list[int], frame_upsample: int,
    feat: list[Tensor], flow: list[Tensor], encode: list[Tensor], omega: float, operands: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    check_rank(OP, "maps", maps, "[B, h, w, C]")
    check_shape(OP, "times", times, "[T, B]", (times.shape[0], maps.shape[0]))
    images, dtype = (maps.shape[0], times.shape[0]), computed_in(maps.dtype)
    outputs = encode[-1].shape[0]
    return maps.new_empty(*images, outputs, *size, dtype=dtype), maps.new_empty(*images, 4, *size, dtype=dtype)


def _fake_backward(
    grad_image: Tensor, grad_flow: Tensor, maps: Tensor, colours: Tensor | None, times: Tensor, lr_size: list[int],
    size: list[int], frame_upsample: int, feat: list[Tensor], flow: list[Tensor], encode: list[Tensor], omega: float,
    wants_colours: bool, operands: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    weights = sum(t.numel() for t in (*feat, *flow, *encode))
    of_colours = colours.shape if wants_colours and colours is not None else (0,)
    dtype = computed_in(maps.dtype)
    return tuple(maps.new_empty(shape, dtype=dtype) for shape in (maps.shape, of_colours, (weights,)))  # type: ignore[return-value]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    maps, colours, times, *ctx.sizes, feat, flow, encode, ctx.omega, ctx.operands = inputs
    ctx.counts = len(feat), len(flow), len(encode)
    ctx.save_for_backward(maps, colours, times, *feat, *flow, *encode)


def _gradient(ctx: Any, backward: Any, grad_image: Tensor, grad_flow: Tensor) -> tuple[Any, ...]:
    maps, colours, times, *tensors = ctx.saved_tensors
    if ctx.needs_input_grad[2]:
        raise NotImplementedError(f'{OP}: no gradient of times here; use `with vinr_engine.backend("reference")`')
    a, b, _ = ctx.counts
    networks = tensors[:a], tensors[a : a + b], tensors[a + b :]
    wants_colours = ctx.needs_input_grad[1]
    d_maps, d_colours, d_weights = backward(
        grad_image, grad_flow, maps, colours, times, *ctx.sizes, *networks, ctx.omega, wants_colours,
        gradient_operands(ctx.operands, run_by_cpu(ctx, maps)),
    )  # fmt: skip
    flat = iter(d_weights.split([t.numel() for t in tensors]))
    grads = [[next(flat).view_as(t).to(t.dtype) for t in network] for network in networks]
    d_colours = d_colours.to(colours.dtype) if wants_colours else None
    return d_maps.to(maps.dtype), d_colours, None, None, None, None, *grads, None, None


def _refusal(a: Arguments, widest: int, deepest: int | None = None) -> str:
    """Why kernels do not take the networks: their layers are wider, or more."""
    for layers in a.networks:
        if deepest is not None and len(layers) > deepest:
            return f"it takes networks of up to {deepest} layers, got {len(layers)}"
    for weight in (weight for layers in a.networks for weight, _ in layers):
        if weight.shape[0] > widest:
            return f"it takes layers of up to {widest} outputs, got {weight.shape[0]}"
    return ""


def _wants_times(a: Arguments) -> str:
    return "it has no gradient of times" if wants_gradient([a.times]) else ""


def _miscompiled(tensor: Tensor) -> str:
    """Why Triton's kernels must not run on the GPU of `tensor`, whatever their compiler says.

    For compute capability 10.x Triton 3.6 makes them of a few instructions that write nothing, in 16 bits, and reports
    no error: `benchmarks.static --also` sees it, 3.9's are whole.
    """
    if tensor.device.type != "cuda" or not () < runtime.VERSION < (3, 9):
        return ""
    if torch.cuda.get_device_capability(tensor.device)[0] != 10:
        return ""
    return "Triton before 3.9 makes empty kernels of it for compute capability 10.x: install a newer one"


def _on_triton(a: Arguments) -> str:
    refusal = _miscompiled(a.features) or _wants_times(a) or _refusal(a, runtime.WIDEST)
    return refusal or on_triton(a)


def _on_cuda(a: Arguments) -> str:
    return _refusal(a, WIDEST_ON_CUDA, DEEPEST_ON_CUDA) or on_cuda(a)


# On hoisted maps. feat, flow and encode hold weight and bias of each layer in turn, the first layer's columns without
# those that were hoisted.
_ARGUMENTS = (
    "Tensor maps, Tensor? colours, Tensor times, int[2] lr_size, int[2] size, int frame_upsample, "
    "Tensor[] feat, Tensor[] flow, Tensor[] encode, float omega"
)

INR_QUERY = Op(
    OP,
    schema=f"({_ARGUMENTS}, str operands) -> (Tensor, Tensor)",
    # Gradients of maps, of colours (empty where not wanted or not given), and of all weights and biases, flat, in the
    # order of feat, flow, encode.
    backward_schema=f"(Tensor grad_image, Tensor grad_flow, {_ARGUMENTS}, bool wants_colours, str operands) "
    "-> (Tensor, Tensor, Tensor)",
    reference=_reference,
    prepare=_prepare,
    fake=_fake,
    fake_backward=_fake_backward,
    save=_save,
    gradient=_gradient,
    backends={
        "cpu": Backend(lambda a: _wants_times(a) or on_the_cpu(a)),
        "triton": Backend(
            _on_triton,
            triton_kernel("inr_query.launch", "inr_query"),
            triton_kernel("inr_query.backward", "inr_query_backward"),
        ),
        "cuda": Backend(_on_cuda),
    },
)
