"""A 3x3 convolution of a picture enlarged by nearest neighbour, at the size of the picture."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vinr_engine import backends, reference
from vinr_engine.ops.checks import check, check_device, check_floating, check_rank, check_shape
from vinr_engine.ops.conv3x3 import conv3x3
from vinr_engine.ops.op import Backend, Op, computed_in, on_the_cpu, on_triton, triton_kernel
from vinr_engine.reference.nearest import nearest_index

OP = "nearest_conv"
FIRST, LAST = 1, 2  # types of rows and columns; a row may be both, or neither: 0


class Arguments(NamedTuple):
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    size: tuple[int, int]


def nearest_conv(x: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int]) -> Tensor:
    """`F.conv2d(enlarged, weight, bias, padding=1)` of x enlarged to `size` by nearest neighbour, without enlarging it.

    The rows of the kernel read one input row, or at its border two. So each output pixel is a sum of some of nine
    products, of differences between its input pixel and those beside it, which are computed once for each input pixel:
    9 C O multiply-adds for it, whatever the scale.

    Args:
        x: [B, C, h, w]; channels-last memory spares a copy.
        weight: [O, C, 3, 3].
        bias: [O], or None.
        size: (HH, WW), any. Not enlarged along an axis, x is resized and convolved as it is written above.

    Returns:
        [B, O, HH, WW], channels-last. A pixel i of HH reads the input's floor((c + 1) h / 2), c = (2 i + 1) / HH - 1,
        ties to the second as in `vinr_engine.reference.nearest.nearest_index`: at whole scales what
        `F.interpolate(mode="nearest")` reads, else what its mode "nearest-exact" does but for ties.

    Computed in float32, or in float64 for tensors of that. Sums are of differences of pixels: an infinity in x becomes
    NaN. First derivatives are provided, of any order where x is not enlarged.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
        BackendError: the backend asked for by name cannot run this.
    """
    size = (int(size[0]), int(size[1]))
    output_shape(x, weight, bias, size)
    a = Arguments(x, weight, bias, size)
    return (_resized(a) if _is_resized(a) else NEAREST_CONV(a).permute(0, 3, 1, 2)).to(x.dtype)


def nearest_conv_table(x: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """`nearest_conv` as a table of its different results, for what goes on pixel by pixel.

    The arguments are those of `nearest_conv`. Of an input pixel few results differ: 4 at scale 2, up to 9 at others.
    At scale 4 the table is 9 / 16 as large as the result.

    Returns:
        table: [B, h w T, O], T results for each input pixel in turn; [B, HH WW, O] where x is not enlarged.
        index: [HH, WW] whole numbers: `table[:, index]` is [B, HH, WW, O], the result.
    """
    size = (int(size[0]), int(size[1]))
    output_shape(x, weight, bias, size)
    a = Arguments(x, weight, bias, size)
    if _is_resized(a):
        table, index = _resized(a).permute(0, 2, 3, 1), torch.arange(size[0] * size[1], device=x.device).view(size)
    else:
        table, index = NEAREST_CONV_TABLE(a), _table_index(a)
    return table.flatten(1, -2).to(x.dtype), index


def output_shape(x: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Check the arguments, and return [B, O, HH, WW]. Raises ValueError."""
    check_rank(OP, "x", x, "[B, C, h, w]")
    B, C, h, w = x.shape
    check_rank(OP, "weight", weight, "[O, C, 3, 3]")
    O = weight.shape[0]
    check_shape(OP, "weight", weight, "[O, C, 3, 3]", (O, C, 3, 3))
    check(
        min(h, w, C, O) > 0,
        OP,
        "there must be pixels and channels, got x {}, weight {}",
        list(x.shape),
        list(weight.shape),
    )
    check(min(size) > 0, OP, "size must be at least 1, got {}", size)
    tensors = {"x": x, "weight": weight}
    if bias is not None:
        check_shape(OP, "bias", bias, "[O]", (O,))
        tensors["bias"] = bias
    mixed = torch.is_autocast_enabled(x.device.type)
    for name, tensor in tensors.items():
        check_floating(OP, name, tensor)
        check_device(OP, name, tensor, x)
        check(mixed or tensor.dtype == x.dtype, OP, "{} must be {}, got {}", name, x.dtype, tensor.dtype)
    return B, O, *size


def _is_resized(a: Arguments) -> bool:
    """Whether x is not enlarged, along one of the axes: an output pixel may then read pixels far apart."""
    (h, w), (H, W) = a.x.shape[2:], a.size
    return h > H or w > W or (h == H and w == W)


def _resized(a: Arguments) -> Tensor:
    """[B, O, HH, WW]"""
    rows, columns = _indices(a)
    x = a.x if a.size == tuple(a.x.shape[2:]) else a.x[:, :, rows][:, :, :, columns]
    if backends.chosen() == "triton":  # whose products are torch's, here as there
        return F.conv2d(x, a.weight, a.bias, padding=1)
    return conv3x3(x, a.weight, a.bias)


def _indices(a: Arguments) -> tuple[Tensor, Tensor]:
    """Of output rows and columns those of x."""
    rows, columns = (nearest_index(out, n, a.x.device) for out, n in zip(a.size, a.x.shape[2:], strict=True))
    return rows, columns


def _types(index: Tensor) -> Tensor:
    """Of output rows, or columns, [out]."""
    jumps = index[1:] != index[:-1]
    ends = jumps.new_ones(1)
    return FIRST * torch.cat([ends, jumps]).long() + LAST * torch.cat([jumps, ends]).long()


