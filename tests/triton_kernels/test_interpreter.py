"""The interpreter that proves the kernels is itself proven, against torch's rounding and products."""

import numpy as np
import pytest
import torch

from vinr_engine.kernels.common import runtime

if not runtime.INTERPRETED:
    pytest.skip("Triton's interpreter is not in use", allow_module_level=True)

from triton.runtime.errors import InterpreterError

from interpreter import exact_interpreter, inexact, to_tf32
from triton_kernels import probe_kernels

if inexact():
    pytest.skip(inexact(), allow_module_level=True)

LOW = (torch.float16, torch.bfloat16)
SPECIAL = [
    0.0,
    -0.0,
    float("inf"),
    -float("inf"),
    float("nan"),
    1e-41,
    -1e-45,
    1e-8,
    6e-8,
    65504.0,
    65519.9,
    65520.0,
    3.4e38,
]


def values():
    """Float32 numbers of every kind: all exponents, ties between two bfloat16 numbers, carries into the exponent."""
    bits = torch.randint(-(2**31), 2**31, (4000,), generator=torch.Generator().manual_seed(0)).to(torch.int32)
    ties = (bits & ~0xFFFF) | 0x8000
    carries = (bits & ~0x7FFFFF) | 0x7FFFFF
    return torch.cat(
        [bits.view(torch.float32), ties.view(torch.float32), carries.view(torch.float32), torch.tensor(SPECIAL)]
    )


def run_cast(x, dtype):
    n = 2 ** (len(x) - 1).bit_length()
    padded = torch.zeros(n, dtype=x.dtype)
    padded[: len(x)] = x
    y = torch.empty(n, dtype=dtype)
    probe_kernels.cast[(1,)](padded, y, n)
    return y[: len(x)]


@pytest.mark.parametrize("dtype", LOW)
def test_casts_round_as_torch_does(dtype):
    x = values()
    with exact_interpreter():
        assert torch.equal(run_cast(x, dtype).nan_to_num(7), x.to(dtype).nan_to_num(7))
        low = x.to(dtype)
        for other in (torch.float32, *LOW):
            assert torch.equal(run_cast(low, other).nan_to_num(7), low.to(other).nan_to_num(7))


def test_the_interpreter_as_it_comes_needs_the_patch():
    x = values()
    assert not torch.equal(run_cast(x, torch.bfloat16).nan_to_num(7), x.to(torch.bfloat16).nan_to_num(7))


@pytest.mark.parametrize("dtype", LOW)
def test_products_of_low_precision(dtype):
    a, b = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(1)).to(dtype)
    c = torch.empty(32, 32)
    with exact_interpreter():
        probe_kernels.product[(1,)](a, b, c, 32, "ieee")
    torch.testing.assert_close(c, a.float() @ b.float())


def test_tf32_products_round_their_operands():
    a, b = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(2))
    results = {}
    with exact_interpreter():
        for precision in ("ieee", "tf32x3", "tf32"):
            results[precision] = torch.empty(32, 32)
            probe_kernels.product[(1,)](a, b, results[precision], 32, precision)
    exact = a.double() @ b.double()
    error = {name: (c - exact).abs().max().item() for name, c in results.items()}
    assert error["ieee"] < 2e-5
    assert error["tf32x3"] < 2e-5
    assert 1e-3 < error["tf32"] < 3e-2


def test_rounding_to_tf32():
    unit = 2.0**-10
    special = [float("inf"), float("-inf"), float("nan")]
    given = [1 + unit / 2, 1 + unit / 2 + 2**-23, -1 - 1.5 * unit, -1 - 1.4 * unit, 2 - unit / 2, *special]
    expected = [1.0, 1 + unit, -1 - 2 * unit, -1 - unit, 2.0, *special]
    np.testing.assert_array_equal(to_tf32(np.array(given, np.float32)), np.array(expected, np.float32))


def test_arithmetic_in_bfloat16_is_refused():
    x = torch.ones(16, dtype=torch.bfloat16)
    with exact_interpreter(), pytest.raises(InterpreterError, match="kernels compute in float32"):
        probe_kernels.add[(1,)](x, torch.empty_like(x), 16)
