"""An op held to its definition, result and gradients."""

import torch

from benchmarks.tolerances import OP, relative_error
from vinr_engine.ops.op import tensors_of


def on(device, arguments):
    """The arguments with their tensors there."""
    return tuple(a.to(device) if torch.is_tensor(a) else a for a in arguments)


def assert_like_its_definition(function, definition, gradients, arguments, exact=None):
    """What `function` gives for `arguments`, all tensors of one dtype, is what `definition` gives for `exact`, the same
    numbers in float64 on the CPU, or the arguments themselves; `gradients` takes arguments and a function."""
    exact = arguments if exact is None else exact
    dtype = tensors_of(arguments)[0].dtype
    found = function(*arguments)
    assert found.dtype == dtype
    assert relative_error(found.cpu(), definition(*exact)) <= OP[dtype]
    for actual, true in zip(gradients(arguments, function), gradients(exact, definition), strict=True):
        assert actual.dtype == dtype
        assert relative_error(actual.cpu(), true) <= OP[dtype]
