"""Argument checks shared by the ops: a message names the op, the argument, what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def check(condition: bool, op: str, message: str, *values: object) -> None:
    """Raise ValueError(`op: message.format(*values)`) unless `condition`.

    The message is put together only when it is needed: torch.compile cannot format symbolic sizes.
    """
    if not condition:
        raise ValueError(f"{op}: {message.format(*values)}")


def check_shape(op: str, name: str, tensor: Tensor, meaning: str, expected: Sequence[int]) -> None:
    """`meaning` spells the expected shape in names, such as "[B, 2*G*K, H, W]"."""
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(f"{op}: {name} must be {meaning} = {list(expected)}, got {list(tensor.shape)}")


def check_rank(op: str, name: str, tensor: Tensor, meaning: str) -> None:
    """`meaning` spells the expected shape in names, as many as the tensor must have dimensions."""
    if tensor.dim() != meaning.count(",") + 1:
        raise ValueError(f"{op}: {name} must be {meaning}, got {list(tensor.shape)}")


def check_floating(op: str, name: str, tensor: Tensor) -> None:
    check(tensor.is_floating_point(), op, "{} must hold floating-point numbers, got {}", name, tensor.dtype)


def check_device(op: str, name: str, tensor: Tensor, like: Tensor) -> None:
    check(tensor.device == like.device, op, "{} must be on {}, got {}", name, like.device, tensor.device)


def check_layers(op: str, name: str, layers: Sequence[tuple[Tensor, Tensor]], inputs: int) -> int:
    """Check that the (weight, bias) pairs chain from `inputs` on, and return the width of the last one's output."""
    for i, (weight, bias) in enumerate(layers):
        check_rank(op, f"{name}[{i}] weight", weight, "[out, in]")
        check_shape(op, f"{name}[{i}] weight", weight, "[out, in]", (weight.shape[0], inputs))
        inputs = weight.shape[0]
        check_shape(op, f"{name}[{i}] bias", bias, "[out]", (inputs,))
    return inputs