def possible_types(out: int, n: int) -> list[int]:
    """The types that occur along an axis of `n` pixels enlarged to `out`."""
    if out == n:
        return [FIRST | LAST]
    if out % n == 0:
        return [FIRST, LAST] if out == 2 * n else [FIRST, 0, LAST]
    if out >= 2 * n:
        return [FIRST, 0, LAST]
    return [FIRST, LAST, FIRST | LAST]


def _table_index(a: Arguments) -> Tensor:
    """[HH, WW]: the rows of the table [h w R C, O] that output pixels are."""
    places = []
    for index, out, n in zip(_indices(a), a.size, a.x.shape[2:], strict=True):
        types = possible_types(out, n)
        rank = torch.tensor([types.index(t) if t in types else 0 for t in range(4)], device=index.device)
        places.append((index, rank[_types(index)], len(types)))
    (y, row, R), (x, column, C) = places
    w = a.x.shape[3]
    return (((y * w)[:, None] + x) * R + row[:, None]) * C + column


def _tap_sums(weight: Tensor) -> Tensor:
    """[O, C, 3, 3] -> [3, 3, O, C]: along both axes the sum of the taps, the first and the last."""
    for axis in (2, 3):
        first, _, last = weight.unbind(axis)
        weight = torch.stack([weight.sum(axis), first, last], axis)
    return weight.permute(2, 3, 0, 1)


def _prepare_layer(a: Arguments) -> tuple[Tensor, Tensor, Tensor | None]:
    dtype = computed_in(a.x.dtype)
    bias = None if a.bias is None else a.bias.to(dtype)
    return a.x.to(dtype).permute(0, 2, 3, 1), _tap_sums(a.weight.to(dtype)), bias


def _prepare(backend: str, a: Arguments) -> tuple[Any, ...]:
    return *_prepare_layer(a), *_indices(a)


def _prepare_table(backend: str, a: Arguments) -> tuple[Any, ...]:
    types = (possible_types(out, n) for out, n in zip(a.size, a.x.shape[2:], strict=True))
    return *_prepare_layer(a), *types


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None, rows: Tensor, columns: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], rows.shape[0], columns.shape[0], weight.shape[2])


def _fake_table(x: Tensor, weight: Tensor, bias: Tensor | None, rows: list[int], columns: list[int]) -> Tensor:
    return x.new_empty(*x.shape[:3], len(rows), len(columns), weight.shape[2])


def _fake_backward(
    grad_output: Tensor, x: Tensor, weight: Tensor, rows: Any, columns: Any, output_mask: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    shapes = (x.shape, weight.shape, weight.shape[2:3])
    d_x, d_weight, d_bias = (
        x.new_empty(shape if wanted else (0,)) for shape, wanted in zip(shapes, output_mask, strict=True)
    )
    return d_x, d_weight, d_bias


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weight, _, *axes = inputs
    ctx.of_tensors = isinstance(axes[0], Tensor)
    ctx.save_for_backward(x, weight, *(axes if ctx.of_tensors else ()))
    ctx.axes = () if ctx.of_tensors else axes


def _gradient(ctx: Any, backward: Any, grad_output: Tensor) -> tuple[Any, ...]:
    needs = list(ctx.needs_input_grad[:3])
    grads = backward(grad_output, *ctx.saved_tensors, *ctx.axes, needs)
    return *(d if wanted else None for d, wanted in zip(grads, needs, strict=True)), None, None


def _table_reference(a: Arguments) -> Tensor:
    """[B, h, w, R, C, O]; types that do not occur are zeros."""
    full = reference.nearest_conv(a.x, a.weight, a.bias, a.size).permute(0, 2, 3, 1)
    B, O, (h, w) = full.shape[0], full.shape[3], a.x.shape[2:]
    R, C = (len(possible_types(out, n)) for out, n in zip(a.size, (h, w), strict=True))
    index = _table_index(a).flatten()
    # Many output pixels of a row of the table are equal: any of them will do.
    rows, source = index.unique(return_inverse=True)
    some = torch.zeros_like(rows).scatter_(0, source, torch.arange(len(index), device=index.device))
    table = full.new_zeros(B, h * w * R * C, O).index_copy(1, rows, full.reshape(B, -1, O)[:, some])
    return table.view(B, h, w, R, C, O)


_BACKENDS = {
    "cpu": Backend(on_the_cpu),
    "triton": Backend(
        on_triton,
        triton_kernel("nearest_conv.launch", "nearest_conv"),
        triton_kernel("nearest_conv.launch", "nearest_conv_backward"),
    ),
}

NEAREST_CONV = Op(
    OP,
    schema="(Tensor x, Tensor weight, Tensor? bias, Tensor rows, Tensor columns) -> Tensor",
    backward_schema="(Tensor grad_output, Tensor x, Tensor weight, Tensor rows, Tensor columns, bool[3] output_mask) "
    "-> (Tensor, Tensor, Tensor)",
    reference=lambda a: reference.nearest_conv(*a).permute(0, 2, 3, 1),
    prepare=_prepare,
    fake=_fake,
    fake_backward=_fake_backward,
    save=_save,
    gradient=_gradient,
    backends=_BACKENDS,
)

NEAREST_CONV_TABLE = Op(
    f"{OP}_table",
    schema="(Tensor x, Tensor weight, Tensor? bias, int[] row_types, int[] column_types) -> Tensor",
    backward_schema="(Tensor grad_output, Tensor x, Tensor weight, int[] row_types, int[] column_types, "
    "bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
    reference=_table_reference,
    prepare=_prepare_table,
    fake=_fake_table,
    fake_backward=_fake_backward,
    save=_save,
    gradient=_gradient,
    backends=_BACKENDS,
)
