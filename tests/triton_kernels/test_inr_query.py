import pytest
import torch
from vinr_engine.kernels import _runtime

if _runtime.unavailable():
    pytest.skip(_runtime.unavailable(), allow_module_level=True)

from ops.test_inr_query import SHAPES, SHAPES_WITH_PIXELS, cast, gradients, problem, query
from tolerances import OP, relative_error

SLOW = ("published widths", "several tiles", "one row", "batch", "far flow", "odd widths")


def marked(names):
    return [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in names]


def on(device, arguments):
    def moved(value):
        if isinstance(value, torch.Tensor):
            return value.to(device)
        return [tuple(t.to(device) for t in pair) for pair in value] if isinstance(value, list) else value

    return [moved(a) for a in arguments]


def on_triton(device, arguments):
    return [out.cpu() for out in query(on(device, arguments), "triton")]


@pytest.mark.parametrize("name", marked(SHAPES))
def test_float32(triton_device, name):
    arguments = problem(**SHAPES[name])
    expected = query(arguments, "reference")
    single = cast(arguments, torch.float32)
    # A rounding of a phase grows with every layer: what the reference loses in float32 is the measure.
    for actual, same, exact in zip(on_triton(triton_device, single), query(single, "reference"), expected, strict=True):
        assert relative_error(actual, exact) <= 3 * relative_error(same, exact) + OP[torch.float32]


@pytest.mark.parametrize("name", marked(SHAPES_WITH_PIXELS))
def test_gradients_float32(triton_device, name):
    arguments = problem(**SHAPES[name])
    expected = gradients(arguments, "reference")
    single = cast(arguments, torch.float32)
    actual = gradients(on(triton_device, single), "triton")
    for i, (a, same, exact) in enumerate(zip(actual, gradients(single, "reference"), expected, strict=True)):
        assert relative_error(a.cpu(), exact) <= 5 * relative_error(same, exact) + 5 * OP[torch.float32], i
